"""Where jobs on the student run."""
