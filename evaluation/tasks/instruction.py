"""Where a task's instruction stands in the prompt."""


def instruct(instruction: str, body: str) -> str:
    """The instruction, a blank line and the body; the body alone without an instruction."""
    return f"{instruction}\n\n{body}" if instruction else body
