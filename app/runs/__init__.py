"""Driving one run: start, resume, estimate; evaluating a model without one."""
