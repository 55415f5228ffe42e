"""Settings of the student and of its chat format."""

from typing import Literal

from pydantic import Field, JsonValue, field_validator

from pada_agent.core.hub_revisions import check_revision
from pada_agent.core.jobs import ChatSpec, LoadIn
from pada_agent.core.setting_texts import Prose, check_template, take_name
from pada_agent.core.settings import Settings

TEMPLATE_PARAMETERS = {
    *("messages", "conversation", "tools", "documents", "chat_template", "add_generation_prompt", "tokenize"),
    *("continue_final_message", "padding", "truncation", "max_length", "return_tensors", "return_dict"),
    *("return_assistant_tokens_mask", "tokenizer_kwargs", "sanitize_control_tokens"),
}
"""Arguments of the rendering call that are not template variables."""


class StudentConfig(Settings):
    """The small language model that is fine-tuned."""

    model: str = "smollm2-135m-instruct"
    """Name in the model store, hub id or folder."""
    revision: str | None = None
    """Branch, tag or commit of a hub model, by git's rules for names. Null is the main branch. A run stays with the commit that it began with."""
    load_in: LoadIn | None = None
    """`4bit` keeps the weights in 4 bits during training and evaluation (QLoRA, arXiv 2305.14314: nf4, double quantization), in 30 to 40% of
    the memory. The adapter is never merged into them. Needs `pada-agent[qlora]`. Null keeps them in bf16 on a GPU and in fp32 on CPU."""
    system: Prose | None = None
    """System message. Null keeps the tokenizer's default; an empty string sends none."""
    chat_template: str | None = None
    """Chat template (Jinja). In a settings file, it can also be the path of one, relative to the working directory. Null uses the tokenizer's own;
    base models have none."""
    template_arguments: dict[str, JsonValue] = Field(default_factory=dict)
    """Variables passed to the chat template, such as `{enable_thinking: false}` for Qwen3."""
    control_tokens_in_rows: bool = False
    """Whether the name of a control token inside a row, such as `<|im_end|>`, becomes that token. If off, it is ordinary text, so a row cannot end
    or begin a turn. Our default: off."""
    thoughts: Literal["close", "open"] = "close"
    """For templates that open a thought where the student starts to write (DeepSeek R1, Qwen3 Thinking). `close` closes it at once, in both training
    and evaluation, as the template does in whole conversations, so that answers are learned as answers. `open` lets the student think; each
    training answer must then include its thought. Thoughts are never graded. Our default: close."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """Maximum number of tokens the student generates per answer. Null uses the task's own limit, or more if a right answer is longer."""
    eval_batch_size: int = Field(default=64, ge=1)
    """Number of rows answered at once on CPU; fewer if their keys and values would need more than 2 GB. A GPU takes as many as fit in memory, 256 at
    most. Our default: 64."""

    engine: Literal["own", "vllm"] = "own"
    """What writes the student's answers in evaluations. `vllm` is for large evaluations on a GPU: it has to be installed, takes a minute to start
    and most of the GPU's memory (docs/larger-students.md). It rounds differently, so some answers differ: use one engine for all runs that you compare.
    Options are always scored by our own engine. Our default: own."""

    _take_names = field_validator("revision", "chat_template", mode="before")(take_name)

    @field_validator("revision")
    @classmethod
    def _refuse_odd_revision(cls, revision: str | None) -> str | None:
        if revision:
            check_revision(revision)
        return revision

    @field_validator("chat_template")
    @classmethod
    def _refuse_other_text(cls, text: str | None) -> str | None:
        return check_template(text) if text else None

    @field_validator("template_arguments")
    @classmethod
    def _refuse_taken_names(cls, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        if taken := sorted(arguments.keys() & TEMPLATE_PARAMETERS):
            raise ValueError(f"{', '.join(taken)}: cannot be set here; the rows and their encoding determine it")
        return arguments

    @property
    def chat(self) -> ChatSpec:
        """How rows are rendered in the student's chat format."""
        return ChatSpec(
            system=self.system,
            template=self.chat_template,
            arguments=self.template_arguments,
            control_tokens_in_rows=self.control_tokens_in_rows,
            thoughts=self.thoughts,
        )
