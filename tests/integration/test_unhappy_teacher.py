"""A teacher that is down, rate-limited or talks nonsense: one clear message, and nothing lost."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import finish, read_summary
from tests.openai_server import Refusal, answer_in_form, serving
from tests.tiny_world import save_world, write_config

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return save_world(tmp_path_factory.mktemp("world"))


def refusing_first(n: int, status: int, headers: dict[str, str]) -> Callable[[str], str]:
    """A teacher who refuses `n` requests and then answers."""
    lock, left = threading.Lock(), [n]

    def answer(prompt: str) -> str:
        with lock:
            left[0] -= 1
            refused = left[0] >= 0
        if refused:
            raise Refusal(status, headers)
        return answer_in_form(prompt)

    return answer


@pytest.mark.slow  # the back-off of seven tries
def test_down_then_up_again(settings: dict[str, Any], tmp_path: Path) -> None:
    with serving() as server:
        port = int(server.url.split(":")[2].split("/")[0])
    config = write_config(settings, tmp_path, server.url)
    output = finish("run", str(config), "--set", "models.probe=false", code=2)
    assert "Traceback" not in output
    assert f"127.0.0.1:{port}" in output
    assert "pada resume" in output
    fine_tuned = {p.name: p.stat().st_mtime for p in (tmp_path / "r" / "objects").glob("fine_tune*")}
    assert fine_tuned
    with serving(port=port):
        finish("resume", str(tmp_path / "r"))
    assert read_summary(tmp_path)["rows"]["accepted"]
    assert (
        fine_tuned.items()
        <= {p.name: p.stat().st_mtime for p in (tmp_path / "r" / "objects").glob("fine_tune*")}.items()
    )


@pytest.mark.slow
def test_rate_limited_for_a_while(settings: dict[str, Any], tmp_path: Path) -> None:
    with serving(answer=refusing_first(5, 429, {"retry-after": "0.2"})) as server:
        finish("run", str(write_config(settings, tmp_path, server.url)))
    assert read_summary(tmp_path)["rows"]["accepted"]


@pytest.mark.slow
def test_rate_limited_for_good(settings: dict[str, Any], tmp_path: Path) -> None:
    with serving(answer=refusing_first(10**6, 429, {"retry-after": "0.01"})) as server:
        output = finish("run", str(write_config(settings, tmp_path, server.url)), code=2)
    assert "Traceback" not in output
    assert "models.analyst, models.generator, models.judge: " in output and "429" in output
    assert not (tmp_path / "r").exists(), "nothing was computed: the same command may come again"


def test_nonsense(settings: dict[str, Any], tmp_path: Path) -> None:
    with serving(answer=lambda _: "I am a teapot.") as server:
        output = finish("run", str(write_config(settings, tmp_path, server.url)))
    assert "Traceback" not in output
