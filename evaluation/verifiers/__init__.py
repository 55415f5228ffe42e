"""Pure functions that find an answer in a text and compare it."""
