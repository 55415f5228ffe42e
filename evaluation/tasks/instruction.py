"""Puts a task's instruction into the prompt."""


def instruct(instruction: str, body: str) -> str:
    """The instruction, a blank line and the body. Only the body if there is no instruction."""
    return f"{instruction}\n\n{body}" if instruction else body
