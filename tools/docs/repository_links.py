"""Hook of the documentation site: links that leave docs/ are pointed to the file in the repository, which must exist."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(?<=\]\()(?P<target>\.\.?/[^)#\s]*)(?P<anchor>#[^)\s]*)?(?=\))")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Called by mkdocs for every page.

    Raises:
        ValueError: a link leads to a file that does not exist. This ends the build.
    """
    del files
    docs = Path(config.docs_dir).resolve()
    source = docs / page.file.src_uri

    def lead_outside(match: re.Match[str]) -> str:
        target = (source.parent / match["target"]).resolve()
        if target.is_relative_to(docs):
            return str(match[0])
        if not target.exists():
            raise ValueError(f"{source.relative_to(ROOT)}: link to {match['target']}, which does not exist")
        kind = "tree" if target.is_dir() else "blob"
        return f"{config.repo_url.rstrip('/')}/{kind}/main/{target.relative_to(ROOT)}{match['anchor'] or ''}"

    return _LINK.sub(lead_outside, markdown)


def on_pre_build(config: Any) -> None:
    """Reference pages are generated from the code at every build."""
    from tools.docs.reference import write_pages

    del config
    write_pages()
