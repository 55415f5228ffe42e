"""Cutting text into lines."""


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their ends: `\\n`, `\\r\\n` or `\\r`, as in files and in Python source.

    `str.splitlines` also cuts at U+2028, U+2029, U+0085, form feeds and the separators U+001C to U+001E. Those stand
    inside rows, answers and programs, where they are text.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]
