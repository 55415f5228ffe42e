"""Where the student's chat template ends a prompt, what it puts before the answer, and how an answer continues the prompt."""

from dataclasses import dataclass
from typing import Literal

from pada_agent.core.errors import DatasetError
from pada_agent.core.records import Example
from pada_agent.core.thoughts import cut_thoughts, find_closer, find_open_thought


@dataclass(frozen=True)
class Frame:
    """What a chat template writes after the last user text, whatever the texts are."""

    asked: str
    """Up to where the assistant starts to write, such as the end of the user's turn and `<|im_start|>assistant`."""
    answered: str | None
    """Up to the assistant's text in a whole conversation. None if the template does not render one."""

    @property
    def lead(self) -> str:
        """What the assistant writes before its text, such as `<|channel|>final<|message|>`. Usually empty."""
        return (self.answered or "").removeprefix(self.asked) if self.is_begun_by_prompt else ""

    @property
    def is_begun_by_prompt(self) -> bool:
        """Whether the whole conversation begins with the prompt."""
        return self.answered is not None and self.answered.startswith(self.asked)


@dataclass(frozen=True)
class Prompt:
    """Everything up to where the assistant starts to write."""

    text: str
    """The rendered text, with the names of control tokens in row text hidden."""
    opening: str = ""
    """The end of `text` that opens a thought, such as `<think>` and a line break. Empty if no thought is open."""
    closed: str = ""
    """The mark, such as `<think>`, of a thought that the template opened and that was closed at once. Empty if there was none."""
    lead: str = ""
    """What the template puts between the prompt and an answer. The student learns to write it, and options are scored after it."""


def find_frame(prompt: str, whole: str | None, *, question: str, answer: str) -> Frame:
    """The frame, from two renderings of texts that occur nowhere else: up to the question, and with the answer."""
    asked = prompt.rpartition(question)[2]
    rest = (whole or "").rpartition(question)[2]
    return Frame(asked, rest.partition(answer)[0] if whole and question in whole and answer in rest else None)


def settle_thought(text: str, frame: Frame, thoughts: Literal["close", "open"]) -> Prompt:
    """The prompt with a thought that the template opens closed, unless it is meant to stay open."""
    closing = find_closing(frame)
    if not closing:
        return Prompt(text, lead=frame.lead)
    opening, closer = closing
    return Prompt(text, opening) if thoughts == "open" else Prompt(text + closer, closed=find_open_thought(opening))


def find_closing(frame: Frame) -> tuple[str, str] | None:
    """The end of a prompt that opens a thought, from its mark on, and the text that closes it at once. None if none is open."""
    opener = find_open_thought(frame.asked)
    if not opener:
        return None
    opening = frame.asked[frame.asked.rindex(opener) :]
    closer = find_closer(opener)
    line = "\n" if opening.endswith("\n") else ""
    return opening, frame.lead if closer in frame.lead else f"{line}{closer}\n\n"


def choose_lead(prompt: Prompt, answer: str) -> str:
    """The prompt's lead, without the empty thought that some templates put there (Qwen3) if the answer has its own."""
    before = cut_thoughts(prompt.lead)
    if before == prompt.lead or cut_thoughts(answer) == answer:
        return prompt.lead
    return before


def join_answer(example: Example, prompt: Prompt) -> str:
    """The assistant's text as it continues the prompt, behind the lead.

    Raises:
        DatasetError: the answer is empty, or does not fit a thought that is open or closed. The message names the row.
    """
    if not example.answer.strip():
        raise DatasetError(f"row {example.id!r} has an empty answer: there is nothing to learn from it. Drop the row.")
    if prompt.closed and find_closer(prompt.closed) in example.answer:
        raise DatasetError(
            f"row {example.id!r}: its answer contains a thought ({find_closer(prompt.closed)}), but the one that the student's"
            " chat template opens is closed: set student.thoughts to open, or remove the thoughts from the answers"
        )
    return _join_thought(example, prompt.opening) if prompt.opening else example.answer


def _join_thought(example: Example, opening: str) -> str:
    """The answer as it continues the thought that the prompt has opened."""
    opener = find_open_thought(opening)
    if find_closer(opener) not in example.answer:
        raise DatasetError(
            f"row {example.id!r}: its answer has no thought, but the student's chat template opens one ({opener}) and"
            " student.thoughts is open: set it to close, or give each answer its thought, ended by "
            + find_closer(opener)
        )
    return example.answer.lstrip().removeprefix(opener).lstrip("\n")
