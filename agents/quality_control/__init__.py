"""Quality Control Agent: the judge's ratings, its calibration, and independent solving."""
