"""Evaluates a run's best adapter without pada-agent: with plain transformers and PEFT, one row at a time.

    python benchmarks/plain_check.py runs/demo --student SmolLM2-135M-Instruct.Q4_1.gguf --rows 100

Compares the picked options with the run's predictions. Rows whose two best options are within 1e-4 may differ; they are counted.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from pada_agent.core.lines import split_lines


def main() -> None:
    """Print one JSON line with the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--student", type=Path, required=True, help="GGUF file of the base model")
    parser.add_argument("--iteration", default="0", help="folder under iterations/")
    parser.add_argument("--rows", type=int, default=100)
    arguments = parser.parse_args()
    folder = arguments.run / "iterations" / arguments.iteration
    rows = [json.loads(line) for line in split_lines((folder / "predictions" / "validation.jsonl").read_text())]
    model, tokenizer = load(arguments.student, folder / "adapter")
    counts = {"rows": 0, "same": 0, "differ_within_1e-4": 0, "differ": 0}
    for row in rows[: arguments.rows]:
        scores = score(model, tokenizer, row["example"]["prompt"], row["example"]["options"])
        counts["rows"] += 1
        counts[compare(scores, row["example"]["options"], row["prediction"]["response"])] += 1
    print(json.dumps(counts))


def load(student: Path, adapter: Path) -> tuple[Any, Any]:
    """The base model from its GGUF file, with the adapter on top."""
    base = AutoModelForCausalLM.from_pretrained(student.parent, gguf_file=student.name, dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(adapter)).eval(), AutoTokenizer.from_pretrained(
        student.parent, gguf_file=student.name
    )


@torch.inference_mode()
def score(model: Any, tokenizer: Any, prompt: str, options: list[str]) -> list[float]:
    """Log-likelihood of each option as the answer, per character, without cache or packing, one sequence at a time."""
    turns = [{"role": "system", "content": ""}, {"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    start = tokenizer(text, add_special_tokens=False).input_ids
    scores = []
    for option in options:
        answer = tokenizer(option, add_special_tokens=False).input_ids
        logits = model(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1].log_softmax(-1)
        scores.append(float(logits[range(len(answer)), answer].sum()) / len(option))
    return scores


def compare(scores: list[float], options: list[str], picked: str) -> str:
    """The counter that the row belongs to."""
    best, second = sorted(scores, reverse=True)[:2]
    if options[scores.index(best)] == picked:
        return "same"
    return "differ_within_1e-4" if best - second < 1e-4 else "differ"


if __name__ == "__main__":
    main()
