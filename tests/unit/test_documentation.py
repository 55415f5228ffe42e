"""What the documentation names is there."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *(p for p in (ROOT / "docs").rglob("*.md") if "results" not in p.parts),
]
_FILE = re.compile(
    r"`((?:core|prompts|evaluation|agents|graph|training|app|tools|benchmarks|configs|examples|tests|docs)/[\w./-]*)`"
)
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in _FILE.findall(text) if not (ROOT / name).exists() and "NAME" not in name]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    made = {"reference"}  # written when the site is built
    missing = [t for t in targets if not (page.parent / t).exists() and not made & set(Path(t).parts)]
    assert missing == []


def test_every_command_in_the_readme_is_one_that_there_is() -> None:
    from typer.main import get_command

    from pada_agent.app.cli import app

    commands = getattr(get_command(app), "commands")  # noqa: B009 - typer's own class has no such attribute for mypy
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"^pada (\w+)", readme, re.MULTILINE))
    assert used and used <= set(commands)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in re.findall(r"make (\w+)", readme))


def test_every_page_of_the_site_is_there() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text[text.index("\nnav:") :])["nav"]

    def pages(entry: object) -> list[str]:
        if isinstance(entry, dict):
            return [page for value in entry.values() for page in pages(value)]
        return [page for item in entry for page in pages(item)] if isinstance(entry, list) else [str(entry)]

    there = {str(path.relative_to(ROOT / "docs").with_suffix(".md")) for path in (ROOT / "docs").rglob("*.ipynb")}
    there |= {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert [page for page in pages(nav) if page not in there and not page.startswith("reference/")] == []
