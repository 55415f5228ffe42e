"""The fine-tuned student as one plain model, read back and asked again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pada_agent.core.errors import TrainingError
from pada_agent.core.jobs import EXPORT_REPORT, ExportJob, PredictJob
from pada_agent.core.progress import Progress
from pada_agent.core.records import Example, Prediction
from pada_agent.training.export.gguf import write_merged_gguf
from pada_agent.training.predicting import answer_rows, merge_adapter
from pada_agent.training.students import Student, hash_weights, load_student, read_gguf

GGUF_FILE = "model.gguf"


def export(
    student: Student,
    job: ExportJob,
    examples: Sequence[Example],
    *,
    folder: Path,
    on_progress: Callable[[Progress], None],
) -> None:
    """Write the merged model into `folder`, and `export.json`: on how many rows its answers equal the unwritten one's.

    Raises:
        TrainingError: not an adapter of this student, a GGUF cannot be had, or safetensors read back answer otherwise.
    """
    _check_format(job)
    merged = merge_adapter(student, Path(job.adapter))
    expected = _ask(merged, job, examples, "merged", on_progress)
    _write(merged, student, job, folder)
    del merged
    found = _ask(_read_back(student, job, folder), job, examples, "written", on_progress)
    n_equal = sum(one.response == other.response for one, other in zip(expected, found, strict=True))
    if job.format == "safetensors" and n_equal < len(examples):
        raise TrainingError(
            f"{len(examples) - n_equal} of {len(examples)} rows are answered otherwise by the written model, whose weights"
            " should be the same: it was not kept"
        )
    report = {
        "format": job.format,
        "n_rows": len(examples),
        "n_equal": n_equal,
        "student": job.student,
        "base_sha256": hash_weights(student.weights),
    }
    (folder / EXPORT_REPORT).write_text(json.dumps(report, indent=1), encoding="utf-8")


def _check_format(job: ExportJob) -> None:
    if job.format == "gguf" and not job.student.endswith(".gguf"):
        raise TrainingError(
            f"student {job.student} is no GGUF file, so its tokenizer is not known in that form. Export with"
            " --format safetensors and convert that folder with llama.cpp's convert_hf_to_gguf.py."
        )


def _write(merged: Student, student: Student, job: ExportJob, folder: Path) -> None:
    if job.format == "safetensors":
        merged.model.save_pretrained(folder)
        merged.tokenizer.save_pretrained(folder)
        return
    write_merged_gguf(Path(job.student), folder / GGUF_FILE, base=student.model, merged=merged.model)


def _read_back(student: Student, job: ExportJob, folder: Path) -> Student:
    if job.format == "safetensors":
        return load_student(str(folder), student.device)
    model, tokenizer = read_gguf(folder / GGUF_FILE)
    return replace(student, model=model.to(student.device).eval(), tokenizer=tokenizer)


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
