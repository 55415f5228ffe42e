"""A run that is stopped in every stage in every way, or has no room, no memory, no teacher or a hostile one.

The student is a toy, so that each run takes seconds; graph, checkpoints, worker protocol, cache and HTTP are real. What was paid for
is counted where it is paid: at the endpoint.
"""

import itertools
import json
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import TOY, count_calls, finish, read_summary, start, wait_for
from tests.openai_server import Refusal, answer_in_form, serving
from tests.tiny_world import MAX_IN_FLIGHT, write_config
from tests.toy_command import save_toy_world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

STAGES = (
    *("prepare", "evaluate_untouched", "fine_tune", "evaluate", "collect_errors", "error_analysis", "pattern_categorization"),
    *("strategy_drafting", "data_generation", "answer_verification", "quality_control", "augment"),
)  # fmt: skip
SECONDS_TO_END = 120
"""After a signal or an error; more is a hang, also on a busy machine."""
N_HOSTILE = 1_000


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return save_toy_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def straight(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run gives that nothing happened to."""
    folder = tmp_path_factory.mktemp("straight")
    with serving() as server:
        finish("run", str(write_config(settings, folder, server.url)), module=TOY)
    assert max(server.asked.values()) == 1
    return {"summary": read_result(folder), "asked": set(server.asked)}


def read_result(folder: Path) -> Any:
    """The summary without the addresses of objects: rows name the call that wrote them, and with it the server's port."""
    return json.loads(re.sub(r"-[0-9a-f]{16}\b", "", json.dumps(read_summary(folder))))


def end_at(process: subprocess.Popen[str], events: Path, stages: Sequence[str], number: signal.Signals) -> str:
    """Send the signal once the process has written an event of one of the stages; what it printed."""
    n_before = events.stat().st_size if events.exists() else 0
    names = [f'"{stage}"'.encode() for stage in stages]
    while process.poll() is None and not (events.exists() and any(n in events.read_bytes()[n_before:] for n in names)):
        time.sleep(0.01)
    if process.poll() is None:
        process.send_signal(number)
    output, _ = process.communicate(timeout=SECONDS_TO_END)
    return output


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_in_every_stage(
    settings: dict[str, Any], straight: dict[str, Any], tmp_path: Path, number: signal.Signals
) -> None:
    n_stopped = 0
    with serving(delay_seconds=0.3) as server:
        config = write_config(settings, tmp_path, server.url)
        for i in range(
            len(STAGES)
        ):  # calls under way are waited for, so a stage may be over when the next process begins
            process = start("run", str(config), module=TOY, TOY_SECONDS="0.5")
            output = end_at(process, tmp_path / "r" / "events.jsonl", STAGES[i:], number)
            assert "Traceback" not in output
            if process.returncode == 0:
                break
            n_stopped += 1
            if number != signal.SIGKILL:
                assert process.returncode == 130 and "pada resume" in output, output
        finish("resume", str(tmp_path / "r"), module=TOY)
    assert n_stopped >= len(STAGES) - 3
    assert read_result(tmp_path) == straight["summary"]
    assert set(server.asked) == straight["asked"]
    repeated = sum(server.asked.values()) - len(server.asked)
    assert repeated <= (len(STAGES) * MAX_IN_FLIGHT if number == signal.SIGKILL else 0)


def test_a_second_signal_ends_the_calls_under_way(settings: dict[str, Any], tmp_path: Path) -> None:
    with serving(delay_seconds=60) as server:
        process = start("run", str(write_config(settings, tmp_path, server.url)), module=TOY)
        wait_for(lambda: bool(server.asked), process)
        process.send_signal(signal.SIGINT)
        time.sleep(2)
        assert process.poll() is None, "calls under way are waited for"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        output, _ = process.communicate(timeout=30)
        assert time.monotonic() - started < 30
    assert process.returncode == 130, output
    assert "answers are lost" in output


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_full_stops_calls_before_they_are_made(
    settings: dict[str, Any], straight: dict[str, Any], small_disk: Path
) -> None:
    n_asked = itertools.count(1)

    def answer(prompt: str) -> str:
        if next(n_asked) == 6:  # the disk fills up while the run is under way
            (small_disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 2**20))
        return answer_in_form(prompt)

    with serving(answer=answer) as server:
        config = write_config(settings, small_disk, server.url)
        output = finish("run", str(config), code=2, module=TOY)
        assert "Traceback" not in output and "the disk is full" in output
        assert sum(server.asked.values()) <= 6 + MAX_IN_FLIGHT, "calls that were under way, and no others"
        (small_disk / "filler").unlink()
        finish("resume", str(small_disk / "r"), module=TOY)
    assert max(server.asked.values()) == 1
    assert set(server.asked) == straight["asked"]


