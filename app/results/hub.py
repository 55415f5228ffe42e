"""Pushes adapters and synthetic rows to the Hugging Face hub, and fetches adapters from it."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pada_agent.app.adapters.llm.redaction import Redaction
from pada_agent.app.adapters.storage.artifacts import explain_writing
from pada_agent.app.results.cards import UNKNOWN
from pada_agent.app.results.data_export import export_data
from pada_agent.app.results.model_export import read_source
from pada_agent.core.errors import ArtifactError, ConfigError, PadaError
from pada_agent.core.hub_names import HUB_ID, is_hub_id, split_commit
from pada_agent.core.hub_revisions import check_revision
from pada_agent.core.records import Record

What = Literal["model", "data"]

PREFIX = "hub:"
CONFIG, WEIGHTS, CARD = "adapter_config.json", "adapter_model.safetensors", "README.md"
_LOCATION = re.compile(rf"{PREFIX}(?P<repo>{HUB_ID})(?:@(?P<revision>[\w./-]+))?")
SHOWN_CHARACTERS = 400


class Pushed(Record):
    """What is on the hub now."""

    url: str
    commit: str
    is_private: bool


def push(
    source: Path,
    repo: str,
    *,
    what: What = "model",
    public: bool = False,
    license: str = UNKNOWN,
    base: str | None = None,
) -> Pushed:
    """Push the adapter of a finished run, or its synthetic rows, with a card, to a repository on the hub.

    The repository is created if it does not exist, as a private one unless `public` is set. The token is that of `hf
    auth login` or HF_TOKEN.

    Args:
        source: folder of a finished run or, for a model, of an adapter.
        base: hub id of the student that the adapter fits, if it was trained from a file or folder; also `owner/name@revision`.

    Raises:
        ArtifactError: `source` has nothing to push, or the hub refuses it.
        ConfigError: there is no token, the name is not valid, or the repository is public and `public` is not set.
    """
    with explain_writing(Path(tempfile.gettempdir())):
        scratch = tempfile.mkdtemp(prefix="pada-push-")
    try:
        folder = Path(scratch) / what
        if what == "data":
            export_data(source, out=folder, license=license)
        else:
            _lay_out_adapter(source, folder, license=license, base=base)
        with _explaining(repo):
            return _upload(folder, repo, "dataset" if what == "data" else "model", public=public)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def describe_pushed(pushed: Pushed) -> str:
    """One line."""
    return f"{'private' if pushed.is_private else 'public'}: {pushed.url} (commit {pushed.commit[:12]})"


def find_adapter(location: str) -> Path:
    """The adapter's folder: the one given or, for `hub:owner/name[@revision]`, a copy in the hub's cache.

    Only safetensors are fetched, because other formats can contain code.

    Raises:
        ConfigError: the location does not have this form.
        ArtifactError: the hub has no such adapter, or cannot be reached.
    """
    if not location.startswith(PREFIX):
        if not Path(location).exists() and re.fullmatch(HUB_ID, location):
            raise ArtifactError(f"{location}: no such folder. If it is on the hub, write {PREFIX}{location}.")
        return Path(location)
    found = _LOCATION.fullmatch(location)
    if found is None:
        raise ConfigError(f"{location}: expected {PREFIX}owner/name or {PREFIX}owner/name@revision")
    if found["revision"]:
        try:
            check_revision(found["revision"])
        except ValueError as exc:
            raise ConfigError(f"{location}: {exc}") from exc
    from huggingface_hub import snapshot_download

    with _explaining(location):
        wanted = [CONFIG, WEIGHTS, CARD]
        folder = Path(snapshot_download(found["repo"], revision=found["revision"], allow_patterns=wanted))
    if absent := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise ArtifactError(f"{location}: not a readable adapter: it has no {' and no '.join(absent)}.")
    return folder


def _lay_out_adapter(source: Path, folder: Path, *, license: str, base: str | None) -> None:
    """Copy its weights, its card, and its settings: these name the student and its commit, but not its location on this machine."""
    found = read_source(source)
    weights = found.adapter / WEIGHTS
    if not weights.is_file():
        raise ArtifactError(f"{found.adapter}: contains no {WEIGHTS}.")
    name, commit = split_commit(base or found.student)
    if base is not None and not re.fullmatch(HUB_ID, name):
        raise ConfigError(f"--base {base}: expected a hub id, such as HuggingFaceTB/SmolLM2-135M-Instruct")
    student = name if base else _public_name(name)
    folder.mkdir()
    (folder / WEIGHTS).symlink_to(weights.resolve())
    settings = json.loads((found.adapter / CONFIG).read_text(encoding="utf-8"))
    settings |= {"base_model_name_or_path": student, "revision": commit}
    (folder / CONFIG).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    card = _state(found.adapter / CARD, student, license)
    (folder / CARD).write_text(card, encoding="utf-8")


def _public_name(student: str) -> str:
    """A hub id. For a file or folder, only its name."""
    return student if is_hub_id(student) else Path(student).name


def _state(path: Path, student: str, license: str) -> str:
    """The card with the student's name and the license. The hub accepts only ids of its own models as base models."""
    from huggingface_hub import ModelCard

    text = path.read_text(encoding="utf-8") if path.is_file() else f"# Adapter\n\nLoRA adapter for {student}.\n"
    card = ModelCard(text, ignore_metadata_errors=True)
    card.data.base_model = student if re.fullmatch(HUB_ID, student) else None
    card.data.library_name = "peft"
    if license != UNKNOWN or not card.data.license:
        card.data.license = license
    return str(card)


def _upload(folder: Path, repo: str, kind: str, *, public: bool) -> Pushed:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    api = HfApi()
    try:
        info = api.repo_info(repo, repo_type=kind)
    except RepositoryNotFoundError:
        api.create_repo(repo, repo_type=kind, private=not public)
        info = api.repo_info(repo, repo_type=kind)
    if not info.private and not public:
        raise ConfigError(f"{repo}: is public. Use --public to push there anyway, or choose another name.")
    commit = api.upload_folder(repo_id=repo, folder_path=folder, repo_type=kind, commit_message="Pushed by pada-agent")
    url = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    return Pushed(url=url, commit=commit.oid, is_private=bool(info.private))


@contextmanager
def _explaining(what: str) -> Iterator[None]:
    """Translates the hub's errors into ours, without the token."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError, LocalTokenNotFoundError

    try:
        yield
    except PadaError:
        raise
    except HFValidationError as exc:
        raise ConfigError(f"{what}: {exc}") from exc
    except LocalTokenNotFoundError as exc:
        raise ConfigError(f"{what}: no token. Set HF_TOKEN, or run: hf auth login") from exc
    except Exception as exc:  # noqa: BLE001  (its HTTP client is another in each version; a cause may repeat the token)
        words = " ".join(Redaction(tuple(filter(None, [get_token()]))).mask(str(exc)).split())[:SHOWN_CHARACTERS]
        raise ArtifactError(f"{what}: {_advise(exc, has_token=bool(get_token()))} The hub said: {words}") from None


def _advise(error: Exception, *, has_token: bool) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403, 404):
        token = "your token may not read or write there" if has_token else "without HF_TOKEN or `hf auth login`"
        return f"not found, or you have no access ({token})."
    return "the hub refused it." if status else "the hub cannot be reached, or what it sent cannot be kept."
