"""Halves of characters, which JSON can carry and UTF-8 cannot."""


def join_surrogates(text: str) -> str:
    """The text with surrogate pairs joined, and each lone half replaced by U+FFFD: what databases and files accept."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
