"""Tokenizers made in memory; torch is not needed."""

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PLAIN = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def make_tokenizer(
    template: str | None = None,
    *,
    special: Sequence[str] = ("<|start|>", "<|end|>", "<|pad|>"),
    plain: Sequence[str] = (),
    eos: str | None = "<|end|>",
) -> Any:
    """One token a byte from 0 to 255, then the special tokens, then added ones that are not special. Only `eos` has a role."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    core.add_tokens([AddedToken(name, special=False, normalized=False) for name in plain])
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, eos_token=eos)
