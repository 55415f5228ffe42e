"""What may be meant by the location of rows where there is no file."""

import re
import unicodedata
from contextlib import suppress
from pathlib import Path

from pada_agent.app.adapters.storage.slices import split_slice
from pada_agent.core.setting_texts import NOT_REPLACED, VARIABLE_IN_PATH
from pada_agent.core.suggestions import suggest

_MOST_NAMES = 1000
"""Names in a folder that are compared with the one that is missing."""
_HUB_PAGE = re.compile(r"https?://(?:www\.)?huggingface\.co/datasets/([\w.-]+/[\w.-]+)")
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?::[\w.-]+)?(?:/(\w+(?:\[.*\])?))?")
_FORMATS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".gz")
_QUOTES = "\"'`\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"

_HINTS: tuple[tuple[str, str], ...] = (
    (r"file:/+", "Write the path alone, without file://"),
    (r"https?://", "Addresses are not opened: download the file, and write its path"),
    (r"\w{2,}://", "Only files of this machine and the hub are read: copy the file here, and write its path"),
    (rf".*({VARIABLE_IN_PATH})", NOT_REPLACED),
    (rf"[{_QUOTES}]|.*[{_QUOTES}]$", "The quotes are read as part of the name: leave them out"),
    (r".*\\", "Write the path with / instead of \\"),
    (
        r".*\.\w+\[[^\]]*\]\s*$",
        "A slice is written like [:100], [-50:] or [60%:80%]: only whole numbers and whole percentages, without spaces",
    ),
    (r"\s|.*\s$", "A space is read as part of the name: leave it out, also before a slice"),
    (r".*[*?]|.*\[[^\]]*\]", "Patterns are not expanded: name one file, or join the files into one"),
    (r".*\.\w+\s*[,;]\s*\S", "One file is expected here: join the files into one"),
)
"""What a location looks like, and the way out. The first that fits is told."""


def suggest_location(location: str, path: Path, *, may_look: bool) -> str:
    """What to do instead, as sentences to put behind an error. Empty if nothing is known.

    Args:
        may_look: whether names of other files may be told.
    """
    if page := _HUB_PAGE.match(location):
        return f" Did you mean 'hub:{page[1]}/train'? Otherwise download the file, and write its path."
    if hint := next((hint for pattern, hint in _HINTS if re.match(pattern, location, re.DOTALL)), ""):
        return f" {hint}."
    has_folder = may_look and path.parent != Path() and path.parent.is_dir()
    is_file = split_slice(location)[0].lower().endswith(_FORMATS)
    if (found := _HUB_NAME.fullmatch(location)) and not is_file and not has_folder:
        return f" Did you mean 'hub:{location}{'' if found[1] else '/train'}', or is the folder missing?"
    return suggest(path.name, _list_names(path.parent)) if may_look else ""


def find_other_form(path: Path) -> Path | None:
    """The existing file or folder whose path is the same text in another Unicode form. None if there is none, or several."""
    found = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        with suppress(OSError, ValueError):
            if (found / part).exists():
                found /= part
                continue
        alike = [name for name in _list_names(found, most=None) if _to_nfc(name) == _to_nfc(part)]
        if len(alike) != 1:
            return None
        found /= alike[0]
    return found


def _to_nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _list_names(folder: Path, most: int | None = _MOST_NAMES) -> list[str]:
    names: list[str] = []
    with suppress(OSError, ValueError):
        for entry in folder.iterdir():
            if len(names) == most:
                break
            names.append(entry.name)
    return names
