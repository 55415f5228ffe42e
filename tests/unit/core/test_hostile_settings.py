"""Settings that are wrong in ways that YAML, editors and hands bring about: one clear error with file and key, at once."""

import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import load_config
from pada_agent.core.errors import ConfigError

ALIASES = "".join(f"{a}: &{a} [{', '.join([f'*{b}'] * 10)}]\n" for b, a in zip("abcdefgh", "bcdefghi", strict=True))
NESTED = "student: {template_arguments: {x: " + "[" * 400 + "]" * 400 + "}}\n"
KEYED = r"^.*c\.yaml: "

REFUSED: list[tuple[str, str | bytes, str]] = [
    ("infinite", "lora: {learning_rate: .inf}", KEYED + r"lora\.learning_rate: .*finite"),
    ("infinite by size", "lora: {learning_rate: 1e400}", KEYED + r"lora\.learning_rate: .*finite"),
    ("infinite in words", "lora: {learning_rate: inf}", KEYED + r"lora\.learning_rate: .*finite"),
    ("no number", "lora: {learning_rate: .nan}", KEYED + r"lora\.learning_rate: .*finite"),
    ("infinite budget", "budget: {max_usd: .inf}", KEYED + r"budget\.max_usd: .*finite"),
    ("no number in JSON", "student: {template_arguments: {a: .nan}}", KEYED + r"student\.template_arguments.*finite"),
    ("switch for a count", "loop: {max_iterations: true}", KEYED + r"loop\.max_iterations: found true where a number"),
    ("switch for a rate", "lora: {learning_rate: false}", KEYED + r"lora\.learning_rate: found false where"),
    ("switch for a seed", "data: {shuffle: true}", KEYED + r"data\.shuffle: found true where a number"),
    ("tagged switch", "seed: !!bool yes", KEYED + "seed: found true where a number"),
    ("word for a switch", "quality: {enabled: maybe}", KEYED + r"quality\.enabled: .*valid boolean"),
    ("number for a switch", "quality: {enabled: 2}", KEYED + r"quality\.enabled: .*valid boolean"),
    ("yes for a count", "loop: {patience: yes}", KEYED + r"loop\.patience: .*valid integer"),
    ("rounds without end", "loop: {max_iterations: 1000000}", KEYED + r"loop\.max_iterations: .*less than or equal to 1000$"),
    ("epochs without end", "lora: {epochs: 1e9}", KEYED + r"lora\.epochs: .*less than or equal to 10000$"),
    ("part of a count", "loop: {patience: 1.5}", KEYED + r"loop\.patience: .*valid integer"),
    ("hexadecimal", "seed: 0x10", KEYED + "seed: .*valid integer"),
    ("clock time", "seed: 1:30", KEYED + "seed: .*valid integer"),
    ("thirty digits", "seed: " + "9" * 30, KEYED + "seed: the number is too large"),
    ("thirty digits below", "loop: {max_iterations: " + "9" * 30 + "}", KEYED + r"loop\.max_iterations: .*too large"),
    ("five thousand digits", "seed: " + "9" * 5000, r"c\.yaml:1:7: .*9…? cannot be read as a number$"),
    ("tagged number", "seed: !!int x", r"c\.yaml:1:7: .*x cannot be read as a number$"),
    ("null count", "loop: {max_iterations: ~}", KEYED + r"loop\.max_iterations: .*valid integer"),
    ("null section", "task: ~", KEYED + "task: expected a mapping, such as"),
    ("list for a section", "loop: [1, 2]", KEYED + "loop: expected a mapping, such as"),
    ("list of sections", "models:\n  - judge\n", KEYED + "models: expected a mapping, such as"),
    ("value for a section", "loop: 3", KEYED + "loop: expected a mapping, such as"),
    ("list for a text", "data: {train: [a.jsonl]}", KEYED + r"data\.train: expected one text, found a list\. Join the files into one\.$"),
    ("list for a name", "runs_folder: [a]", KEYED + r"runs_folder: expected one text, found a list\.$"),
    ("mapping for a text", "data: {train: {a: b}}", KEYED + r"data\.train: .*valid string"),
    ("unknown below", "compute: {cluster: {gpus: 1}}", KEYED + r"compute\.cluster\.gpus: there is no such setting"),
    ("unknown in lora", "lora: {learning_rte: 1}", KEYED + r"lora\.learning_rte: there is no such setting. Did you mean 'learning_rate'?"),
    ("unknown above", "lopp: {}", KEYED + "lopp: there is no such setting. Did you mean 'loop'?"),
    ("labels in lists", "task: {labels: [[a]]}", KEYED + r"task\.labels: .*not a text: \['a'\]"),
    ("labels in a mapping", "task: {labels: {a: {b: c}}}", KEYED + r"task\.labels\.a: .*valid string"),
    ("label twice in a list", "task: {labels: [no, 'no']}", KEYED + r"task\.labels: .*'no' is in the list twice"),
    ("label twice", "task: {labels: {no: a, 'no': b}}", r"c\.yaml:1:24: .*the key 'no' appears twice"),
    ("label in two forms", "task: {labels: {caf\u00e9: a, cafe\u0301: b, c: d}}", KEYED + r"task\.labels: .*'caf\u00e9' appears twice"),
    ("value in two forms", "task: {label_values: {caf\u00e9: a, cafe\u0301: b}}", KEYED + r"task\.label_values: .*'caf\u00e9' appears twice"),
    ("key twice below", "loop:\n  patience: 1\n  patience: 2\n", r"c\.yaml:3:3: .*'patience' appears twice"),
    ("tab", "loop:\n\tpatience: 1\n", r"c\.yaml:2:1: .*with spaces, not with tabs"),
    ("half a character", 'task: {description: "a\\ud800b"}', KEYED + r"task\.description: .*half a character"),
    ("code 0 in a text", 'student: {model: "a\\0b"}', KEYED + r"student\.model: .*null character"),
    ("aliases that expand", "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + ALIASES, r"c\.yaml:1:1: .*more than 100000"),
    (
        "aliases that expand in JSON",
        "student:\n  template_arguments:\n    a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"    {line}\n" for line in ALIASES.splitlines()),
        r"c\.yaml:1:1: .*more than 100000",
    ),
    ("alias of itself", "student: {template_arguments: &a {x: *a}}", "contains itself through an alias"),
    ("alias of nothing", "loop: *nope", r"c\.yaml:1:7: .*undefined alias"),
    ("merge of a value", "loop: {<<: 5}", r"c\.yaml:1:12: .*merging"),
    ("nested deeply", NESTED, r"c\.yaml: .*(nested too deeply|template_arguments)"),
    ("UTF-16 without a mark", "seed: 1\n".encode("utf-16-le"), r"c\.yaml:1: .*null character.*Save it as UTF-8"),
    ("UTF-32", "seed: 1\n".encode("utf-32"), r"c\.yaml:1: .*null character.*Save it as UTF-8"),
    ("no text", bytes(range(256)), r"c\.yaml:2: byte 80 is not UTF-8"),
    ("two documents", "seed: 1\n---\nseed: 2\n", "expected a single document"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), [(c, m) for _, c, m in REFUSED], ids=[name for name, _, _ in REFUSED])
def test_what_cannot_be_meant_is_one_clear_error(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    started = time.process_time()
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert time.process_time() - started < 2
    assert len(str(caught.value)) < len(str(path)) + 400, "also of a huge value the beginning alone is shown"


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xef\xbb\xbf", b"\xff\xfe", b"null\n", b"loop:\n"])
def test_a_file_that_sets_nothing_leaves_the_defaults(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    assert load_config(path).seed == 0


def test_a_folder_is_no_settings_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        load_config(tmp_path)


def test_numbers_in_quotes_and_exponents_without_a_point_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: '3'\nlora: {learning_rate: 1e-3}\nquality: {threshold: '7.5'}\n")
    config = load_config(path, ["loop.patience='2'"])
    assert (config.seed, config.lora.learning_rate, config.quality.threshold) == (3, 1e-3, 7.5)
    assert config.loop.patience == 2


def test_the_halves_of_a_character_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text('task: {description: "\\ud83d\\ude00"}\n')
    assert load_config(path).task.description == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loop=5", "loop: expected a mapping, such as"),
        ("models.judge=x", r"models\.judge: expected a mapping, such as"),
        ("loop.max_iterations=[1]", r"loop\.max_iterations: .*valid integer"),
        ("loop.max_iterations=true", r"loop\.max_iterations: found true"),
        ("lora.learning_rate=inf", r"lora\.learning_rate: .*finite"),
        ("seed=" + "9" * 5000, r"--set seed=9+…: .*cannot be read as a number"),
        ("seed=\ud800", "--set .*not a YAML value"),
        ("task.description=\ud800", r"task\.description: .*half a character"),
    ],
)
def test_overrides_of_the_wrong_type_are_one_clear_error(tmp_path: Path, override: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("seed: 1\n")
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path, [override])
    assert len(str(caught.value)) < len(str(path)) + 300
    str(caught.value).encode("utf-8")


@pytest.mark.parametrize("field", ["api_key", "base_url"])
def test_a_key_in_the_wrong_place_is_refused_without_repeating_it(field: str) -> None:
    key = "sk-very-secret" if field == "api_key" else "http://user:sk-very-secret@host/v1"
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"models": {"judge": {"model": "openai:x", field: key}}})
    assert field in str(caught.value) and "sk-very-secret" not in str(caught.value)
