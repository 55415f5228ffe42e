"""Compares short texts."""

import unicodedata


def normalize_text(text: str) -> str:
    """NFC and case folded, with white space collapsed and stripped."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(text.casefold().split())


def same_text(a: str, b: str) -> bool:
    """Whether two texts are equal after normalization."""
    return normalize_text(a) == normalize_text(b)
