"""A run folder that came from elsewhere sends no key to an address without being asked."""

from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.run_folder import key_addresses, layout
from pada_agent.app.run_folder.key_addresses import KeyUse, find_key_uses, find_unknown, remember
from pada_agent.app.runs import driver
from pada_agent.core.config import ModelConfig, RunConfig
from pada_agent.core.errors import ConfigError, PadaError

EVIL = "https://evil.example/v1"


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "tok-secret")


def make(folder: Path, **judge: Any) -> RunConfig:
    """A run whose judge is this one; the others send nothing."""
    quiet = ModelConfig(model="openai:x", base_url="http://127.0.0.1:9/v1")
    models = {"analyst": quiet, "generator": quiet, "judge": ModelConfig(**{"model": "openai:x", **judge})}
    return RunConfig.model_validate({"name": "demo", "runs_folder": str(folder), "models": models})


@pytest.mark.parametrize(
    ("judge", "sent"),
    [
        ({"base_url": EVIL}, ["OPENAI_API_KEY"]),
        ({"base_url": EVIL, "api_key_env": "GITHUB_TOKEN"}, ["GITHUB_TOKEN"]),
        ({"base_url": EVIL, "api_key_env": "NOT_SET"}, []),
        ({"base_url": EVIL, "header_envs": {"X": "GITHUB_TOKEN"}}, ["GITHUB_TOKEN", "OPENAI_API_KEY"]),
        ({"base_url": "http://127.0.0.1:8000/v1", "api_key_env": "GITHUB_TOKEN"}, []),
        ({"base_url": "http://127.0.0.1.evil.example/v1"}, ["OPENAI_API_KEY"]),
        ({}, []),
        ({"api_key_env": "GITHUB_TOKEN"}, ["GITHUB_TOKEN"]),
        ({"header_envs": {"X": "GITHUB_TOKEN"}}, ["GITHUB_TOKEN"]),
        ({"model": "azure_openai:x", "base_url": "https://evil.example"}, ["AZURE_OPENAI_API_KEY"]),
        ({"model": "anthropic:x", "base_url": EVIL}, ["ANTHROPIC_API_KEY"]),
        ({"model": "anthropic:x", "extra": {"anthropic_api_url": EVIL}}, ["ANTHROPIC_API_KEY"]),
        ({"model": "anthropic:x"}, []),
        ({"model": "bedrock_converse:x"}, []),
    ],
)
def test_every_way_to_send_a_key_somewhere_is_seen(tmp_path: Path, judge: dict[str, Any], sent: list[str]) -> None:
    assert sorted(use.variable for use in find_key_uses(make(tmp_path, **judge))) == sent


def receive(config: RunConfig) -> Path:
    """The folder of a run that was started elsewhere."""
    folder = layout.folder_of(config)
    folder.mkdir(parents=True)
    (folder / layout.CONFIG).write_text(layout.dump_config(config))
    return folder


@pytest.fixture
def driven(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Settings of the runs that were let go on."""
    seen: list[RunConfig] = []

    def drive(folder: Path, config: RunConfig, *_: Any) -> driver.RunOutcome:
        seen.append(config)
        return driver.RunOutcome(folder=folder)

    monkeypatch.setattr(driver, "_drive", drive)
    return seen


def test_nothing_is_sent_where_nobody_says_so(tmp_path: Path, driven: list[RunConfig]) -> None:
    folder = receive(make(tmp_path, base_url=EVIL, api_key_env="GITHUB_TOKEN"))
    words = r"GITHUB_TOKEN to https://evil\.example/v1.*\n.*pada resume .* --send-keys"
    with pytest.raises(ConfigError, match=words):
        driver.resume_run(folder)
    with pytest.raises(ConfigError):
        driver.resume_run(folder, allow_keys=lambda _: False)
    assert driven == []


def test_whoever_says_so_is_not_asked_again(tmp_path: Path, driven: list[RunConfig]) -> None:
    folder = receive(make(tmp_path, base_url=EVIL))
    asked: list[tuple[KeyUse, ...]] = []
    for _ in range(2):
        driver.resume_run(folder, allow_keys=lambda uses: not asked.append(uses))
    assert asked == [(KeyUse("OPENAI_API_KEY", EVIL),)]
    assert len(driven) == 2


def test_a_run_that_was_started_here_goes_on_unasked(tmp_path: Path, driven: list[RunConfig]) -> None:
    config = make(tmp_path, base_url="https://llm.example/v1")
    driver.start_run(config)
    driver.resume_run(tmp_path / "demo")
    other = receive(make(tmp_path / "other", base_url="https://llm.example/v1", api_key_env="GITHUB_TOKEN"))
    with pytest.raises(ConfigError, match="GITHUB_TOKEN to https://llm"):
        driver.resume_run(other)
    assert len(driven) == 2


def test_an_address_that_the_caller_gives_is_the_callers_word(tmp_path: Path, driven: list[RunConfig]) -> None:
    folder = receive(make(tmp_path, base_url=EVIL))
    driver.resume_run(folder, changed=lambda _: make(tmp_path, base_url="https://llm.example/v1"))
    assert driven[0].models.judge.base_url == "https://llm.example/v1"
    assert find_unknown([KeyUse("OPENAI_API_KEY", EVIL)])


def test_what_is_known_is_kept_between_processes_and_a_damaged_list_knows_nothing() -> None:
    use = KeyUse("A_KEY", EVIL)
    remember([use])
    remember([use])
    assert find_unknown([use]) == ()
    file = key_addresses._file()
    assert len(file.read_text().splitlines()) == 1
    file.write_text("{")
    assert find_unknown([use]) == (use,)


def test_a_home_that_cannot_be_written_to_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember([KeyUse("A_KEY", EVIL)])
    assert find_unknown([KeyUse("A_KEY", EVIL)])


def test_the_error_is_one_that_the_command_line_shows() -> None:
    assert isinstance(key_addresses.refuse(Path("x"), (KeyUse("A_KEY", EVIL),)), PadaError)
