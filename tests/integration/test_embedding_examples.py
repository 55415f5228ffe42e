"""The programs of examples/embedding as a reader would run them, over HTTP to a teacher on loopback.

Each runs with a toy student in this process, and (slow) with a tiny real one in the worker process.
"""

import asyncio
import importlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_openai import ChatOpenAI

from pada_agent.app import wiring
from pada_agent.app.adapters.compute import backends
from pada_agent.app.results.accepted_rows import AcceptedRow
from pada_agent.core.config_files import load_config
from pada_agent.core.errors import ModelUnavailableError
from pada_agent.core.jobs import Job
from tests import openai_server
from tests.fake_chat_server import Answer, completion, serve
from tests.tiny_world import save_rows, save_world, write_config
from tests.toy_student import save_hollow_model
from tests.toy_world import NearestRowCompute, WordCountEmbedder

EXAMPLES = Path(__file__).parents[2] / "examples" / "embedding"
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class ToyCompute(NearestRowCompute):
    """The toy student in place of the worker."""

    def __init__(self, objects: Path, _log: Path, **_: object) -> None:
        super().__init__(objects)

    def _run(self, job: Job, folder: Path) -> None:
        super()._run(job, folder)
        (folder / "adapter_config.json").write_text("{}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return save_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(params=["toy", pytest.param("tiny", marks=pytest.mark.slow)])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if request.param == "tiny":
        tiny: dict[str, Any] = request.getfixturevalue("world")
        return tiny
    monkeypatch.setattr(backends, "LocalCompute", ToyCompute)
    monkeypatch.setattr(wiring, "SentenceEmbedder", lambda _: WordCountEmbedder())
    model = save_hollow_model(tmp_path / "model")
    return save_rows(tmp_path, student=model, embedder=model)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a program by name."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


@pytest.fixture
def teacher() -> Iterator[str]:
    with openai_server.serving(delay_seconds=0) as server:
        yield server.url


def test_an_app_measures_improves_adopts_and_measures_again(
    settings: dict[str, Any], tmp_path: Path, teacher: str, example: Any
) -> None:
    found = example("subgraph").main(str(write_config(settings, tmp_path, teacher)), "1.0")
    summary = found["summary"]
    best = next(arm for arm in summary.models if arm.name == summary.best_model)
    assert found["adapter"] == str(tmp_path / "r" / "best")
    assert (tmp_path / "r" / "best" / "adapter_config.json").is_file()
    assert found["accuracy"] == pytest.approx(best.validation.accuracy)


def test_an_app_leaves_a_model_alone_that_is_good_enough(
    settings: dict[str, Any], tmp_path: Path, teacher: str, example: Any
) -> None:
    found = example("subgraph").main(str(write_config(settings, tmp_path, teacher)), "0.0")
    assert "summary" not in found and not (tmp_path / "r").exists()


def test_the_chain_runs_sync_and_async_with_callbacks_and_streams_its_nodes(
    settings: dict[str, Any], tmp_path: Path, teacher: str, example: Any
) -> None:
    module = example("chain")
    chain = module.make_chain(load_config(write_config(settings, tmp_path, teacher)))
    counter = module.CallCounter()
    verdict = chain.invoke({}, {"callbacks": [counter]})
    assert "augmentation" in verdict.casefold()
    assert {"error_analysis", "data_generation", "quality_control"} <= counter.calls.keys()
    assert asyncio.run(chain.ainvoke({})) == verdict
    streamed = list(chain.stream({}))
    assert streamed[0] == "prepare\n" and streamed[-1] == verdict
    assert {"fine_tune\n", "generalization_branch\n", "training_error_branch\n", "augment\n"} <= set(streamed)

    async def stream_async() -> list[str]:
        return [text async for text in chain.astream({})]

    assert sorted(asyncio.run(stream_async())) == sorted(streamed)


def test_an_agent_calls_the_tool_and_answers_with_what_it_gave(
    settings: dict[str, Any], tmp_path: Path, teacher: str, example: Any
) -> None:
    module = example("agent_tool")
    tool = module.make_tool(load_config(write_config(settings, tmp_path, teacher)))
    with serve([call_tool("improve_model", iterations=1), completion("It was tried.")]) as model:
        chat = ChatOpenAI(model="fake", base_url=model.url, api_key=lambda: "none", max_retries=0)
        messages = module.build_agent(chat, [tool]).invoke({"messages": [("user", "Fix it.")]})["messages"]
    (told,) = (m for m in messages if isinstance(m, ToolMessage))
    assert str(tmp_path / "r-1" / "best") in told.text and told.artifact.name == "r-1"
    assert messages[-1].text == "It was tried."
    assert model.requests[0]["tools"][0]["function"]["name"] == "improve_model"
    assert model.requests[1]["messages"][-1]["role"] == "tool"


def test_own_verifier_generator_and_judge_take_part(
    settings: dict[str, Any], tmp_path: Path, teacher: str, example: Any
) -> None:
    path = write_config(settings, tmp_path, teacher, generator={"model": "own:writer"}, judge={"model": "own:rules"})
    with openai_server.serving(delay_seconds=0, answer=write_one_short) as writer:
        chat = ChatOpenAI(model="mine", base_url=writer.url, api_key=lambda: "none", max_retries=0)
        summary = example("own_parts").main(str(path), chat)
    assert set(writer.prompts) == {"pattern_guided_generation", "training_error_generation"}
    assert summary.usage["generator"].n_calls == len(writer.prompts)
    assert "judge" not in summary.usage
    assert summary.rows.accepted > 0 and summary.rows.rejected["label"] > 0
    rows = (tmp_path / "r" / "iterations" / "1" / "synthetic.jsonl").read_text().splitlines()
    found = [AcceptedRow.model_validate_json(row) for row in rows]
    assert all(len(row.prompt.split()) >= 3 and row.reason == "rated 8.0: follows the rules" for row in found)


def test_an_own_model_that_nobody_brought_is_asked_for(
    settings: dict[str, Any], tmp_path: Path, teacher: str, example: Any
) -> None:
    config = load_config(write_config(settings, tmp_path, teacher, analyst={"model": "own:writer"}))
    with pytest.raises(ValueError, match=r"models\.analyst\.model is 'own:writer'.*docs/embedding\.md"):
        example("chain").make_chain(config).invoke({})


@pytest.mark.parametrize("kind", ["memory", "sqlite", "postgres"])
def test_the_callers_checkpointer_and_store_keep_thread_and_adapter(
    kind: str, settings: dict[str, Any], tmp_path: Path, teacher: str, example: Any
) -> None:
    module, path = example("persistence"), str(write_config(settings, tmp_path, teacher))
    with open_place(kind, tmp_path) as place:
        found = module.main(path, place, "t")
        assert found["adapter"] == str(tmp_path / "r" / "best")
        if kind != "memory":
            with module.open_persistence(place) as (saver, store):
                state = example("subgraph").build_app().compile(checkpointer=saver).get_state(thread("t"))
                assert state.next == () and state.values["summary"].verdict == found["verdict"]
                assert store.get(("deployed",), "multiple_choice").value == found


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_an_interrupted_thread_goes_on_from_the_callers_database(
    kind: str, settings: dict[str, Any], tmp_path: Path, example: Any
) -> None:
    """The teacher refuses everything at first: what was done before is not done again."""
    module = example("persistence")
    with open_place(kind, tmp_path) as place:
        with openai_server.serving(delay_seconds=0, answer=openai_server.refuse(400)) as refusing:
            with pytest.raises(ModelUnavailableError):
                module.main(str(write_config(settings, tmp_path, refusing.url)), place, "t")
            url = refusing.url
        wiring.close(load_config(tmp_path / "run.yaml"))  # as when the program starts anew
        n_jobs = len(list((tmp_path / "r" / "objects").glob("fine_tune-*")))
        with openai_server.serving(delay_seconds=0, port=int(url.split(":")[2].split("/")[0])):
            found = module.main(str(tmp_path / "run.yaml"), place, "t")
    assert n_jobs == 1 and len(list((tmp_path / "r" / "objects").glob("fine_tune-*"))) == 2
    assert found["adapter"]


def thread(name: str) -> Any:
    return {"configurable": {"thread_id": name}}


def call_tool(name: str, **arguments: Any) -> Answer:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
    body = {"id": "x", "object": "chat.completion", "created": 0, "model": "fake", "choices": [choice]}
    return Answer(json.dumps(body))


def write_one_short(prompt: str) -> str:
    rows = json.loads(openai_server.answer_in_form(prompt))
    rows[0]["question"] = "too short"
    return json.dumps(rows)


@contextmanager
def open_place(kind: str, folder: Path) -> Iterator[str]:
    """Where persistence.py keeps its data."""
    if kind == "postgres":
        with running_postgres() as url:
            yield url
    else:
        yield {"memory": "memory:", "sqlite": f"sqlite:{folder / 'app.sqlite'}"}[kind]


@contextmanager
def running_postgres() -> Iterator[str]:
    """A real server of its own, on a socket in a temporary folder; root lets the user `postgres` run it."""
    pytest.importorskip("langgraph.checkpoint.postgres", reason="langgraph-checkpoint-postgres is not installed")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")) or [Path(shutil.which("pg_ctl") or "none")]
    if not found[-1].is_file():
        pytest.skip("PostgreSQL is not installed (no pg_ctl)")
    owner = "postgres" if os.geteuid() == 0 else None

    def run(program: str, *arguments: str) -> None:
        command = [str(found[-1].with_name(program)), *arguments]
        subprocess.run(command, check=True, user=owner, cwd="/", stdout=subprocess.DEVNULL, timeout=120)

    with tempfile.TemporaryDirectory(prefix="pada-pg-", dir="/tmp") as folder:
        if owner:
            shutil.chown(folder, owner)
        run("initdb", "--pgdata", f"{folder}/data", "--username", "pada", "--auth", "trust", "--no-sync")
        options = f"-c listen_addresses= -c fsync=off -k {folder}"
        run("pg_ctl", "start", "--wait", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", options)
        try:
            yield f"postgresql://pada@/postgres?host={folder}"
        finally:
            run("pg_ctl", "stop", "--wait", "-D", f"{folder}/data", "-m", "immediate")
