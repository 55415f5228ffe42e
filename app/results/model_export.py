"""Exports the fine-tuned student as a plain model that other programs can load."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.app.adapters.storage import model_store
from pada_agent.app.adapters.storage.artifacts import (
    FileArtifactStore,
    check_new,
    making_beside,
    move,
    write_atomically,
)
from pada_agent.app.adapters.storage.hub_commits import pin_commit
from pada_agent.app.run_folder import layout
from pada_agent.app.run_folder.events import OnEvent, RunEvent
from pada_agent.core.errors import ArtifactError
from pada_agent.core.hub_names import PinnedName, are_alike, join_commit, split_commit
from pada_agent.core.jobs import EXPORT_REPORT, ChatSpec, ExportJob, read_train_metrics
from pada_agent.core.json_lines import read_json_lines, to_json_lines
from pada_agent.core.records import Example, Record, ScoredRow

Format = Literal["safetensors", "gguf"]

N_CHECKED_ROWS = 8

PROMPTS = ("Say hello.", "Name three colors.", "What is 2 + 3?", "Where does the sun rise?")
"""Used for the check if no rows of a run are available."""

LLAMA_CPP = (
    "Checked with full-precision products. llama.cpp also rounds their inputs (F16 or 8 bit), so its texts may differ from"
    " these where two tokens are about equally likely."
)
"""SmolLM2-135M, 5 prompts: 3 texts alike, 2 that part where logits lie within 0.04; all 5 alike with all tensors as F32."""

OTHER_WEIGHTS = (
    "This student does not have the weights that the adapter was trained on, so the merged model may answer differently from the"
    " one that was measured."
)


class ExportReport(Record):
    """Where the model is, and whether it answers as it did before it was written."""

    folder: Path
    format: Format
    n_rows: int
    """Number of rows it was checked with."""
    n_equal: int
    """Number of rows with the same choice or the same text."""
    fits: bool = True
    """Whether the student has the weights that the adapter was trained on, as far as is known."""
    other_prompts: str = ""
    """Where the model's own chat template renders the rows' prompts otherwise than the run. Empty if it does not."""
    doubt: str = ""
    """A warning if nothing is known of the weights, and the adapter names another student."""


class Source(Record):
    """What to merge, and rows to check the result with."""

    student: str
    adapter: Path
    rows: tuple[Example, ...]
    chat: ChatSpec = ChatSpec()


def export_model(
    source: Path, *, format: Format, out: Path, on_event: OnEvent, student: str | None = None
) -> ExportReport:
    """Merge an adapter into its student, on CPU in fp32, and write the model to the new folder `out`.

    Args:
        source: folder of a finished run (its best adapter is used) or of an adapter.
        student: name or path of the base model, or `owner/name@revision`. None uses the one that the source names, at the
            commit that it names.

    Raises:
        ArtifactError: `source` is neither of these, or its run kept no adapter.
        ConfigError: `out` already exists.
        TrainingError: the adapter does not fit the student, the student that it names has other weights now, or the format is
            not available for it.
    """
    check_new(out)
    found = read_source(source)
    if student is not None:
        found = found.model_copy(update={"student": _choose_student(str(model_store.resolve(student)), found.student)})
    trained_on = read_train_metrics(found.adapter).base_sha256
    with making_beside(out) as scratch:
        made = _run_job(found, format, scratch, on_event, any_weights=student is not None)
        report = json.loads((made / EXPORT_REPORT).read_text(encoding="utf-8"))
        fits = have_same_weights(trained_on, report["base_sha256"])
        move(made, out)
    return ExportReport(
        folder=out,
        format=format,
        n_rows=report["n_rows"],
        n_equal=report["n_equal"],
        fits=fits,
        other_prompts=report["other_prompts"],
        doubt=doubt_base(found.adapter, found.student),
    )


def doubt_base(adapter: Path, student: str) -> str:
    """A warning that an adapter may be for another student. Empty if their names are alike, or if the adapter names the weights,
    which are compared when it is loaded.

    Raises:
        ArtifactError: the adapter's metrics are damaged.
    """
    base = read_base(adapter)
    if base is None or are_alike(base.name, student) or read_train_metrics(adapter).base_sha256:
        return ""
    return (
        f"Warning: the adapter {adapter} names {base.name} as its base model, but the student is {student}, and nothing says"
        " whether their weights are the same. If they are not, the result means nothing: give the student that it was trained on."
    )


def have_same_weights(trained_on: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Whether weights are the same, by the SHA-256 of each file. True if those of either are not known.

    A folder may hold further files, such as the weights in another format.
    """
    shared = trained_on.keys() & found.keys()
    if not trained_on or not found:
        return True
    return bool(shared) and all(trained_on[name] == found[name] for name in shared)


