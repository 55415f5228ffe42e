"""The real `langgraph dev`, driven as Studio and the SDK drive it: tiny student, teacher over HTTP."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient

from pada_agent.core.progress import Progress
from tests.dev_server import DevServer, running_server
from tests.openai_server import TEMPLATE_PHRASES, CountingServer, serving
from tests.tiny_models import save_embedder, save_student
from tests.toy_world import LABELS, TEST, TRAIN, VALIDATION

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

GRAPH = "pada_agent"
STOP_SECONDS = 5
MakeSettings = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dev_server")


@pytest.fixture(scope="module")
def teacher() -> Iterator[CountingServer]:
    with serving(delay_seconds=0.02) as server:
        yield server


@pytest.fixture(scope="module")
def settings(folder: Path, teacher: CountingServer) -> MakeSettings:
    return write_world(folder, teacher.url)


def write_world(folder: Path, url: str) -> MakeSettings:
    """Models on disk, and settings that use them; the rows go in as input."""
    llm = {"model": "openai:toy", "base_url": url}
    models = {"analyst": llm, "generator": llm, "judge": llm, "embedder": str(save_embedder(folder / "embedder"))}
    student = str(save_student(folder / "student"))

    def make(name: str, **changes: Any) -> dict[str, Any]:
        return {
            "name": name,
            "runs_folder": "server/runs",
            "task": {"labels": LABELS},
            "student": {"model": student},
            "lora": {"rank": 2, "alpha": 2, "epochs": 1},
            "analysis": {"errors_per_call": 2, "max_clusters": 3},
            "generation": {"share": 1.0, "rows_per_call": 2},
            "loop": {"max_iterations": 1},
            "guard": {"leak_similarity": None, "contamination_similarity": None},  # the embedder was never trained
            "models": models,
            "compute": {"device": "cpu", "threads": 1},
            **changes,
        }

    return make


@pytest.fixture(scope="module")
def server(folder: Path, teacher: CountingServer) -> Iterator[DevServer]:
    with running_server(folder / "server", teacher.url) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: DevServer) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=server.url) as connected:
        yield connected


INPUT: dict[str, Any] = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "task": "multiple_choice"}


class Reviewed:
    """A thread with a review of strategies: streamed to the interrupt, answered, and run to its end."""

    def __init__(self, client: SyncLangGraphClient, context: dict[str, Any]) -> None:
        self.thread = new_thread(client)
        self.context = context
        self.asked = self._stream(client, input=INPUT)
        (waiting,) = [t for t in client.threads.get_state(self.thread)["tasks"] if t["interrupts"]]
        self.question = waiting["interrupts"][0]["value"]
        self.answer = [{**self.question["strategies"][0], "strategy_name": "mine"}]
        self.answered = self._stream(
            client, command={"resume": {"strategies": self.answer, "comment": "one is enough"}}
        )

    def _stream(self, client: SyncLangGraphClient, **what: Any) -> list[Any]:
        modes: Any = ["values", "updates", "custom"]
        parts = client.runs.stream(
            self.thread, GRAPH, context=self.context, stream_mode=modes, stream_subgraphs=True, **what
        )
        return list(parts)


@pytest.fixture(scope="module")
def reviewed(client: SyncLangGraphClient, settings: MakeSettings) -> Reviewed:
    return Reviewed(client, settings("reviewed", review={"strategies": True}))


def new_thread(client: SyncLangGraphClient) -> str:
    return str(client.threads.create()["thread_id"])


def run_to_end(client: SyncLangGraphClient, thread: str, **what: Any) -> dict[str, Any]:
    result: Any = client.runs.wait(thread, GRAPH, **what)
    assert "__error__" not in result, result
    return dict(result)


def data_of(parts: list[Any], event: str) -> list[Any]:
    return [part.data for part in parts if part.event.partition("|")[0] == event]


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return found


def test_the_server_shows_schemas_of_input_output_state_and_context(client: SyncLangGraphClient) -> None:
    (assistant,) = client.assistants.search()
    schemas: Any = client.assistants.get_schemas(assistant["assistant_id"])
    assert set(schemas["input_schema"]["properties"]) == {"train", "validation", "test", "task", "model"}
    assert next(iter(schemas["output_schema"]["properties"])) == "summary"
    assert {"models", "patterns", "strategies", "batches", "reviews"} <= set(schemas["state_schema"]["properties"])
    context = schemas["context_schema"]
    assert {"models", "generation", "quality", "loop", "prompts"} <= set(context["properties"])
    (prompts,) = [d for name, d in context["$defs"].items() if "Prompts" in name]
    field = prompts["properties"]["quality_control"]
    assert field["langgraph_nodes"] == ["quality_control"]
    assert field["langgraph_type"] == "prompt"
    assert "You rate training examples" in field["default"]


def test_the_drawing_has_the_paper_s_agents(client: SyncLangGraphClient) -> None:
    (assistant,) = client.assistants.search()
    drawing: Any = client.assistants.get_graph(assistant["assistant_id"], xray=True)
    names = {str(node["id"]).rpartition(":")[2] for node in drawing["nodes"]}
    agents = {"error_analysis", "pattern_categorization", "strategy_drafting", "data_generation", "quality_control"}
    assert agents | {"label_verification", "fine_tune", "evaluate", "augment"} <= names


def test_a_run_waits_for_its_review_with_a_schema_for_the_answer(reviewed: Reviewed) -> None:
    assert reviewed.question["review"] == "strategies"
    assert len(reviewed.question["strategies"]) > 1
    form = reviewed.question["answer_schema"]["anyOf"][1]
    assert {"strategies", "comment"} == set(form["properties"])
    assert not [v for v in data_of(reviewed.asked, "values") if v.get("summary")]


def test_the_answered_run_ends_with_the_person_s_strategies_and_keeps_the_decision(
    reviewed: Reviewed, server: DevServer
) -> None:
    summary = data_of(reviewed.answered, "values")[-1]["summary"]
    pairs = summary["patterns"][0]["patterns"]
    assert [p["strategy"]["strategy_name"] for p in pairs if p["strategy"]] == ["mine"]
    run = server.folder / "runs" / "reviewed"
    (kept,) = [json.loads(line) for line in (run / "reviews.jsonl").read_text().splitlines()]
    assert (kept["review"], kept["iteration"], kept["answer"]["comment"]) == ("strategies", 1, "one is enough")
    assert json.loads((run / "summary.json").read_text())["verdict"] == summary["verdict"]


def test_values_and_updates_show_the_state_as_it_grows_subgraphs_included(
    reviewed: Reviewed, server: DevServer
) -> None:
    parts = [*reviewed.asked, *reviewed.answered]
    outer = [part.data for part in parts if part.event == "updates"]
    assert outer[0] == {
        "prepare": {
            "iteration": 0,
            "models": {"untouched": outer[0]["prepare"]["models"]["untouched"]},
            "warnings": outer[0]["prepare"]["warnings"],
        }
    }
    assert [name for update in outer for name in update if name == "fine_tune"] == ["fine_tune"] * 2
    inner = {name for part in parts if part.event.startswith("updates|") for name in part.data}
    assert {"error_analysis", "strategy_drafting", "leak_guard", "quality_control", "record_batch"} <= inner
    last = data_of(reviewed.answered, "values")[-1]
    assert {"fine-tuned", "iteration 1"} <= set(last["models"])
    assert set(last["batches"]) == {"i1-pattern", "i1-training_error"}
    for made in last["batches"].values():
        assert sum(counts["n_accepted"] for counts in made["by_strategy"].values()) == made["n_accepted"] > 0
        assert all(batch["decision"] and batch["samples"] for batch in made["latest"])
        reports = (server.folder / "runs" / "reviewed" / made["path"]).read_text().splitlines()
        assert len(reports) == made["n_batches"]


def test_custom_events_are_progress_with_rates_counts_and_cost(reviewed: Reviewed) -> None:
    events = [Progress.model_validate(d) for d in data_of([*reviewed.asked, *reviewed.answered], "custom")]
    assert {"predict", "fine_tune", "error_analysis", "strategy_drafting", "quality_control", "finish"} <= {
        e.stage for e in events
    }
    step = next(e for e in events if e.stage == "fine_tune")
    assert step.unit == "steps" and step.rate and step.seconds_left is not None
    rated = next(e for e in events if e.stage == "quality_control")
    assert rated.counts["accepted"] <= rated.counts["requested"] and rated.cost_usd == 0


def test_history_holds_a_checkpoint_before_every_node(client: SyncLangGraphClient, reviewed: Reviewed) -> None:
    history = client.threads.get_history(reviewed.thread, limit=100)
    nodes = [node for state in reversed(history) for node in state["next"]]
    assert nodes[:5] == ["__start__", "prepare", "evaluate_untouched", "review_cost", "fine_tune"]
    assert nodes[-1] == "finish" and {"generalization_branch", "training_error_branch"} <= set(nodes)
    assert max(len(json.dumps(state["values"])) for state in history) < 100_000


def test_a_fork_with_an_edited_strategy_runs_only_what_depends_on_it(
    client: SyncLangGraphClient, reviewed: Reviewed, teacher: CountingServer, server: DevServer
) -> None:
    objects = server.folder / "runs" / "reviewed" / "objects"
    history = client.threads.get_history(reviewed.thread, limit=100)
    before = next(state for state in history if "generalization_branch" in state["next"])
    jobs = {p.name for p in objects.iterdir() if p.name.startswith("fine_tune")}
    edited = {**reviewed.answer[0], "generation_approach": "Write about lighthouses."}
    fork = client.threads.update_state(
        reviewed.thread,
        {"strategies": {"1": [{"strategy": edited}]}},
        as_node="collect_errors",
        checkpoint=before["checkpoint"],
    )
    asked = Counter(teacher.asked)
    teacher.prompts.clear()
    result = run_to_end(client, reviewed.thread, context=reviewed.context, checkpoint=fork["checkpoint"])
    assert result["strategies"]["1"][0]["strategy"]["generation_approach"] == "Write about lighthouses."
    # Rows are solved without their strategy: those prompts depend on the edit by the rows alone.
    assert set(teacher.prompts) - {"answer_solving"} == {"pattern_guided_generation", "quality_control"}
    new = [b for b in (teacher.asked - asked) if "lighthouses" not in b and TEMPLATE_PHRASES["answer_solving"] not in b]
    assert not new, "a prompt without the edited strategy was paid for again"
    assert len({p.name for p in objects.iterdir() if p.name.startswith("fine_tune")} - jobs) == 1


@pytest.mark.slow
def test_a_cancel_during_fine_tuning_ends_the_worker_and_the_thread_goes_on_later(
    client: SyncLangGraphClient, settings: MakeSettings, server: DevServer
) -> None:
    thread = new_thread(client)
    lora = {"rank": 2, "alpha": 2, "n_steps": 150}
    context = settings("cancelled", loop={"max_iterations": 0}, lora=lora)
    run_id = client.runs.create(thread, GRAPH, input=INPUT, context=context, stream_mode="custom")["run_id"]
    with closing(client.runs.join_stream(thread, run_id, stream_mode="custom")) as events:
        next(e for e in events if e.event == "custom" and e.data["stage"] == "fine_tune")
    assert server.list_workers()
    client.runs.cancel(thread, run_id)
    until(lambda: not server.list_workers(), STOP_SECONDS)
    until(lambda: client.threads.get(thread)["status"] != "busy")
    assert client.threads.get_state(thread)["next"] == ["fine_tune"]
    summary = run_to_end(client, thread, context=context)["summary"]
    assert [arm["name"] for arm in summary["models"]] == ["untouched", "fine-tuned"]


@pytest.mark.slow
def test_two_runs_at_once(client: SyncLangGraphClient, settings: MakeSettings, server: DevServer) -> None:
    contexts = [settings(name, loop={"max_iterations": 0}, seed=n) for n, name in enumerate(("left", "right"))]
    threads = [new_thread(client) for _ in contexts]
    runs = [
        client.runs.create(thread, GRAPH, input=INPUT, context=context)
        for thread, context in zip(threads, contexts, strict=True)
    ]
    until(lambda: len(server.list_workers()) == 2)
    for thread, run in zip(threads, runs, strict=True):
        client.runs.join(thread, run["run_id"])
    names = [client.threads.get_state(thread)["values"]["summary"]["name"] for thread in threads]
    assert names == ["left", "right"]
    until(lambda: not server.list_workers(), STOP_SECONDS)


@pytest.mark.usefixtures("reviewed")
def test_a_run_folder_belongs_to_its_thread_and_no_other_folder_is_touched(
    client: SyncLangGraphClient, settings: MakeSettings, folder: Path
) -> None:
    runs = folder / "server" / "runs"
    published = (runs / "reviewed" / "summary.json").read_bytes()
    (runs / "models" / "best").mkdir(parents=True)
    (runs / "models" / "best" / "weights").touch()
    for name, reason in (("reviewed", "another thread's run"), ("models", "exists and is not a run folder")):
        result: Any = client.runs.wait(
            new_thread(client), GRAPH, input=INPUT, context=settings(name, seed=9), raise_error=False
        )
        assert reason in json.dumps(result)
    assert (runs / "reviewed" / "summary.json").read_bytes() == published
    assert (runs / "models" / "best" / "weights").exists()


def test_a_misspelled_group_of_settings_is_refused_and_not_left_out(
    client: SyncLangGraphClient, settings: MakeSettings, server: DevServer
) -> None:
    context = settings("misspelled", budjet={"max_calls": 1})
    result: Any = client.runs.wait(new_thread(client), GRAPH, input=INPUT, context=context, raise_error=False)
    assert "context: budjet: there is no such setting. Did you mean 'budget'?" in json.dumps(result)
    assert not (server.folder / "runs" / "misspelled").exists()
