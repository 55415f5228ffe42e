"""Settings: all problems at once, with file and key; every shipped file loads."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pada_agent.core.compute_config import count_processes
from pada_agent.core.config import RunConfig
from pada_agent.core.config_files import apply_override, change_config, load_config, parse_config
from pada_agent.core.errors import ConfigError

FOLDER = Path(__file__).parents[3] / "configs"
JUDGE = {"model": "openai:x", "extra": {"a": 1}}
CONFIGS = sorted(path for path in FOLDER.rglob("*.yaml") if path.parent.name != "experiments")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_file_loads_and_names_its_command(path: Path) -> None:
    assert load_config(path).data.train
    assert f"configs/{path.relative_to(FOLDER)}" in path.read_text()


def test_all_problems_are_named_at_once_with_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("lora: {rank: many}\nqualty: {}\nloop: {patience: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["lora.rank", "loop.patience", "qualty"]
    assert str(caught.value).count(str(path)) == 3


def test_an_orthogonal_start_needs_an_even_rank(tmp_path: Path) -> None:
    path = write_settings(tmp_path, {"lora": {"init": "orthogonal", "rank": 3}})
    with pytest.raises(ConfigError, match=r"lora: .*init: orthogonal needs an even rank, not 3"):
        load_config(path)
    assert load_config(path, ["lora.rank=4"]).lora.init == "orthogonal"


def test_problems_name_the_option_that_brought_them(tmp_path: Path) -> None:
    path = write_settings(tmp_path, {"lora": {"rnk": 4}})
    overrides = ["lora.rank=x", "task.labels={a: [1]}", "name=my run", "loop.patiance=2"]
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides, options={"name": "--out my run"})
    assert [line.rpartition(": ")[0].split(": ")[:2] for line in str(caught.value).splitlines()] == [
        ["--out my run", "name"],
        ["--set", "task.labels.a"],
        ["--set", "lora.rank"],
        [str(path), "lora.rnk"],
        ["--set", "loop.patiance"],
    ]
    with pytest.raises(ConfigError, match=r"^--set: student\.chat_template: 'none\.jinja' is neither"):
        load_config(write_settings(tmp_path, {}), ["student.chat_template=none.jinja"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("grid 1.yaml", "tasks: {a: {config: x.yaml}}\narms: [pada]\n", "this is a grid of runs, not one run: pada experiment '{path}'"),
        ("train.jsonl", '{"q": 1}\n{"q": 2}\n', "these are rows, not settings. Name them in a settings file, under data.train"),
        ("Train.CSV.gz", "", "these are rows, not settings"),
        ("rows.json", '[{"q": 1}, {"q": 2}]', "these are rows, not settings"),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {message.format(path=path)}")


@pytest.mark.parametrize("text", ["- a list\n", "a: [unclosed\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_config(path)


@pytest.mark.parametrize("setting", ["seed=-1", "seed=4294967296", "data.shuffle=-1", "generation.temperature=7"])
def test_a_number_that_a_later_step_cannot_use_is_refused_at_once(setting: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting.split('=')[0]}: Input should be"):
        parse_config(apply_override({}, setting), origin="--set")


def test_a_missing_file_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load_config(Path("nowhere.yaml"))


def test_overrides_reach_into_groups_and_are_yaml(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("loop: {max_iterations: 1}\n")
    config = load_config(path, ["loop.patience=2", "data.train=x.jsonl", "review.strategies=true"])
    assert (config.loop.max_iterations, config.loop.patience, config.data.train, config.review.strategies) == (
        1,
        2,
        "x.jsonl",
        True,
    )


def test_a_group_given_as_a_whole_changes_only_the_settings_that_it_names(tmp_path: Path) -> None:
    path = write_settings(
        tmp_path,
        {"lora": {"rank": 8, "learning_rate": 0.001}, "task": {"labels": {"a": "b"}}, "models": {"judge": JUDGE}},
    )
    config = load_config(
        path, ["lora={n_steps: 5}", "models={judge: {timeout_seconds: 7}}", "task={labels: {c: d}}", "loop="]
    )
    assert (config.lora.rank, config.lora.learning_rate, config.lora.n_steps) == (8, 0.001, 5)
    assert (config.models.judge.model, config.models.judge.timeout_seconds) == ("openai:x", 7)
    assert config.models.judge.extra == {"a": 1}
    assert config.task.labels == {"c": "d"}, "a mapping that is one setting is replaced"
    changed = change_config(config, ["lora={n_steps: null}", "models.judge={extra: {b: 2}}"])
    assert (changed.lora.rank, changed.lora.n_steps) == (8, None)
    assert changed.models.judge.extra == {"b": 2}


@pytest.mark.parametrize("override", ["loop.patience", "name.x=1", "=3"])
def test_an_override_that_cannot_be_read_says_so(tmp_path: Path, override: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("name: run\n")
    with pytest.raises(ConfigError, match="--set"):
        load_config(path, [override])


def test_an_integer_default_equals_the_same_value_given_as_float() -> None:
    given = parse_config({"lora": {"epochs": 5.0}, "quality": {"threshold": 7.0}}, origin="test")
    assert given.model_dump_json() == RunConfig().model_dump_json()


@pytest.mark.parametrize(
    "setting", ["api_key_env=sk-proj-abc", "base_url=http://host/v1?api_key=sk-1", "base_url=http://me:sk-1@host/v1"]
)
def test_a_key_in_the_wrong_place_is_refused_without_repeating_it(setting: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_config(apply_override({}, f"models.judge.{setting}"), origin="--set")
    assert "sk-" not in str(refused.value)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("task.instruction=[INST] Answer with one word.", "instruction", "[INST] Answer with one word."),
        ("task.instruction=@home", "instruction", "@home"),
        ("task.instruction=Answer: yes or no", "instruction", "Answer: yes or no"),
        ('task.instruction="an open quote', "instruction", '"an open quote'),
        ("task.instruction='quoted: text'", "instruction", "quoted: text"),
        ("task.instruction=yes", "instruction", "yes"),
        ("task.instruction=2024-01-01", "instruction", "2024-01-01"),
        ("task.instruction=", "instruction", ""),
        ("task.name=5", "name", "5"),
    ],
)
def test_a_setting_that_is_a_text_takes_what_is_written(override: str, key: str, value: str) -> None:
    assert apply_override({}, override) == {"task": {key: value}}


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("seed=3", 3),
        ("seed=1e3", 1000.0),
        ("lora.learning_rate=1e-4", 0.0001),
        ("student.system=null", None),
        ("student.system='null'", "null"),
        ("student.system=", ""),
        ("student.system=no", "no"),
        ("task.labels={yes: a, no: 5}", {"yes": "a", "no": "5"}),
        ("task.labels.yes=no", "no"),
        ("task.labels.a=5", "5"),
        ("task.labels=", {}),
        ("task.columns={question: 1}", {"question": "1"}),
        ("task.missing=[NA, 1]", ["NA", "1"]),
        ("task.instruction=a=b", "a=b"),
        ("lora={rank: 8}", {"rank": 8}),
        ("models={judge: {model: 5}}", {"judge": {"model": "5"}}),
        ("task.description=one line\nkey: another", "one line\nkey: another"),
        ("models.judge.model=5", "5"),
    ],
)
def test_a_value_is_read_as_what_the_setting_takes(override: str, value: Any) -> None:
    found: Any = apply_override({}, override)
    for name in override.partition("=")[0].split("."):
        found = found[name]
    assert found == value


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=[1", r"--set seed=\[1: not a YAML value"),
        ("task.labels={a: [1}", r"--set task\.labels=.*: not a YAML value .* Put text in quotes"),
        ("task.labels={a: 1, a: 2}", "the key 'a' appears twice"),
        ("seed=@home", "not a YAML value"),
        ("loop.max_iterations", "expected key=value"),
        ("=1", "expected key=value"),
        ("task..name=x", "expected key=value"),
        ("task.=x", "expected key=value"),
        ("seed.a=1", r"seed\.a|seed: Input should be a valid integer"),
        ("loop.max_iterations=yes", r"loop\.max_iterations: .*valid integer"),
        ("loop.max_iteration=1", r"loop\.max_iteration: there is no such setting\. Did you mean 'max_iterations'\?"),
        ("task=5", "task: expected a mapping, such as {name: …}"),
        ("lora.learning_rate=2e-4x", r"lora\.learning_rate: .*valid number"),
    ],
)
def test_a_value_that_cannot_be_taken_is_one_clear_error(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(apply_override({}, override), origin="--set")


def test_settings_of_a_run_are_changed_as_by_set() -> None:
    config = parse_config({"seed": 3}, origin="x")
    changed = change_config(config, ["lora.on_too_long=truncate"])
    assert (changed.seed, changed.lora.on_too_long) == (3, "truncate")
    with pytest.raises(ConfigError, match=r"--set: lora\.on_too_long"):
        change_config(config, ["lora.on_too_long=perhaps"])


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("name: 7", "name", "7"),
        ("task: {description: yes}", "task.description", "yes"),
        ("task: {description: 12:30}", "task.description", "12:30"),
        ("task: {instruction: 1.0}", "task.instruction", "1.0"),
        ("task:\n  instruction:\n", "task.instruction", ""),
        ("data:\n", "data.train", ""),
        ("task: {labels: {1: 2, true: no}}", "task.labels", {"1": "2", "true": "no"}),
        ("student: {system: ~}", "student.system", None),
        ("models: {analyst: &m {model: 5}, judge: {<<: *m, model: 6}}", "models.judge.model", "6"),
        ("seed: 007", "seed", 7),
    ],
)
def test_a_settings_file_says_what_it_seems_to_say(tmp_path: Path, text: str, path: str, value: Any) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    found: Any = load_config(file)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task:\n\tname: x\n", r"c\.yaml:2:1: not valid YAML: .* Indent with spaces, not with tabs"),
        (
            "task:\n\u00a0\u00a0name: x\n",
            r"c\.yaml:\d:\d+: not valid YAML: .*\. Line 2 is indented with non-breaking spaces: replace them",
        ),
        ("seed: 1\ntask:\n  name: x\n \u3000turns: all\n", r"Line 4 is indented with non-breaking spaces"),
        ("seed: 1\nseed: 2\n", r"c\.yaml:2:1: not valid YAML: the key 'seed' appears twice"),
        ("seed: 1\n---\nseed: 2\n", r"c\.yaml:2:1: .*another document"),
        ("- a\n", "expected a mapping of settings, found list"),
        ("5", "expected a mapping of settings, found int"),
        ("task: {name: 'open}\n", r"c\.yaml:2:1: not valid YAML"),
        ("seed: \x00", r"c\.yaml:1: found a null character"),
        ("[" * 5000, "not valid YAML"),
        ("&a {task: *a}", r"c\.yaml:1:1: not valid YAML: a list or mapping contains itself through an alias"),
        ("task: &a {labels: *a}", r"c\.yaml:1:7: .*contains itself through an alias"),
        ("? [1]\n: 2", "a key is a list or a mapping"),
        ("seed: !!python/object:os.system x", "could not determine a constructor"),
    ],
)
def test_a_settings_file_that_cannot_be_taken_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_settings_in_the_encodings_of_editors_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("task: {description: Größe}\n".encode(encoding))
    assert load_config(path).task.description == "Größe"


def test_settings_in_another_encoding_are_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes("seed: 1\ntask: {description: Größe}\n".encode("cp1252"))
    with pytest.raises(ConfigError, match=r"c\.yaml:2: byte f6 is not UTF-8.*Save it as UTF-8"):
        load_config(path)


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("{yes: it is so, no: it is not}", {"yes": "it is so", "no": "it is not"}),
        ("{true: it is so, false: it is not}", {"true": "it is so", "false": "it is not"}),
        ("{0: negative, 1: positive}", {"0": "negative", "1": "positive"}),
        ("{1.5: a, 2024-05-17: b}", {"1.5": "a", "2024-05-17": "b"}),
        ("[good, bad, off, 1]", {"good": "", "bad": "", "off": "", "1": ""}),
        ("{on: , off: no}", {"on": "", "off": "no"}),
        ("{cafe\u0301: coffee}", {"caf\u00e9": "coffee"}),
    ],
)
def test_labels_are_taken_as_they_are_written(tmp_path: Path, written: str, labels: dict[str, str]) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"task:\n  labels: {written}\n", encoding="utf-8")
    assert load_config(path).task.labels == labels


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"labels": {None: "nothing", "some": "x"}}, r"task\.labels: .*a name is empty \(null\): put it in quotes"),
        (
            {"labels": {"sport": 1, "world": "0"}},
            r"task\.labels: the definitions are numbers.*label_values: \{1: sport, 0: world\}",
        ),
        ({"labels": {"Yes": "a", "yes ": "b"}}, r"task\.labels: .*'Yes' and 'yes ' differ only by case or spaces"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(task: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config({"task": task}, origin="x")


def test_switches_still_take_yes_and_no(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("quality: {enabled: no}\ngeneration: {accumulate: off, show_answer: yes}\n")
    config = load_config(path, ["generation.balance_labels=no"])
    assert (config.quality.enabled, config.generation.accumulate) == (False, False)
    assert (config.generation.show_answer, config.generation.balance_labels) == (True, False)


def test_columns_may_be_several_and_have_numbers_for_names() -> None:
    task = parse_config({"task": {"columns": {"question": ["instruction", 2], "answer": 1}}}, origin="x").task
    assert task.columns == {"question": ("instruction", "2"), "answer": "1"}


def test_a_chat_template_is_given_as_text_or_as_the_file_that_holds_it(tmp_path: Path) -> None:
    template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    (tmp_path / "chat.jinja").write_text(template)
    for value in (template, str(tmp_path / "chat.jinja")):
        path = write_settings(tmp_path, {"student": {"chat_template": value}})
        assert load_config(path).student.chat.template == template


def test_a_path_may_begin_in_the_folder_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    values = {
        "runs_folder": "~/my runs",
        "data": {"train": "~/rows.csv[:60%]", "test": "hub:~/x/test"},
        "task": {"database": "~/shop.sqlite", "labels": ["~", "~a"]},
        "student": {"model": "~/mine", "chat_template": "~/chat.jinja"},
        "models": {"embedder": "~/embedder", "analyst": {"model": "local:~/a.gguf"}, "judge": {"model": "openai:~"}},
    }
    config = load_config(write_settings(tmp_path, values))
    assert (config.runs_folder, config.student.model) == (f"{tmp_path}/my runs", f"{tmp_path}/mine")
    assert (config.data.train, config.data.test) == (f"{tmp_path}/rows.csv[:60%]", "hub:~/x/test")
    assert (config.task.database, tuple(config.task.labels)) == (f"{tmp_path}/shop.sqlite", ("~", "~a"))
    assert config.student.chat_template == "{{ messages }}"
    models = config.models
    assert (models.embedder, models.analyst.model) == (f"{tmp_path}/embedder", f"local:{tmp_path}/a.gguf")
    assert models.judge.model == "openai:~"
    assert change_config(config, ["runs_folder=~"]).runs_folder == str(tmp_path)
    assert parse_config(values | {"student": {}}, origin="a server").runs_folder == "~/my runs"


def test_a_chat_template_that_is_neither_is_one_clear_error(tmp_path: Path) -> None:
    path = write_settings(tmp_path, {"student": {"chat_template": "no-such.jinja"}})
    with pytest.raises(ConfigError, match=r"student\.chat_template: 'no-such\.jinja' is neither the text"):
        load_config(path)
    with pytest.raises(ConfigError, match=r"student\.chat_template: .*is not a Jinja template"):
        parse_config({"student": {"chat_template": "/etc/hostname"}}, origin="input")


def test_arguments_that_the_encoding_decides_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"student\.template_arguments: .*messages"):
        parse_config({"student": {"template_arguments": {"messages": []}}}, origin="x")
    config = parse_config({"student": {"template_arguments": {"enable_thinking": False}}}, origin="x")
    assert config.student.chat.arguments == {"enable_thinking": False}


def write_settings(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize(
    ("compute", "n_processes"),
    [
        ({}, 1),
        ({"processes": 4}, 4),
        ({"backend": "ray", "processes": 4}, 1),
        ({"backend": "ray", "cluster": {"num_gpus": 0.5}}, 1),
        ({"backend": "ray", "cluster": {"num_gpus": 4}}, 4),
        ({"cluster": {"num_gpus": 4}}, 1),
    ],
)
def test_whole_gpus_of_a_worker_share_a_fine_tuning(compute: dict[str, Any], n_processes: int) -> None:
    assert count_processes(parse_config({"compute": compute}, origin="test").compute) == n_processes


@pytest.mark.parametrize(
    ("compute", "told"),
    [
        (
            {"processes": 9},
            r"compute\.processes: 9 processes share each batch, and lora\.batch_size is 8\. Raise it to 9",
        ),
        ({"backend": "ray", "cluster": {"num_gpus": 16}}, r"compute\.cluster\.num_gpus: 16 processes share each batch"),
    ],
)
def test_every_process_gets_a_row_of_each_batch(compute: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_config({"compute": compute}, origin="test")
    parse_config({"compute": compute, "lora": {"batch_size": 16}}, origin="test")


def test_an_address_of_ray_client_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"compute\.cluster\.address.* ray://head:10001 is a Ray Client address"):
        parse_config({"compute": {"cluster": {"address": "ray://head:10001"}}}, origin="test")


def test_a_worker_takes_no_broken_number_of_gpus() -> None:
    with pytest.raises(ConfigError, match=r"num_gpus.* 1\.5: a worker takes a part of one GPU, or whole ones"):
        parse_config({"compute": {"cluster": {"num_gpus": 1.5}}}, origin="test")
