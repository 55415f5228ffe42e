"""Settings of the student and of its chat format."""

from typing import Literal

from pydantic import Field, JsonValue, field_validator

from pada_agent.core.jobs import ChatSpec
from pada_agent.core.settings import Settings

TEMPLATE_PARAMETERS = {
    *("messages", "conversation", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize"),
    *("continue_final_message", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
    *("return_assistant_tokens_mask", "tokenizer_kwargs", "sanitize_control_tokens"),
}
"""Arguments of a rendering that are not variables of the template."""


class StudentConfig(Settings):
    """The small language model."""

    model: str = "smollm2-135m-instruct"
    """Name in the model store, hub id, or folder."""
    system: str | None = None
    """System turn; null keeps the tokenizer's default, an empty string asks for none."""
    chat_template: str | None = None
    """Chat template (Jinja), or in a settings file the path of one, relative to the working directory; null takes the tokenizer's.
    Base models have none."""
    template_arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Variables of the chat template, such as `{enable_thinking: false}` for Qwen3."""
    control_tokens_in_rows: bool = False
    """Whether the name of a control token in a row, such as `<|im_end|>`, becomes that token. Off, it is text like any other: a row
    can end no turn and begin none. Ours: off."""
    thoughts: Literal["close", "open"] = "close"
    """For templates that open a thought where the student starts to write (DeepSeek R1, Qwen3 Thinking). `close`: it is closed at
    once, in training and in evaluation alike, so answers are learned as answers. `open`: the student thinks, and each training
    answer has to bring its thought. Thoughts are never graded. Ours: close."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens; null takes the task's own limit."""
    eval_batch_size: int = Field(default=64, ge=1)
    """Rows answered at once on CPU, fewer where keys and values would take over 2 GB; on a GPU as many as there is memory for,
    256 at most. Ours: 64."""

    @field_validator("chat_template")
    @classmethod
    def _refuse_other_text(cls, text: str | None) -> str | None:
        if text is not None and "{{" not in text and "{%" not in text:
            raise ValueError(f"{text!r} is not a Jinja template, and no file of that name could be read")
        return text

    @field_validator("template_arguments")
    @classmethod
    def _refuse_taken_names(cls, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(arguments.keys() & TEMPLATE_PARAMETERS):
            raise ValueError(f"{', '.join(taken)}: cannot be set here; the rows and their encoding determine it")
        return arguments

    @property
    def chat(self) -> ChatSpec:
        """How rows are put into the student's chat format."""
        return ChatSpec(
            system=self.system,
            template=self.chat_template,
            arguments=self.template_arguments,
            control_tokens_in_rows=self.control_tokens_in_rows,
            thoughts=self.thoughts,
        )
