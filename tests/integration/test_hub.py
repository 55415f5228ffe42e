"""Pushing to and pulling from a hub: the real client, against a server that speaks the part of the protocol that it needs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard, constants
from typer.testing import CliRunner, Result

from pada_agent.app.adapters.storage.artifacts import FileArtifactStore
from pada_agent.app.adapters.storage.hub_commits import pin_commit
from pada_agent.app.cli import app
from pada_agent.app.results import hub as results_hub
from pada_agent.app.results import model_export
from pada_agent.core.errors import ArtifactError, ConfigError
from tests.hub_server import TOKEN, Hub, Repository, serving_hub
from tests.integration.graph_runs import save_run

SETTINGS = {"base_model_name_or_path": "/home/me/secret/student-fp32", "peft_type": "LORA", "r": 2}
CARD = "---\nbase_model: student\nlicense: unknown\ntags:\n- pada-agent\n---\n\n# r: best\n"
OURS = "models/me/adapter"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    with serving_hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(SETTINGS))
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text(CARD)
    (folder / "train_metrics.json").write_text("{}")
    return folder


@pytest.fixture
def run(tmp_path: Path, adapter: Path) -> Path:
    """A finished toy run; its best adapter gets the files that a real one has."""
    folder = save_run(tmp_path / "toy", student={"model": "owner/small"})
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / "best" / name).write_bytes((adapter / name).read_bytes())
    return folder


def push(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["push", *map(str, arguments)])


def test_an_adapter_is_private_and_says_nothing_of_this_machine(hub: Hub, adapter: Path) -> None:
    result = push(adapter, "me/adapter")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"private: {hub.url}/me/adapter (commit ")
    found = hub.repositories[OURS]
    assert found.private
    assert set(found.files) == {"adapter_config.json", "adapter_model.safetensors", "README.md"}
    assert found.files["adapter_model.safetensors"] == b"weights"
    assert json.loads(found.files["adapter_config.json"]) == SETTINGS | {
        "base_model_name_or_path": "student-fp32",
        "revision": None,
    }
    card = ModelCard(found.files["README.md"].decode())
    assert (card.data.base_model, card.data.license, card.data.tags) == (None, "unknown", ["pada-agent"])
    assert "# r: best" in card.text
    assert not any(b"/home/me" in data or TOKEN.encode() in data for data in found.files.values())


def test_the_student_and_the_licence_can_be_stated(hub: Hub, adapter: Path) -> None:
    assert push(adapter, "me/adapter", "--base", "owner/small", "--license", "mit").exit_code == 0
    files = hub.repositories[OURS].files
    card = ModelCard(files["README.md"].decode())
    assert (card.data.base_model, card.data.license) == ("owner/small", "mit")
    assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "owner/small"


COMMIT = "12fd25f77366fa6b3b4b768ec3050bf629380bac"


def name_base(adapter: Path, name: str, commit: str | None) -> None:
    """As a fine-tuning does."""
    settings = SETTINGS | {"base_model_name_or_path": name, "revision": commit}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))


def read_pushed(hub: Hub) -> tuple[str, str | None, str | None]:
    """Name and revision of the student in the adapter's settings, and its name on the card."""
    files = hub.repositories[OURS].files
    settings = json.loads(files["adapter_config.json"])
    card = ModelCard(files["README.md"].decode())
    return settings["base_model_name_or_path"], settings["revision"], card.data.base_model


def note_commit(run: Path) -> None:
    """As a run does that begins with a hub student."""
    store = FileArtifactStore(run / "objects")
    noted = {"model": "owner/small", "revision": None, "commit": COMMIT}
    store.write_json(store.key("hub-commit", "owner/small", None), noted)


def test_the_student_of_a_pushed_adapter_is_named_with_owner_and_its_commit_stands_beside(hub: Hub, run: Path) -> None:
    note_commit(run)
    name_base(run / "best", "owner/small", COMMIT)
    for source in (run, run / "best"):
        result = push(source, "me/adapter")
        assert result.exit_code == 0, result.output
        assert read_pushed(hub) == ("owner/small", COMMIT, "owner/small")


def test_a_student_that_is_stated_has_the_commit_that_is_stated(hub: Hub, adapter: Path) -> None:
    name_base(adapter, "owner/small", COMMIT)
    assert push(adapter, "me/adapter", "--base", "owner/large").exit_code == 0
    assert read_pushed(hub) == ("owner/large", None, "owner/large")
    assert push(adapter, "me/adapter", "--base", "owner/large@v1").exit_code == 0
    assert read_pushed(hub) == ("owner/large", "v1", "owner/large")


@pytest.mark.usefixtures("hub")
def test_an_adapter_is_merged_into_the_commit_that_it_was_trained_on(run: Path) -> None:
    note_commit(run)
    name_base(run / "best", "owner/small", COMMIT)
    push(run / "best", "me/adapter")
    for source in (run, run / "best", results_hub.find_adapter("hub:me/adapter")):
        assert model_export.read_source(source).student == f"owner/small@{COMMIT}"


