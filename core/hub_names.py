"""Names of models on the hub: `owner/name`, or `owner/name@commit` for one that is pinned."""

import re
from pathlib import Path
from typing import NamedTuple

HUB_ID = r"\w[\w.-]*/\w[\w.-]*"
"""What `owner/name` looks like."""
_FORMS = re.compile(r"(\.gguf)?-fp32$|\.gguf$|(-unsloth)?-bnb-4bit$")
"""Endings that say how the weights of a model are stored."""
_PINNED = re.compile(rf"(?P<name>{HUB_ID})@(?P<commit>[\w./-]+)")


class PinnedName(NamedTuple):
    """A name that `from_pretrained` takes, and the commit to take."""

    name: str
    commit: str | None
    """Branch, tag or commit. None for a path, and for a hub model that is not pinned."""


def split_commit(model: str) -> PinnedName:
    """Takes `owner/name@commit` apart. A path, and any other name, stays whole."""
    found = None if Path(model).exists() else _PINNED.fullmatch(model)
    return PinnedName(found["name"], found["commit"]) if found else PinnedName(model, None)


def join_commit(name: str, commit: str | None) -> str:
    """The opposite of `split_commit`. Only hub models have commits."""
    return f"{name}@{commit}" if commit and is_hub_id(name) else name


def are_alike(one: str, other: str) -> bool:
    """Whether two names may mean the same model: hub ids of two owners, or a hub id and a path, that end in the same name."""
    return _take_last(one) == _take_last(other)


def _take_last(name: str) -> str:
    """The name without owner, folder, commit and case; in the hub's cache, the folder above the snapshots has it."""
    cached = re.search(r"models--[^/]*?--([^/]+)/snapshots/", name)
    last = cached[1] if cached else Path(split_commit(name).name).name
    return _FORMS.sub("", last.lower())


def is_commit(revision: str | None) -> bool:
    """Whether this is a whole commit hash, which always means the same files, and no branch or tag."""
    return re.fullmatch("[0-9a-f]{40}", revision or "") is not None


def is_hub_id(name: str) -> bool:
    """Whether this is the plain name of a hub model, and not a path."""
    return re.fullmatch(HUB_ID, name) is not None and not Path(name).exists()
