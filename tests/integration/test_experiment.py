"""A whole experiment over the toy rows: tiny student, real worker, a teacher behind HTTP."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pada_agent.app import wiring
from pada_agent.app.adapters.compute import local_compute
from pada_agent.app.experiment import beforehand, running
from pada_agent.app.experiment.compare_runs import check_same_rows, compare_runs, describe_runs
from pada_agent.app.experiment.grid import Grid, Part, TaskEntry, load_grid
from pada_agent.app.experiment.methods import METHODS
from pada_agent.app.experiment.results import ExperimentResult
from pada_agent.app.experiment.running import run_experiment
from pada_agent.app.results.publish import publish_run
from pada_agent.app.run_folder import layout
from pada_agent.app.runs import driver
from pada_agent.core.config import RunConfig
from pada_agent.core.errors import ArtifactError, ConfigError
from pada_agent.core.jobs import FineTuneJob
from pada_agent.core.records import ScoredRow
from pada_agent.graph.adapters import Adapters
from tests.command_line import count_calls
from tests.fakes import MemoryDatasets
from tests.openai_server import CountingServer, serving
from tests.tiny_world import HELD_BACK, save_world, write_grid
from tests.toy_world import TEST, TRAIN, VALIDATION, ToyWorld, make_settings

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

WHOLE = Part()
ARMS = ["untouched", "vanilla", "vanilla_equal_steps", "oracle", "auggpt", "pada", "pada_no_quality"]


class Watched:
    """An experiment, and what it did: runs started, workers spawned, words said."""

    def __init__(self, folder: Path, server: CountingServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.server = folder, server
        self.grid = write_grid(save_world(folder), folder, server.url, arms=ARMS)
        self.started: list[str] = []
        self.n_workers = 0
        self.said: list[str] = []
        start_run, popen = driver.start_run, local_compute.subprocess.Popen

        def start(config: Any, **options: Any) -> Any:
            self.started.append(config.name)
            return start_run(config, **options)

        def spawn(*arguments: Any, **options: Any) -> Any:
            self.n_workers += tuple(arguments[0]) == local_compute.WORKER
            return popen(*arguments, **options)

        monkeypatch.setattr(driver, "start_run", start)
        monkeypatch.setattr(local_compute.subprocess, "Popen", spawn)

    def run(self, part: Part = WHOLE, *, headroom_only: bool = False) -> ExperimentResult:
        return run_experiment(
            load_grid(self.grid),
            part,
            command="pada experiment",
            headroom_only=headroom_only,
            on_event=lambda _: None,
            say=self.said.append,
        )


def test_an_experiment_shares_what_is_shared_resumes_and_writes_its_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(delay_seconds=0) as server:
        watched = Watched(tmp_path, server, monkeypatch)
        headroom = watched.run(headroom_only=True)
        assert not server.asked, "the oracle asks no LLM"
        assert [o.arm for o in headroom.outcomes] == ["untouched", "vanilla", "oracle"]
        assert any("no headroom shown" in text for text in watched.said)
        measured = list(watched.started)
        result = watched.run()
        assert measured and all(name.endswith("-headroom") for name in measured), "they read no test row"
        assert len(watched.started) == len(set(watched.started)) == 10 + len(measured)
        assert watched.n_workers == 2, "one worker serves all runs of a call"
        n_started = len(watched.started)
        again = watched.run()
        assert again == result and len(watched.started) == n_started
        n_paid = sum(
            count_calls(path) for path in tmp_path.glob("runs/grid/*/llm_calls.sqlite") if "shared" not in str(path)
        )
        assert count_calls(tmp_path / "runs/grid/shared/llm_calls.sqlite") == n_paid == sum(server.asked.values())
        assert Counter(server.prompts)["strategy_drafting"] <= 2, (
            "two arms and two seeds: one arm's is found by the next"
        )
    assert {o.n_steps for o in result.outcomes if o.arm != "untouched"} == {(2, 2)}
    assert {o.arm: o for o in result.outcomes}["pada_no_quality"].usage.n_cached > 0
    check_jobs(tmp_path / "runs" / "grid", n_seeds=2)


def test_over_the_toy_world_every_arm_has_its_row_and_runs_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = {"train": TRAIN, "validation": VALIDATION, "test": TEST, "held": HELD_BACK}
    world = ToyWorld(tmp_path / "runs" / "grid" / "shared", memory=memory)

    def connect(config: RunConfig) -> Adapters:
        folder = Path(config.runs_folder) / config.name
        wiring.link_objects(folder, config.shared_folder)
        return replace(world.connect(config), publish=lambda summary, store: publish_run(summary, folder, store))

    monkeypatch.setattr(wiring, "connect", connect)
    monkeypatch.setattr(running, "FileDatasets", lambda: MemoryDatasets(memory))
    monkeypatch.setattr(beforehand, "find_missing", lambda _: [])
    settings = make_settings(loop={"max_iterations": 1}, data={"held_back": "memory:held"}, lora={"n_steps": 2})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    grid = Grid(
        name="grid",
        runs_folder=str(tmp_path / "runs"),
        tasks={"toy": TaskEntry(config=str(tmp_path / "run.yaml"))},
        sizes=(6, 9),
        arms=tuple(name for name in METHODS if not name.endswith("_native")),
        seeds=(0,),
    )

    def run(part: Part = WHOLE, *, headroom_only: bool = False, **changes: Any) -> ExperimentResult:
        return run_experiment(
            grid.model_copy(update=changes),
            part,
            command="",
            headroom_only=headroom_only,
            on_event=lambda _: None,
            say=lambda _: None,
        )

    assert [o.arm for o in run(headroom_only=True).outcomes] == ["untouched", "vanilla", "oracle"] * 2
    table = tmp_path / "runs" / "grid" / "results.md"
    assert (table.parent / "headroom.csv").read_text().count("oracle") == 2 and not table.exists()
    part = run(Part(arms=("pada", "vanilla"), seeds=(1,)), seeds=(0, 1))
    assert [(o.arm, o.size, o.seeds) for o in part.outcomes] == [
        (arm, size, (1,)) for size in (6, 9) for arm in ("vanilla", "pada")
    ]
    assert not table.exists(), "a part of the grid is not its table"
    assert part.notes[-1].startswith("A part of the grid")
    with pytest.raises(ConfigError, match="the grid has no seed 7"):
        run(Part(seeds=(7,)))
    with pytest.raises(ConfigError, match="nothing to run"):
        run(Part(arms=("pada",)), headroom_only=True)
    with pytest.raises(ArtifactError, match=r"run\.yaml/runs"):
        run(runs_folder=str(tmp_path / "run.yaml" / "runs"))
    few = run(arms=("vanilla", "oracle", "pada"))
    assert [(o.size, o.arm) for o in few.outcomes] == [
        (size, arm) for size in (6, 9) for arm in ("vanilla", "oracle", "pada")
    ]
    assert len([o for o in few.outcomes if o.p_holm is not None]) == 2
    result = run(sizes=(9,))
    check_could_show(run(sizes=(9,), arms=("vanilla", "oracle", "pada")), result)
    n_jobs = len(world.compute.ran)
    assert run(sizes=(9,)) == result and len(world.compute.ran) == n_jobs
    plain = {job.rows_hash for job in world.compute.ran if isinstance(job, FineTuneJob) and job.seed == 0}
    assert len([j for j in world.compute.ran if isinstance(j, FineTuneJob) and j.seed == 0]) == len(plain)
    check_tables(result, tmp_path / "runs" / "grid")
    several = run(sizes=(9,), arms=("vanilla", "oracle", "auggpt", "pada"), seeds=(0, 1, 2))
    check_seeds(several)
    runs = [tmp_path / "runs" / "grid" / f"toy-9-{arm}-s0" for arm in ("auggpt", "pada")]
    told = describe_runs(compare_runs(runs))
    assert "toy-9-pada-s0" in told and "paired test p" in told
    refuse_other_rows(runs)


def check_could_show(few: ExperimentResult, many: ExperimentResult) -> None:
    """The more methods are compared, the larger a difference has to be; the oracle is not one of them."""
    alone, among = ({o.arm: o.test.smallest_shown for o in of.outcomes if o.test} for of in (few, many))
    assert among["pada"] > alone["pada"] and among["oracle"] == alone["oracle"]


def check_tables(result: ExperimentResult, folder: Path) -> None:
    by_arm = {o.arm: o for o in result.outcomes}
    assert by_arm["vanilla"].also == ("vanilla_equal_steps",) and by_arm["vanilla"].test is None
    compared = [o for o in result.outcomes if o.p_holm is not None]
    assert len(compared) == 11 and {o.test.speaks_of for o in compared if o.test} == {"adapters"}
    for name in ("results.md", "results.csv", "results.tex"):
        text = (folder / name).read_text().replace("\\_", "_")
        assert text.count("toy") >= 11 and "vanilla = vanilla_equal_steps" in text
    assert ExperimentResult.model_validate_json((folder / "results.json").read_text()) == result


def check_seeds(result: ExperimentResult) -> None:
    vanilla, oracle, *compared = result.outcomes
    assert (vanilla.arm, vanilla.seeds, vanilla.test) == ("vanilla", (0, 1, 2), None)
    assert oracle.n_synthetic == oracle.n_joined == oracle.n_requested == (9, 9, 9) and oracle.p_holm is None
    assert [(o.arm, o.test.speaks_of) for o in compared if o.test and o.p_holm is not None] == [
        ("auggpt", "methods"),
        ("pada", "methods"),
    ]


def check_jobs(folder: Path, *, n_seeds: int) -> None:
    """Plain fine-tuning and the untouched student's answers are there once a seed, whatever the number of arms."""
    objects = folder / "shared" / "objects"
    kinds = Counter(path.name.split("-")[0] for path in objects.iterdir())
    assert kinds["fine_tune"] <= n_seeds * 6
    assert not [path for path in folder.glob("*/objects") if path.parent.name != "shared" and not path.is_symlink()]
    plain = {json.loads(p.read_text())["models"][1]["adapter"] for p in folder.glob("*/summary.json")}
    assert len(plain) == n_seeds


def refuse_other_rows(runs: list[Path]) -> None:
    best = json.loads((runs[1] / "summary.json").read_text())["best_model"]
    path = runs[1] / "iterations" / ("0" if best == "fine-tuned" else best.split()[-1]) / "predictions" / "test.jsonl"
    path.write_text(path.read_text().replace("walnuts", "chestnuts"))
    with pytest.raises(ConfigError, match="test row 4 differs"):
        compare_runs(runs)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    with pytest.raises(ArtifactError, match=r"test\.jsonl: contains 2 of 4 rows"):
        compare_runs(runs)
    ours = layout.read_lines(path, ScoredRow)
    with pytest.raises(ConfigError, match="2 and 1 test rows"):
        check_same_rows(runs[0], ours, runs[1], ours[:1])