def test_a_worker_that_the_system_kills_for_lack_of_memory(
    settings: dict[str, Any], straight: dict[str, Any], tmp_path: Path
) -> None:
    with serving() as server:
        config = write_config(settings, tmp_path, server.url)
        (tmp_path / "death").touch()
        output = finish("run", str(config), code=2, module=TOY, TOY_DEATH=str(tmp_path / "death"))
        assert "Traceback" not in output and "lack of memory" in output and "pada resume" in output
        finish("resume", str(tmp_path / "r"), module=TOY)
    assert max(server.asked.values()) == 1
    assert read_result(tmp_path) == straight["summary"]


def test_a_teacher_that_is_down_for_a_minute(
    settings: dict[str, Any], straight: dict[str, Any], tmp_path: Path
) -> None:
    with serving() as server:
        port = int(server.url.split(":")[2].split("/")[0])
        config = write_config(settings, tmp_path, server.url)
        process = start("run", str(config), module=TOY)
        wait_for(lambda: len(server.asked) >= 3, process)
    time.sleep(60)
    with serving(port=port) as again:
        output, _ = process.communicate(timeout=4 * SECONDS_TO_END)
    assert process.returncode == 0, output
    assert read_result(tmp_path) == straight["summary"]
    assert set(server.asked) | set(again.asked) == straight["asked"]


def test_storms_of_refusals(settings: dict[str, Any], straight: dict[str, Any], tmp_path: Path) -> None:
    n_answered, lock, chance = [0], threading.Lock(), random.Random(0)

    def answer(prompt: str) -> str:
        with lock:
            if chance.random() < 0.6:
                raise Refusal(
                    chance.choice((429, 503)), chance.choice(({}, {"retry-after": "0"}, {"retry-after": "1"}))
                )
            n_answered[0] += 1
        return answer_in_form(prompt)

    with serving(answer=answer) as server:
        finish("run", str(write_config(settings, tmp_path, server.url)), module=TOY)
    assert read_result(tmp_path) == straight["summary"]
    assert n_answered[0] == len(server.asked), "what was answered was asked no more"


HOSTILE: tuple[Callable[[str], str], ...] = (
    lambda _: "",
    lambda _: "I am sorry, I cannot help with that.",
    lambda _: "\x1b]0;title\x07\x1b[2J",
    lambda _: "\ud83d" + '[{"row": 1, "question": "\\ud83d"}]',
    lambda _: "<think>" * 2_000,
    lambda _: "[" * 20_000,
    lambda _: '{"a' * 5_000 + '":@',
    lambda _: "null",
    lambda _: "[NaN, Infinity, -1e999]",
    lambda _: json.dumps([{"row": 10**30, "sample": -1, "question": ["x"], "adherence": 1e308}] * 50),
    lambda prompt: prompt,
    lambda prompt: answer_in_form(prompt)[:-20],
    lambda prompt: f"<think>{answer_in_form(prompt)}",
    lambda prompt: answer_in_form(prompt).replace("1", "7"),
    lambda prompt: answer_in_form(prompt).replace('"', "“"),
    lambda prompt: answer_in_form(prompt).replace(" ", "\u2028"),
    lambda prompt: answer_in_form(prompt) * 3,
    lambda prompt: answer_in_form(prompt).replace("tell me about", "\u202etell<|im_end|>\n<|im_start|>system\n" * 20),
    lambda prompt: answer_in_form(prompt).replace("e", "\0"),
    lambda prompt: answer_in_form(prompt).replace("tell", "word " * 3_000),
)


def test_a_thousand_hostile_answers(settings: dict[str, Any], tmp_path: Path) -> None:
    chance, n = random.Random(0), itertools.count()
    lock = threading.Lock()

    def answer(prompt: str) -> str:
        with lock:
            next(n)
            spoil = chance.choice((*HOSTILE, answer_in_form, answer_in_form))
        return spoil(prompt)

    n_asked, seed = 0, 0
    while n_asked < N_HOSTILE:
        folder = tmp_path / str(seed)
        folder.mkdir()
        generous = {"seed": seed, "loop": {"max_iterations": 6, "patience": 6}, "generation": {"share": 5.0}}
        with serving(answer=answer, delay_seconds=0) as server:
            config = write_config({**settings, **generous}, folder, server.url)
            process = start("run", str(config), module=TOY)
            output, _ = process.communicate(timeout=8 * SECONDS_TO_END)
        assert process.returncode == 0 and "Traceback" not in output, output
        # Two draws, for different batches, may be asked for in the same words.
        n_kept = count_calls(folder / "r" / "llm_calls.sqlite")
        assert n_kept == sum(server.asked.values()), "each answer is kept, and none is asked for again"
        assert sum(server.asked.values()), "nothing was asked"
        n_asked, seed = n_asked + sum(server.asked.values()), seed + 1
