"""Which commit of a hub model a run works with: the one that it began with, even if its repository changes meanwhile."""

from pathlib import Path

from pada_agent.core.errors import ConfigError
from pada_agent.core.hub_revisions import COMMIT, check_revision
from pada_agent.core.ports import ArtifactStore

SECONDS_TO_ANSWER = 10


def pin_commit(model: str, revision: str | None, store: ArtifactStore) -> str:
    """`owner/name@commit` for a hub model, from the store if the run has looked it up before; any other model unchanged.

    Without a network, the commit is the one that was downloaded last. A model that is neither on the hub nor downloaded is returned
    unchanged: loading it explains what is wrong.

    Args:
        revision: branch, tag or commit. None is the main branch.

    Raises:
        ConfigError: the repository has no such revision, it cannot be the name of one, or a revision is given for a model that is not from the hub.
    """
    if Path(model).exists() or "/" not in model:
        if revision:
            raise ConfigError(
                f"student.revision: {model} is not a hub model, so it has no revisions. Remove the setting."
            )
        return model
    try:
        check_revision(revision or "main")
    except ValueError as exc:
        raise ConfigError(f"student.revision: {exc}") from exc
    key = store.key("hub-commit", model, revision)
    if store.has(key):
        return f"{model}@{store.read_json(key)['commit']}"
    commit = _ask_hub(model, revision) or _find_downloaded(model, revision)
    if commit is None:
        return model
    store.write_json(key, {"model": model, "revision": revision, "commit": commit})
    return f"{model}@{commit}"


def _ask_hub(model: str, revision: str | None) -> str | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        commit: str | None = HfApi().model_info(model, revision=revision, timeout=SECONDS_TO_ANSWER).sha
    except RevisionNotFoundError as exc:
        raise ConfigError(f"student.revision: {model} has no branch, tag or commit {revision!r} on the hub.") from exc
    except Exception:  # noqa: BLE001  (its HTTP client is another in each version; what is wrong is explained when the model is loaded)
        return None
    return commit


def _find_downloaded(model: str, revision: str | None) -> str | None:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
    if revision and COMMIT.fullmatch(revision) and (folder / "snapshots" / revision).is_dir():
        return revision
    reference = folder / "refs" / (revision or "main")
    found = reference.read_text(encoding="utf-8", errors="replace").strip() if reference.is_file() else ""
    return found if COMMIT.fullmatch(found) else None
