"""Comparing short texts."""


def normalize_text(text: str) -> str:
    """Case folded, white space collapsed, ends stripped."""
    return " ".join(text.casefold().split())


def same_text(a: str, b: str) -> bool:
    return normalize_text(a) == normalize_text(b)
