"""Starts, resumes and estimates single runs, and evaluates a model without one."""
