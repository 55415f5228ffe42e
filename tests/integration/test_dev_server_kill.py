"""The dev server, killed for good in every stage and started again: the run ends as an uninterrupted one does.

The server writes its threads to disk every ten seconds. A thread that is lost is replaced by another one with the same
settings: finished objects and LLM answers stand in the run's folder, which no kill touches.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import NotFoundError

from tests.dev_server import DevServer, running_server, start_server
from tests.integration.test_dev_server import GRAPH, INPUT, new_thread, run_to_end, until, write_world
from tests.openai_server import serving
from tests.tiny_world import MAX_IN_FLIGHT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

STAGES = [
    "evaluate_untouched",
    "fine_tune",
    "collect_errors",
    "error_analysis",
    "data_generation",
    "augment",
    "predict",
]
VOLATILE = {"seconds_by_stage", "peak_memory_mb", "usage", "config_hash"}


class Interrupted:
    """One run over many lives of a server."""

    def __init__(self, folder: Path, teacher_url: str, context: dict[str, Any]) -> None:
        self.folder = folder
        self.teacher_url = teacher_url
        self.context = context
        self.thread: str | None = None
        self.n_lost_threads = 0
        self.killed_at: list[str] = []

    def kill_at(self, stage: str) -> None:
        """Start the server, see the run go on, and kill the server once the stage shows."""
        server = start_server(self.folder, self.teacher_url)
        try:
            with get_sync_client(url=server.url) as client, closing(self._follow(client)) as parts:
                if any(stage in json.dumps(part.data) for part in parts):
                    self.killed_at.append(stage)
        except httpx.HTTPError:
            pass  # the stream may end in the middle
        finally:
            server.kill()
        until(lambda: not server.list_workers(), 10)

    def end(self, server: DevServer) -> dict[str, Any]:
        """The summary, once the run has ended."""
        with get_sync_client(url=server.url) as client:
            for _ in self._follow(client):
                pass
            thread = str(self.thread)
            until(lambda: client.threads.get(thread)["status"] != "busy", 120)
            if client.threads.get_state(thread)["next"]:
                run_to_end(client, thread, context=self.context)
            summary: dict[str, Any] = client.threads.get_state(thread)["values"]["summary"]
            return summary

    def _follow(self, client: SyncLangGraphClient) -> Iterator[Any]:
        """The stream of the run that the server took up again by itself, else of a new one on the thread."""
        under_way = [r for r in self._list_runs(client) if r["status"] in ("pending", "running")]
        if under_way:
            return client.runs.join_stream(str(self.thread), under_way[0]["run_id"])
        fresh = self.thread is None
        self.thread = self.thread or new_thread(client)
        started = fresh or not client.threads.get_history(self.thread, limit=1)
        return client.runs.stream(
            self.thread,
            GRAPH,
            input=INPUT if started else None,
            context=self.context,
            stream_mode=["updates", "custom"],
            stream_subgraphs=True,
        )

    def _list_runs(self, client: SyncLangGraphClient) -> list[Any]:
        if self.thread is None:
            return []
        try:
            client.threads.get(self.thread)
        except NotFoundError:
            self.thread = None
            self.n_lost_threads += 1
            return []
        return list(client.runs.list(self.thread))


def list_jobs(folder: Path, name: str) -> set[str]:
    objects = folder / "runs" / name / "objects"
    return {p.name for p in objects.iterdir() if p.name.startswith(("fine_tune", "predict"))}


def test_killed_in_every_stage_the_server_ends_the_run_as_if_it_had_not_been(tmp_path: Path) -> None:
    with serving(delay_seconds=0.05) as teacher:
        make = write_world(tmp_path, teacher.url)
        with running_server(tmp_path / "straight", teacher.url) as server, get_sync_client(url=server.url) as client:
            straight = run_to_end(
                client, new_thread(client), input=INPUT, context=make("r", runs_folder="straight/runs")
            )["summary"]
        asked = set(teacher.asked)
        teacher.asked.clear()
        cut = Interrupted(tmp_path / "cut", teacher.url, make("r", runs_folder="cut/runs"))
        for stage in STAGES:
            cut.kill_at(stage)
        with running_server(tmp_path / "cut", teacher.url) as server:
            summary = cut.end(server)
    print(f"threads lost with the server: {cut.n_lost_threads} of {len(STAGES)} kills")
    assert cut.killed_at == STAGES
    assert {k: v for k, v in summary.items() if k not in VOLATILE} == {
        k: v for k, v in straight.items() if k not in VOLATILE
    }
    assert set(teacher.asked) == asked
    assert sum(teacher.asked.values()) - len(teacher.asked) <= len(STAGES) * MAX_IN_FLIGHT
    assert list_jobs(tmp_path / "cut", "r") == list_jobs(tmp_path / "straight", "r")
