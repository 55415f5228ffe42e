"""Data Generation Agent: which rows to write, from what, and the writing of them."""
