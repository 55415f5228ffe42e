"""Arguments of the `pada` command, read and written. Light to import, as the command itself is."""

from pathlib import Path


def word_experiment(grid: Path, probe: bool, arms: str | None, seeds: str | None) -> str:
    options = [("--probe", probe), (f"--arms {arms}", arms), (f"--seeds {seeds}", seeds)]
    return " ".join([f"pada experiment {grid}", *(text for text, given in options if given)])


def split_list(text: str | None) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()] if text else []


def read_seed(text: str) -> int:
    from pada_agent.core.errors import ConfigError

    if not text.isdecimal():
        raise ConfigError(f"--seeds: '{text}' is not a seed; expected whole numbers separated by commas, such as 0,1")
    return int(text)


def quote(text: object) -> str:
    """As a YAML string: a folder named 7 or `yes` stays text."""
    import json

    return json.dumps(str(text))
