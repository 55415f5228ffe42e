"""A student that answers what the training row with the most words in common answers; quick to import."""

import json
import re
import struct
from pathlib import Path

from pada_agent.core.jobs import TOKENIZER_FACTS, FineTuneJob, Job, PredictJob, TokenizerFacts, TokenizerJob
from pada_agent.core.records import Example, Prediction


def make_weights(n_bytes: int = 8, name: str = "w") -> bytes:
    """A safetensors file with one tensor."""
    header = json.dumps({name: {"dtype": "F32", "shape": [n_bytes // 4], "data_offsets": [0, n_bytes]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(n_bytes)


def save_hollow_model(folder: Path) -> Path:
    """A folder with the files of a model, which nobody loads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(make_weights())
    return folder


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def run_toy_job(job: Job, folder: Path) -> None:
    """What the toy student leaves in `folder`."""
    folder.mkdir(parents=True)
    if isinstance(job, TokenizerJob):
        _save_tokenizer(folder)
        return
    rows = _read(job.rows)
    if isinstance(job, FineTuneJob):
        (folder / "memory.json").write_text(json.dumps([[row.prompt, row.answer] for row in rows]))
    if isinstance(job, PredictJob):
        (folder / "predictions.jsonl").write_text("".join(_predict(row, job).model_dump_json() + "\n" for row in rows))


def _read(path: str) -> list[Example]:
    return [Example.model_validate_json(line) for line in Path(path).read_text().split("\n") if line]


def _save_tokenizer(folder: Path) -> None:
    """One token a byte."""
    from tests.tokenizers_in_memory import PLAIN, make_tokenizer

    make_tokenizer(PLAIN).save_pretrained(folder)
    facts = TokenizerFacts(end_token_ids=(), n_embeddings=None, context_tokens=100_000)
    (folder / TOKENIZER_FACTS).write_text(facts.model_dump_json())


def _predict(row: Example, job: PredictJob) -> Prediction:
    answer = row.options[-1 if job.chat.system else 0] if row.options else "I cannot say"
    if job.adapter:
        memory = json.loads((Path(job.adapter) / "memory.json").read_text())
        answer = max(memory, key=lambda pair: len(words(pair[0]) & words(row.prompt)))[1]
    scores = tuple(0.0 if option == answer else -1.0 for option in row.options)
    return Prediction(example_id=row.id, response=answer, option_scores=scores)
