"""Chat templates of public students, as far as they render plain turns. Each with the special tokens it needs, and its end of sequence."""

from typing import Any, NamedTuple

from tests.tokenizers_in_memory import make_tokenizer


class Family(NamedTuple):
    """A template and its tokens."""

    template: str
    special: tuple[str, ...]
    eos: str
    plain: tuple[str, ...] = ()


CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_MESSAGES = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
)
_PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"

AS_EVER = {
    "SmolLM2": Family(
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful AI assistant named SmolLM<|im_end|>\n"
        "{% endif %}" + _MESSAGES + _PROMPT,
        CHATML,
        "<|im_end|>",
    ),
    "Qwen2.5": Family(
        "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\nYou are Qwen.<|im_end|>\n' }}{%- endif %}"
        "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{%- endfor %}"
        "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}",
        CHATML,
        "<|im_end|>",
        ("<tool_call>", "</tool_call>"),
    ),
    "Llama 3": Family(
        "{% set bos = '<|begin_of_text|>' %}{% for m in messages %}{{ (bos if loop.first else '') + '<|start_header_id|>'"
        " + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
    ),
}
"""Answers follow the prompt directly."""

LED = {
    "gpt-oss": Family(
        "{% for m in messages %}{% if m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}"
        "{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}"
        "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|start|>assistant{% endif %}",
        ("<|start|>", "<|end|>", "<|return|>", "<|channel|>", "<|message|>"),
        "<|return|>",
    ),
    "Command R7B": Family(
        "{% for m in messages %}<|START_OF_TURN_TOKEN|>{% if m.role == 'assistant' %}<|CHATBOT_TOKEN|><|START_RESPONSE|>"
        "{{ m.content }}<|END_RESPONSE|>{% else %}<|USER_TOKEN|>{{ m.content }}{% endif %}<|END_OF_TURN_TOKEN|>{% endfor %}"
        "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
        (
            *("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
            *("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_THINKING|>", "<|END_THINKING|>"),
        ),
        "<|END_OF_TURN_TOKEN|>",
    ),
    "Mistral v0.3": Family(
        "{{ '<s>' }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}{% else %}"
        "{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}",
        ("<s>", "</s>", "[INST]", "[/INST]", "[THINK]", "[/THINK]"),
        "</s>",
    ),
    "Zephyr": Family(
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}",
        ("</s>",),
        "</s>",
    ),
    "ChatML without a generation prompt": Family(_MESSAGES, CHATML, "<|im_end|>"),
    "Qwen3": Family(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
        "{% set parts = m.content.split('</think>') %}"
        "{{ '<think>\n' + (parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '')"
        " + '\n</think>\n\n' + parts[-1].lstrip('\n') }}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
        + _PROMPT,
        CHATML,
        "<|im_end|>",
        ("<think>", "</think>"),
    ),
}
"""The template puts something between prompt and answer."""

QWEN3_THINKING = LED["Qwen3"]._replace(
    template=LED["Qwen3"].template.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}")
)
"""Opens the thought that a whole conversation has."""


def make_student_tokenizer(family: Family) -> Any:
    """A tokenizer of bytes with the family's template."""
    return make_tokenizer(family.template, special=family.special, plain=family.plain, eos=family.eos)
