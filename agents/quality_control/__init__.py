"""Quality Control Agent: the judge rates rows, answers them itself, and is measured on rows of known quality."""
