"""Models of a few thousand parameters, made in memory and saved where a run finds them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pada_agent.training.encoding import IGNORE_INDEX, Encoded

TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def save_student(folder: Path, **changes: Any) -> Path:
    """A Llama with a byte tokenizer and a chat template; `changes` go into its configuration."""
    tokenizer = make_byte_tokenizer(["<|start|>", "<|end|>", "<|pad|>"])
    tokenizer.chat_template = TEMPLATE
    tokenizer.eos_token, tokenizer.pad_token = "<|end|>", "<|pad|>"
    torch.manual_seed(0)
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 512,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(**{**values, **changes})
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_gguf_student(
    folder: Path,
    architecture: str = "llama",
    *,
    rope_base: float = 10_000.0,
    rope_factors: Sequence[float] = (),
    rope_scaling: dict[str, Any] | None = None,
    n_tensors: int | None = None,
    splitting: str = "gpt-2",
    words: Sequence[str] = (),
    merges: Sequence[str] = ("t h",),
    special: Sequence[str] = ("<|start|>", "<|end|>", "<|pad|>"),
    biases: Sequence[str] = (),
) -> Path:
    """A Llama or Qwen2 of random F32 weights as a GGUF file, with the tokenizer of `save_student` and one merge.

    `rope_scaling` has the metadata of that name: `type`, `factor` and so on. With `n_tensors`, the file has only its first ones.
    `splitting` is the name of how texts are split into words, `words` are further tokens, and `special` are the names of the control tokens.
    `biases` are layers of each block, such as `ffn_up`, that have a bias too.
    """
    rng = np.random.default_rng(0)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*alphabet, "th", *words, *special]
    writer = gguf.GGUFWriter(folder / "tiny.gguf", architecture)
    writer.add_block_count(2)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(rope_base)
    kinds = {str: gguf.GGUFValueType.STRING, float: gguf.GGUFValueType.FLOAT32, int: gguf.GGUFValueType.UINT32}
    for name, value in (rope_scaling or {}).items():
        writer.add_key_value(f"{architecture}.rope.scaling.{name}", value, kinds[type(value)])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting)
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * (len(tokens) - 3) + [gguf.TokenType.CONTROL] * 3)
    writer.add_token_merges(list(merges))
    writer.add_bos_token_id(len(tokens) - 3)
    writer.add_eos_token_id(len(tokens) - 2)
    writer.add_pad_token_id(len(tokens) - 1)
    writer.add_chat_template(TEMPLATE.replace("<|start|>", special[0]).replace("<|end|>", special[1]))
    shapes = {"token_embd.weight": (len(tokens), 32), "output_norm.weight": (32,)}
    for n in range(2):
        block = {
            "attn_q": (32, 32),
            "attn_k": (16, 32),
            "attn_v": (16, 32),
            "attn_output": (32, 32),
            "attn_norm": (32,),
        }
        if architecture == "qwen2":
            shapes |= {f"blk.{n}.attn_{k}.bias": (32 if k == "q" else 16,) for k in "qkv"}
        block |= {"ffn_gate": (48, 32), "ffn_up": (48, 32), "ffn_down": (32, 48), "ffn_norm": (32,)}
        shapes |= {f"blk.{n}.{name}.weight": shape for name, shape in block.items()}
        shapes |= {f"blk.{n}.{name}.bias": block[name][:1] for name in biases}
    for name, shape in list(shapes.items())[:n_tensors]:
        values = rng.normal(scale=0.2, size=shape) if len(shape) > 1 else np.ones(shape)
        writer.add_tensor(name, values.astype(np.float32))
    if rope_factors:
        writer.add_tensor("rope_freqs.weight", np.array(rope_factors, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "tiny.gguf"


def save_embedder(folder: Path) -> Path:
    """A sentence-transformers folder: a small BERT and mean pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    tokenizer = make_byte_tokenizer(["[PAD]", "[UNK]"])
    tokenizer.pad_token, tokenizer.unk_token = "[PAD]", "[UNK]"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    bare = folder / "bare"
    BertModel(config).save_pretrained(bare)
    tokenizer.save_pretrained(bare)
    words = Transformer(str(bare))
    SentenceTransformer(modules=[words, Pooling(16)], device="cpu").save(str(folder / "whole"))
    return folder / "whole"


def make_byte_tokenizer(special: list[str]) -> Any:
    """One token per byte, and the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def pad(rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
    """A padded batch, as plain transformers take it."""
    width = max(len(row.input_ids) for row in rows)

    def fill(values: list[int], filler: int) -> list[int]:
        return values + [filler] * (width - len(values))

    return {
        "input_ids": torch.tensor([fill(row.input_ids, 0) for row in rows]),
        "attention_mask": torch.tensor([fill([1] * len(row.input_ids), 0) for row in rows]),
        "labels": torch.tensor([fill(row.labels, IGNORE_INDEX) for row in rows]),
    }
