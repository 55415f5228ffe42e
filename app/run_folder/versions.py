"""Which version of pada-agent wrote a run's folder. A file that another version wrote may not fit this one, but is not damaged."""

import json
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import pada_agent
from pada_agent.core.damage import is_no_json, word_damage
from pada_agent.core.errors import ArtifactError

PACKAGE = "pada-agent"
DECIDING = (PACKAGE, "torch", "transformers", "peft", "xllamacpp", "scikit-learn")
"""Packages whose version may change what a run measures."""
REPOSITORY = "https://github.com/pada-agent/pada-agent"


def find_version(package: str) -> str | None:
    """The installed version of a package. None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def find_commit() -> str:
    """The git commit of this program: that of its checkout, or that which pip installed. Empty if it comes without git."""
    root = Path(pada_agent.__file__).parent.parent
    if (root / ".git").exists():
        return _ask_git(root)
    try:
        origin = json.loads(distribution(PACKAGE).read_text("direct_url.json") or "{}")
        return str(origin["vcs_info"]["commit_id"])
    except (PackageNotFoundError, ValueError, LookupError, TypeError):
        return ""


def tell_other(manifest: Path) -> str:
    """That another version wrote the run with this manifest, and what to do. Empty if it was this one, or if nobody can say."""
    found = _read(manifest)
    packages, commit = found.get("packages"), found.get("commit")
    number = packages.get(PACKAGE) if isinstance(packages, dict) else None
    if not found or (number, commit) == (find_version(PACKAGE), find_commit()):
        return ""
    started_at = found.get("started_at")
    theirs = _word(number, commit, f"of a run of {str(started_at)[:10]}" if started_at else "")
    ours = _word(find_version(PACKAGE), find_commit())
    source = f": pip install git+{REPOSITORY}@{commit}" if commit else "."
    report = " Its report.html can be read without it." if (manifest.parent / "report.html").is_file() else ""
    return (
        f"It was written by another version of pada-agent ({theirs}; this is {ours}).{report} Use that version{source}"
    )


def tell_different(manifests: Iterable[Path]) -> str:
    """That runs with these manifests, whose results are compared, were begun with different versions of programs. Empty if they were not, or if
    nobody can say."""
    found: dict[str, list[str]] = {}
    for manifest in map(_read, manifests):
        if not isinstance(packages := manifest.get("packages"), dict):
            continue
        for name in DECIDING:
            if number := packages.get(name):
                found.setdefault(name, []).append(_word(number, manifest.get("commit") if name == PACKAGE else None))
    several = {name: list(dict.fromkeys(words)) for name, words in found.items() if len(set(words)) > 1}
    if not several:
        return ""
    listed = "; ".join(f"{name} {' and '.join(words)}" for name, words in several.items())
    return f"The runs were begun with different versions ({listed}), which may be the reason for a difference."


def refuse_content(path: Path, error: ValueError, *, folder: Path, if_damaged: str) -> ArtifactError:
    """The error for a file of the run in `folder` whose content was refused.

    Args:
        if_damaged: what to do if it is not JSON, or if this version wrote it; sentences.
    """
    if not is_no_json(error) and (other := tell_other(folder / "manifest.json")):
        return ArtifactError(f"{path}: does not fit this version ({word_damage(error)}). {other}")
    return ArtifactError(f"{path}: damaged ({word_damage(error)}). {if_damaged}".rstrip())


def _read(manifest: Path) -> dict[str, Any]:
    """Whatever it says, because it may itself be another version's."""
    try:
        found = json.loads(manifest.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _word(number: object, commit: object, otherwise: str = "") -> str:
    return ", ".join(filter(None, [str(number or "unknown"), f"commit {str(commit)[:12]}" if commit else otherwise]))


def _ask_git(root: Path) -> str:
    try:
        told = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()
