"""`python -m benchmarks.draw_student TOKENIZER_FOLDER OUT`: random weights in the shape of Llama 3.2 1B.

As fast as the model itself, for measuring G1 on a machine that cannot download it. (G2 refuses it, because its texts are full
of ties.) The tokenizer is another model's, extended by made-up tokens: texts are compared, so each token needs one.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

LLAMA_1B: dict[str, Any] = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}


def draw_student(tokenizer_folder: Path, out: Path) -> None:
    """Write model and tokenizer as safetensors, in bf16."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.add_tokens([f"<{i}>" for i in range(len(tokenizer), LLAMA_1B["vocab_size"])])
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 500_000.0}
    config = LlamaConfig(
        **LLAMA_1B,
        rope_parameters=rope,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    draw_student(Path(sys.argv[1]), Path(sys.argv[2]))