@pytest.mark.parametrize(
    ("wanted", "merged"),
    [
        ("owner/small", f"owner/small@{COMMIT}"),
        ("owner/small@v2", "owner/small@v2"),
        ("owner/other", "owner/other"),
    ],
)
def test_the_adapters_commit_goes_with_the_name_of_its_student(
    wanted: str, merged: str, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_base(adapter, "owner/small", COMMIT)
    asked: list[str] = []

    def run_job(source: model_export.Source, *_: object, **__: object) -> Path:
        asked.append(source.student)
        made = tmp_path / "made"
        made.mkdir()
        report = {"n_rows": 4, "n_equal": 4, "other_prompts": "", "base_sha256": {}}
        (made / "export.json").write_text(json.dumps(report))
        return made

    monkeypatch.setattr(model_export, "_run_job", run_job)
    result = CliRunner().invoke(app, ["export", str(adapter), "--student", wanted, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert asked == [merged]


def test_the_best_adapter_of_a_run_goes_with_its_results(hub: Hub, run: Path) -> None:
    result = push(run, "me/adapter")
    assert result.exit_code == 0, result.output
    card = ModelCard(hub.repositories[OURS].files["README.md"].decode())
    assert card.data.base_model == "owner/small"
    assert {found.dataset_split for found in card.data.eval_results or []} == {"validation", "test"}


def test_synthetic_rows_go_with_their_card(hub: Hub, run: Path) -> None:
    result = push(run, "me/rows", "--what", "data", "--license", "cc0-1.0")
    assert result.exit_code == 0, result.output
    assert f"private: {hub.url}/datasets/me/rows" in result.stdout
    found = hub.repositories["datasets/me/rows"]
    assert found.private
    assert set(found.files) == {"data/train.jsonl", "README.md"}
    assert json.loads(found.files["data/train.jsonl"].split(b"\n")[0])["prompt"]
    assert DatasetCard(found.files["README.md"].decode()).data.license == "cc0-1.0"


def test_public_is_said_or_refused(hub: Hub, adapter: Path) -> None:
    hub.repositories[OURS] = Repository(private=False)
    result = push(adapter, "me/adapter")
    assert result.exit_code == 2
    assert "is public. Use --public" in result.output
    assert not hub.repositories[OURS].files
    assert push(adapter, "me/adapter", "--public").stdout.startswith("public: ")
    assert push(adapter, "me/other", "--public").exit_code == 0
    assert not hub.repositories["models/me/other"].private


def test_a_second_push_is_a_second_commit(hub: Hub, adapter: Path) -> None:
    push(adapter, "me/adapter")
    (adapter / "adapter_model.safetensors").write_bytes(b"better")
    assert push(adapter, "me/adapter").exit_code == 0
    assert hub.repositories[OURS].files["adapter_model.safetensors"] == b"better"
    assert len(hub.repositories[OURS].commits) == 3


def test_what_was_pushed_is_found_by_its_id(hub: Hub, adapter: Path) -> None:
    push(adapter, "me/adapter")
    hub.repositories[OURS].files["evil.py"] = b"import os"
    folder = results_hub.find_adapter("hub:me/adapter")
    assert (folder / "adapter_model.safetensors").read_bytes() == b"weights"
    assert not (folder / "evil.py").exists()
    revision = hub.repositories[OURS].commits[-1]
    assert results_hub.find_adapter(f"hub:me/adapter@{revision}") == folder


def test_pickled_weights_are_not_fetched(hub: Hub) -> None:
    hub.repositories[OURS] = Repository(private=True, files={"adapter_config.json": b"{}", "adapter_model.bin": b"x"})
    with pytest.raises(ArtifactError, match=r"not a readable adapter: it has no adapter_model\.safetensors"):
        results_hub.find_adapter("hub:me/adapter")


@pytest.mark.parametrize(
    ("location", "error", "words"),
    [
        ("hub:nothing", ConfigError, "expected hub:owner/name"),
        ("hub:me/../x", ConfigError, "expected hub:owner/name"),
        ("me/adapter", ArtifactError, "write hub:me/adapter"),
        ("hub:me/absent", ArtifactError, r"not found, or you have no access \(your token"),
        ("hub:me/there@nowhere", ArtifactError, "not found"),
    ],
)
def test_an_adapter_that_is_not_there_says_what_to_do(
    hub: Hub, location: str, error: type[Exception], words: str
) -> None:
    hub.repositories["models/me/there"] = Repository(private=True)
    with pytest.raises(error, match=words):
        results_hub.find_adapter(location)


@pytest.mark.usefixtures("hub")
def test_an_adapter_by_hub_id_is_evaluated(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line down to the job."""
    from pada_agent.app.runs import evaluate_model
    from pada_agent.core.records import Metrics

    push(adapter, "me/adapter")
    asked: list[Path | None] = []

    def measure(_: object, *, adapter: Path | None, **__: object) -> Metrics:
        asked.append(adapter)
        return Metrics(n=1, n_correct=1, accuracy=1.0, low=0.0, high=1.0)

    monkeypatch.setattr(evaluate_model, "evaluate_model", measure)
    config = adapter.parent / "run.yaml"
    config.write_text("data: {train: a.jsonl, validation: b.jsonl}\n")
    result = CliRunner().invoke(app, ["evaluate", str(config), "--adapter", "hub:me/adapter"])
    assert result.exit_code == 0, result.output
    (folder,) = asked
    assert folder is not None
    assert (folder / "adapter_model.safetensors").read_bytes() == b"weights"


def test_a_wrong_token_is_refused_without_repeating_it(
    hub: Hub, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrongtokenofsomebody")
    result = push(adapter, "me/adapter")
    assert result.exit_code == 2
    assert "you have no access (your token may not read or write there)" in result.output
    assert "wrongtokenofsomebody" not in result.output
    assert not hub.repositories


def test_a_hub_that_is_not_there_is_one_clear_error(hub: Hub, adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    result = push(adapter, "me/adapter")
    assert result.exit_code == 2
    assert "the hub cannot be reached" in result.output
    assert not hub.repositories


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["SOURCE", "no name"], "no name"),
        (["SOURCE", "me/adapter", "--base", "student"], "--base student: expected a hub id"),
        (["SOURCE", "me/rows", "--what", "data", "--base", "a/b"], "Leave it out with --what data"),
        (["SOURCE", "me/rows", "--what", "data"], "config.yaml"),
        (["SOURCE/nowhere", "me/adapter"], "neither a finished run nor an adapter"),
    ],
)
def test_what_cannot_be_pushed_is_said_first(hub: Hub, adapter: Path, arguments: list[str], words: str) -> None:
    result = push(*(argument.replace("SOURCE", str(adapter)) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert not hub.repositories


STUDENT = "models/me/student"


def test_a_run_stays_with_the_commit_that_it_began_with(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[STUDENT] = Repository(private=True)
    store = FileArtifactStore(tmp_path / "objects")
    first = pin_commit("me/student", None, store)
    assert first == "me/student@" + "0" * 40
    hub.repositories[STUDENT].commits.append("1" * 40)
    assert pin_commit("me/student", None, store) == first
    assert pin_commit("me/student", None, FileArtifactStore(tmp_path / "other")) == "me/student@" + "1" * 40


def test_without_a_network_the_commit_is_the_one_that_was_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    store = FileArtifactStore(tmp_path / "objects")
    assert pin_commit("me/student", None, store) == "me/student"  # nothing is known yet, so nothing is kept
    references = tmp_path / "cache" / "models--me--student" / "refs"
    references.mkdir(parents=True)
    (references / "main").write_text("2" * 40)
    assert pin_commit("me/student", None, store) == "me/student@" + "2" * 40


@pytest.mark.usefixtures("hub")
def test_a_revision_that_is_not_there_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[STUDENT] = Repository(private=True)
    store = FileArtifactStore(tmp_path / "objects")
    with pytest.raises(ConfigError, match=r"student\.revision: me/student has no branch, tag or commit 'v9'"):
        pin_commit("me/student", "v9", store)
    assert pin_commit(str(tmp_path), None, store) == str(tmp_path)
    with pytest.raises(ConfigError, match=r"student\.revision: .* is not a hub model"):
        pin_commit(str(tmp_path), "main", store)


# peft 0.21 reads a property that transformers 5.23 renames.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")  # peft asks the hub for the size of the vocabulary
def test_a_pinned_student_is_loaded_and_its_adapter_names_the_commit(hub: Hub, tmp_path: Path) -> None:
    import torch

    from pada_agent.core.jobs import TokenizerJob
    from pada_agent.training.students import load_student
    from pada_agent.training.worker import Request, Worker
    from tests.integration.training.small_student import train
    from tests.tiny_models import save_student

    folder = save_student(tmp_path / "student")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories[STUDENT] = Repository(private=True, files=files)
    name = pin_commit("me/student", None, FileArtifactStore(tmp_path / "objects"))
    Worker(torch.device("cpu")).run(
        Request(job=TokenizerJob(student=name), folder=str(tmp_path / "tokenizer")), lambda _: None
    )
    assert (tmp_path / "tokenizer" / "tokenizer.json").is_file()
    student = load_student(name, torch.device("cpu"))
    assert [path.name for path in student.weights] == ["model.safetensors"]
    settings = json.loads((train(student, tmp_path / "adapter") / "adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("me/student", "0" * 40)
