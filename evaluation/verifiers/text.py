"""Comparing short texts."""

import unicodedata


def normalize_text(text: str) -> str:
    """NFC, case folded, white space collapsed, ends stripped."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(text.casefold().split())


def same_text(a: str, b: str) -> bool:
    return normalize_text(a) == normalize_text(b)
