"""`pada report` of runs that were cut off at different moments, over the toy world."""

from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver
from typer.testing import CliRunner

from pada_agent.app.adapters.llm.response_cache import ResponseCache
from pada_agent.app.cli import app
from pada_agent.app.report.unfinished import summarize_unfinished
from pada_agent.app.run_folder.checkpoints import make_serializer
from pada_agent.app.run_folder.layout import dump_config
from pada_agent.core.chat import ChatReply, ChatRequest
from pada_agent.core.records import Usage
from pada_agent.graph.builder import build_graph
from tests.fakes import ScriptedModel
from tests.toy_world import ToyWorld, make_settings, teach

THREAD: Any = {"configurable": {"thread_id": "run"}}
SETTINGS = {"loop": {"max_iterations": 1}, "quality": {"max_regenerations": 0}, "generation": {"max_top_ups": 1}}


def cut_off(folder: Path, before: str, *, n_times: int = 1) -> None:
    """Run until that node is about to begin for the n-th time, with a judge that rejects the rows of one batch."""
    judge = ScriptedModel(lambda request: teach(request, score=3 if "e-b1" in request.draw else 8))
    world = ToyWorld(folder, judge=judge)
    settings = make_settings(runs_folder=str(folder.parent), **SETTINGS)
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(dump_config(settings))
    with SqliteSaver.from_conn_string(str(folder / "checkpoints.sqlite")) as saver:
        saver.serde = make_serializer()
        graph = build_graph(world.connect).compile(checkpointer=saver, interrupt_before=[before])
        for values in ({}, *[None] * (n_times - 1)):
            graph.invoke(values, THREAD, context=settings)


def report(folder: Path) -> tuple[str, str]:
    """What the command prints, and the page that it writes."""
    result = CliRunner().invoke(app, ["report", str(folder)])
    assert result.exit_code == 0, result.output
    return result.stdout, (folder / "report.html").read_text()


def pay(folder: Path) -> None:
    """Leave a paid call in the run's record."""
    cache = ResponseCache(folder / "llm_calls.sqlite")
    reply = ChatReply(text="", usage=Usage(n_calls=1, input_tokens=1200, output_tokens=34), key="k")
    request = ChatRequest(messages=(), tags={"agent": "error_analysis"})
    cache.put(reply, request, model="m", role="analyst", started=0, seconds=1)
    cache.close()


@pytest.mark.parametrize("n_times", [1, 2], ids=["first batches", "batches that replace rejected rows"])
def test_rows_that_are_not_joined_yet_are_neither_rejected_nor_zero(tmp_path: Path, n_times: int) -> None:
    cut_off(tmp_path / "toy", "augment", n_times=n_times)
    for text in report(tmp_path / "toy"):
        assert "Synthetic rows: not counted yet." in text and "duplicate" not in text.partition("All rows")[0]
        assert "no synthetic row" not in text
    assert summarize_unfinished(tmp_path / "toy").batches


def test_rows_that_are_joined_are_counted_as_at_the_end(tmp_path: Path) -> None:
    cut_off(tmp_path / "toy", "fine_tune", n_times=2)
    so_far = summarize_unfinished(tmp_path / "toy").rows
    assert f"{so_far.accepted} joined the training data" in report(tmp_path / "toy")[0]
    graph = build_graph((world := ToyWorld(tmp_path / "whole")).connect).compile()
    world.judge = ScriptedModel(lambda request: teach(request, score=3 if "e-b1" in request.draw else 8))
    whole = graph.invoke({}, context=make_settings(**SETTINGS))["summary"].rows
    assert so_far.rejected["quality"] and so_far.model_copy(update={"each": whole.each}) == whole


def test_calls_that_were_paid_for_are_told_in_every_form(tmp_path: Path) -> None:
    cut_off(tmp_path / "toy", "augment")
    assert not any("LLM: not used" in text for text in report(tmp_path / "toy"))
    pay(tmp_path / "toy")
    text, page = report(tmp_path / "toy")
    assert "analyst: 1 calls, 1,200 tokens in, 34 out" in text
    assert "<td>analyst</td><td>1</td>" in page


def test_a_record_of_calls_that_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    cut_off(tmp_path / "toy", "augment")
    (tmp_path / "toy" / "llm_calls.sqlite").write_bytes(b"garbage" * 200)
    text, _ = report(tmp_path / "toy")
    assert "llm_calls.sqlite: the record of LLM calls cannot be read" in text and "not used" not in text
