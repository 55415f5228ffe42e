"""Measures one model on one split, outside a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pada_agent.app import wiring
from pada_agent.app.adapters.compute.local_compute import identify_model
from pada_agent.app.adapters.storage.slices import split_slice
from pada_agent.app.results.model_export import read_base
from pada_agent.app.run_folder.events import OnEvent, RunEvent
from pada_agent.app.runs.driver import ignore
from pada_agent.app.text import interval, percent
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.hub_names import PinnedName, is_commit, split_commit
from pada_agent.core.jobs import PREDICTIONS
from pada_agent.core.records import Metrics, Prediction
from pada_agent.evaluation.rows.reading import ReadFile
from pada_agent.evaluation.rows.token_limits import check_lengths
from pada_agent.evaluation.statistics import summarize
from pada_agent.evaluation.task import verify_answers
from pada_agent.graph.adapters import Adapters
from pada_agent.graph.data_check import check_data, refuse, tell_problems
from pada_agent.graph.data_files import FileName, read_run_files
from pada_agent.graph.jobs import make_predict_job
from pada_agent.graph.node_binding import using
from pada_agent.graph.run_check import check_task_settings
from pada_agent.graph.storing import put_rows, read_output

Split = Literal["validation", "test"]


def evaluate_model(
    config: RunConfig, *, adapter: Path | str | None, split: Split, on_event: OnEvent = ignore
) -> Metrics:
    """Accuracy of the student, with `adapter` or untouched. Works in the folder `runs_folder/evaluate`. Calls
    with equal settings at the same time share worker and models, and the last to end closes them.

    Raises:
        ConfigError: the settings name no such split, or another commit of the student than the one that `adapter` was
            trained on.
        ArtifactError: `adapter` contains no adapter.
    """
    measured_alone = config.loop.model_copy(update={"max_iterations": 0})  # so that only a judge task needs an LLM
    config = config.model_copy(update={"name": "evaluate", "loop": measured_alone})
    adapter = Path(adapter) if adapter else None
    if adapter and not (adapter / "adapter_config.json").is_file():
        raise ArtifactError(f"{adapter}: contains no adapter (no adapter_config.json). Give a run's best/ folder.")
    base = read_base(adapter) if adapter else None
    config = _follow_adapter(config, base)
    with using(wiring.connect, config) as adapters:
        adapters.users.end()
        _check_commit(adapters.student, base)
        files = _read_files(config, split, adapters)
        examples = files[split].examples
        max_new_tokens = _fit_limit(config, split, files, adapters)
        job = make_predict_job(
            put_rows(adapters.store, "evaluate", examples),
            config.student,
            adapters,
            adapter=adapter,
            adapter_hash=identify_model(str(adapter)) if adapter else None,
            max_new_tokens=max_new_tokens,
        )
        folder = adapters.compute.wait(
            adapters.compute.submit(job), lambda p: on_event(RunEvent(mode="custom", data=p.model_dump()))
        )
        predictions = read_output(folder / PREDICTIONS, Prediction, n=len(examples))
        return summarize(verify_answers(adapters.task, examples, predictions))


def _follow_adapter(config: RunConfig, base: PinnedName | None) -> RunConfig:
    """The settings with the commit of the student that the adapter was trained on, unless they name a revision themselves."""
    student = config.student
    if base is None or base.commit is None or student.revision or student.model != base.name:
        return config
    return config.model_copy(update={"student": student.model_copy(update={"revision": base.commit})})


def _check_commit(student: str, base: PinnedName | None) -> None:
    """Refuse an adapter that was trained on another commit of the student."""
    found = split_commit(student)
    if (
        base
        and base.name == found.name
        and all(map(is_commit, (base.commit, found.commit)))
        and base.commit != found.commit
    ):
        raise ConfigError(
            f"student.revision: is {found.commit}, but the adapter was trained on {base.commit} of {base.name}. Set it to that one,"
            " or remove it."
        )


def describe_metrics(metrics: Metrics, *, split: Split) -> str:
    """The metrics in one line."""
    unscored = f", {metrics.n_unscored} could not be scored" if metrics.n_unscored else ""
    f1 = f", F1 {metrics.f1:.3f}" if metrics.f1 is not None else ""
    return f"{split}: {percent(metrics.accuracy)} of {metrics.n} (95% interval {interval(metrics)}{f1}{unscored})"


def _read_files(config: RunConfig, split: Split, adapters: Adapters) -> dict[FileName, ReadFile]:
    """The files of the run, as far as they can be read, because how labels and numbers are read depends on all of them.

    Raises:
        ConfigError, DatasetError: the split cannot be read, or not as `task` says.
    """
    location = getattr(config.data, split)
    if not location:
        raise ConfigError(f"data.{split}: the settings name no rows")
    files, problems = read_run_files(config, {}, datasets=adapters.datasets, task=adapters.task)
    own = [problem for problem in problems if split_slice(location)[0] in str(problem)]
    refuse(tell_problems(own if split in files else own or problems))
    data = check_data(config, files, adapters.task)
    refuse(check_task_settings(config.task, adapters.task, data))
    return data.files


def _fit_limit(config: RunConfig, split: Split, files: Mapping[FileName, ReadFile], adapters: Adapters) -> int:
    """Maximum number of tokens that the student may write: the same as in a run with these settings.

    Raises:
        DatasetError: rows leave no room for an answer.
    """
    if adapters.tokens is None:
        return config.student.max_new_tokens or adapters.task.max_new_tokens
    lengths = check_lengths(
        {str(name): file for name, file in files.items()},
        tokens=adapters.tokens,
        config=config,
        task_limit=adapters.task.max_new_tokens,
        learned=(),
        asked=(split,),
    )
    refuse(lengths.findings)
    return lengths.max_new_tokens