def read_source(folder: Path) -> Source:
    """What to merge, according to a finished run's or an adapter's folder.

    Raises:
        ArtifactError: it is neither of these, or the run kept no adapter.
    """
    return _read_run(folder) if (folder / layout.CONFIG).is_file() else _read_adapter(folder)


def describe_export(report: ExportReport) -> str:
    """Two lines, and further ones about weights that do not fit and other prompts, and for GGUF on what the check does not cover."""
    rounding = " (F16 rounds the weights)" if report.format == "gguf" and report.n_equal < report.n_rows else ""
    lines = [
        f"{report.format}: {report.folder}",
        f"Read back: {report.n_equal} of {report.n_rows} rows get the same answer as from student and adapter{rounding}.",
    ]
    if not report.fits:
        lines.append(OTHER_WEIGHTS)
    if report.other_prompts:
        lines.append(report.other_prompts)
    if report.doubt:
        lines.append(report.doubt)
    return "\n".join([*lines, LLAMA_CPP] if report.format == "gguf" else lines)


def _run_job(source: Source, format: Format, scratch: Path, on_event: OnEvent, *, any_weights: bool) -> Path:
    text = to_json_lines(source.rows)
    rows = write_atomically(scratch / "rows.jsonl", text)
    compute = LocalCompute(scratch, scratch / "worker.log", device="cpu")
    job = ExportJob(
        student=source.student,
        adapter=str(source.adapter),
        format=format,
        rows=str(rows),
        rows_hash=hashlib.sha256(text.encode()).hexdigest()[:16],
        chat=source.chat,
        any_weights=any_weights,
    )
    try:
        return compute.wait(compute.submit(job), lambda p: on_event(RunEvent(mode="custom", data=p.model_dump())))
    finally:
        compute.close()


def _read_run(folder: Path) -> Source:
    config = layout.load_run_config(folder)
    if not layout.is_finished(folder):
        raise ArtifactError(f"{folder}: this run is not finished. Continue it with: {layout.word_resume(folder)}")
    if not (folder / "best").is_dir():
        raise ArtifactError(_explain_absence(folder))
    return Source(
        student=pin_commit(
            str(model_store.resolve(layout.locate(folder, config.student.model))),
            config.student.revision,
            FileArtifactStore(folder / "objects"),
        ),
        adapter=folder / "best",
        rows=_read_rows(folder / "iterations" / "untouched" / "predictions" / "validation.jsonl"),
        chat=config.student.chat,
    )


def _explain_absence(folder: Path) -> str:
    """Why a finished run has no `best/`."""
    summary = layout.load_summary(folder)
    if summary.adapter is None:
        return f"{folder}: the untouched student was best, so there is no adapter to merge."
    return (
        f"{folder / 'best'}: missing, although the run's best model is '{summary.best_model}'. Move it back, or delete the run's"
        f" {layout.SUMMARY}, then: {layout.word_resume(folder)}"
    )


def _read_rows(path: Path) -> tuple[Example, ...]:
    advice = "`pada report` shows whether the run is whole."
    scored = read_json_lines(path, ScoredRow, if_missing=advice, if_damaged=advice, limit=N_CHECKED_ROWS)
    return tuple(row.example for row in scored)


def _read_adapter(folder: Path) -> Source:
    base = read_base(folder)
    if base is None:
        raise ArtifactError(
            f"{folder}: neither a finished run nor an adapter (no readable adapter_config.json). Give a run's folder or its best/."
        )
    rows = tuple(Example(id=f"prompt-{n}", prompt=prompt, answer="") for n, prompt in enumerate(PROMPTS, 1))
    return Source(student=_original(join_commit(*base)), adapter=folder, rows=rows)


def read_base(adapter: Path) -> PinnedName | None:
    """The student that an adapter says it was trained on, and its commit. None if it does not say."""
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
        name, revision = config["base_model_name_or_path"], config.get("revision")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return PinnedName(name, revision or None) if name and isinstance(name, str) else None


def _choose_student(wanted: str, named: str) -> str:
    """The student that a user wants. Without a commit of its own, the same hub model as the adapter's is taken at the adapter's commit."""
    return named if wanted == split_commit(named).name else wanted


def _original(student: str) -> str:
    """The student's file: an adapter names the safetensors copy of a GGUF student, and the GGUF file is next to it."""
    gguf = Path(student.removesuffix("-fp32"))
    return str(gguf) if gguf.suffix == ".gguf" and gguf.is_file() else student
