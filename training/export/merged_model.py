"""Exports the fine-tuned student as one plain model, then loads it again and compares its answers."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pada_agent.core.errors import ConfigError, TrainingError
from pada_agent.core.jobs import EXPORT_REPORT, ChatSpec, ExportJob, PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Prediction
from pada_agent.training.export.earlier_names import add_earlier_names
from pada_agent.training.export.gguf import write_merged_gguf
from pada_agent.training.export.written_prompts import describe_other_prompts, describe_other_splitting
from pada_agent.training.predicting import answer_rows, apply_adapter, merge_adapter
from pada_agent.training.scoring import score_options
from pada_agent.training.students import Student, hash_weights, list_ends, load_student, read_gguf

GGUF_FILE = "model.gguf"
MAX_OFF = 1e-3
"""Nats per character by which the written model's likelihood of an answer may differ. fp32 sums in another order differ by less."""


@dataclass(frozen=True)
class _Answers:
    """What the student answers with the adapter beside its weights."""

    all: list[Prediction]
    own: list[Example]
    """The rows that were answered, each with that answer as its only option."""
    likelihoods: list[float]
    """Of the rows in `own`, in nats per character."""


def export(
    student: Student,
    job: ExportJob,
    examples: Sequence[Example],
    *,
    folder: Path,
    on_progress: Callable[[Progress], None],
) -> None:
    """Write the merged model into `folder`, and `export.json`: for how many rows it gives the same answer as the adapter, and
    whether its own chat template renders the same prompts.

    Lets go of the student before the written model is loaded. If the caller keeps no reference either, there is only one in memory then.

    Raises:
        TrainingError: the adapter does not belong to this student, a GGUF cannot be written, or the written model differs from it.
        ConfigError: neither the job nor the student has a chat template.
    """
    _check_format(job)
    _check_template(student, job)
    encoder = student.encode_by(job.chat)
    answers = _answer_by_adapter(student, job, examples, on_progress)
    merged = merge_adapter(student, Path(job.adapter), any_weights=job.any_weights)
    _write(_add_chat(merged, job.chat), student, job, folder)
    device, base_sha256 = student.device, hash_weights(student.weights)
    template = student.tokenizer.get_chat_template(job.chat.template)  # the written one has settings in it
    del student, merged
    written = _read_back(job, folder, device)
    job = job.model_copy(update={"chat": job.chat.model_copy(update={"template": template})})
    found = _ask(written, job, examples, "written", on_progress)
    n_equal = sum(one.response == other.response for one, other in zip(answers.all, found, strict=True))
    weights = _weigh(written, job, answers.own)
    off = max((abs(a - b) for a, b in zip(answers.likelihoods, weights, strict=True)), default=0.0)
    _check_likelihoods(off, job)
    others = [describe_other_prompts(written.tokenizer, encoder, examples)]
    if job.format == "safetensors":
        others.append(describe_other_splitting(written.tokenizer))
    report = {
        "format": job.format,
        "n_rows": len(examples),
        "n_equal": n_equal,
        "largest_difference": off,
        "other_prompts": " ".join(filter(None, others)),
        "student": job.student,
        "base_sha256": base_sha256,
    }
    (folder / EXPORT_REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")


def _answer_by_adapter(
    student: Student, job: ExportJob, examples: Sequence[Example], on_progress: Callable[[Progress], None]
) -> _Answers:
    with apply_adapter(student, Path(job.adapter), any_weights=job.any_weights) as adapted:
        expected = _ask(adapted, job, examples, "adapted", on_progress)
        own = _take_own_answers(examples, expected)
        return _Answers(all=expected, own=own, likelihoods=_weigh(adapted, job, own))


def _check_likelihoods(off: float, job: ExportJob) -> None:
    """GGUF rounds; safetensors do not. `off` may be NaN."""
    if job.format == "safetensors" and not off <= MAX_OFF:
        raise TrainingError(
            f"the written model's likelihoods of the adapter's own answers differ by up to {off:.2g} nats per character,"
            " so it was not kept. Use the student together with the adapter instead."
        )


def _take_own_answers(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Example]:
    """The rows that were answered, each with that answer as its only option."""
    pairs = zip(examples, predictions, strict=True)
    return [row.model_copy(update={"options": (p.response,)}) for row, p in pairs if p.response.strip()]


def _weigh(student: Student, job: ExportJob, rows: Sequence[Example]) -> list[float]:
    """Log-likelihood of each row's only option, in nats per character."""
    encoder = student.encode_by(job.chat)
    return [p.option_scores[0] for p in score_options(student, encoder, rows, on_done=lambda _: None)] if rows else []


def _check_format(job: ExportJob) -> None:
    if job.format == "gguf" and not job.student.endswith(".gguf"):
        raise TrainingError(
            f"student {job.student} is not a GGUF file, so there is no GGUF tokenizer to copy. Export with"
            " --format safetensors and convert that folder with llama.cpp's convert_hf_to_gguf.py."
        )


def _check_template(student: Student, job: ExportJob) -> None:
    if not job.chat.template and not student.tokenizer.chat_template:
        raise ConfigError(
            f"student {job.student} has no chat template, and an adapter alone does not name the one that it was trained with."
            " Export the folder of its run instead, or save the template as chat_template.jinja in the student's folder."
        )


def _add_chat(merged: Student, chat: ChatSpec) -> Student:
    """The model with the prompts and the end of turn that it learned, where others look for them. TRL stores them in the same places."""
    encoder = merged.encode_by(chat)
    end = encoder.end_token_id
    tokenizer = copy.deepcopy(merged.tokenizer)
    fixed = encoder.fixed_template
    several = isinstance(tokenizer.chat_template, dict) and not chat.template
    tokenizer.chat_template = {**tokenizer.chat_template, "default": fixed} if several else fixed
    if "eos_token" not in str(tokenizer.chat_template):  # its turns would change
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)
    model = merged.model
    ends = [end, *(known for known in list_ends(model.generation_config) if known != end)]
    model.generation_config.eos_token_id = ends if len(ends) > 1 else end
    model.config.get_text_config(decoder=True).eos_token_id = end
    return replace(merged, tokenizer=tokenizer)


def _write(merged: Student, student: Student, job: ExportJob, folder: Path) -> None:
    if job.format == "safetensors":
        merged.model.save_pretrained(folder)
        merged.tokenizer.save_pretrained(folder)
        add_earlier_names(folder, student)
        return
    write_merged_gguf(Path(job.student), folder / GGUF_FILE, base=student.model, merged=merged)


def _read_back(job: ExportJob, folder: Path, device: torch.device) -> Student:
    if job.format == "safetensors":
        return load_student(str(folder), device)
    model, tokenizer = read_gguf(folder / GGUF_FILE)
    return Student(source=job.student, model=model.to(device).eval(), tokenizer=tokenizer)


def _ask(
    student: Student, job: ExportJob, examples: Sequence[Example], what: str, on_progress: Callable[[Progress], None]
) -> list[Prediction]:
    def report(done: int) -> None:
        on_progress(Progress(stage="export", done=done, total=len(examples), unit="rows", detail=f"{what} model"))

    request = PredictJob(
        student=job.student,
        rows=job.rows,
        rows_hash=job.rows_hash,
        max_new_tokens=job.max_new_tokens,
        chat=job.chat,
    )
    return answer_rows(student, request, examples, on_done=report)
