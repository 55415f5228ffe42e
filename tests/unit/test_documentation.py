"""What the documentation names is there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

import pada_agent
from tools.docs import reference

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
_BLOCK = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CLASS = re.compile(r"`(?:pada_agent\.)?([A-Z]\w*[a-z]\w*)(?:\(.*?\))?`")
CODE = ("agents", "app", "core", "evaluation", "graph", "prompts", "training")
_LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in _FILE.findall(text) if not (ROOT / name).exists() and "NAME" not in name]
    assert missing == []


@cache
def list_classes() -> frozenset[str]:
    """The names of all classes of the package."""
    files = (path for folder in CODE for path in (ROOT / folder).rglob("*.py"))
    bodies = (ast.parse(path.read_text(encoding="utf-8")).body for path in files)
    return frozenset(node.name for body in bodies for node in body if isinstance(node, ast.ClassDef))


def find_hidden(text: str) -> list[str]:
    """Classes of ours that a text names and that cannot be imported from `pada_agent`, unless their line names a file."""
    prose = [line for line in _BLOCK.sub("", text).splitlines() if not _FILE.search(line)]
    named = {name for line in prose for name in _CLASS.findall(line)}
    return sorted(named & list_classes() - set(pada_agent.__all__))


def test_a_class_that_nobody_can_import_is_found() -> None:
    assert find_hidden("Answer `TokenizerJob` and `pada_agent.Draft(x)`, or `Elsewhere`.") == ["Draft"]
    assert find_hidden("`core/records.py` has `Draft`.\n```python\n`Draft`\n```") == []


@pytest.mark.parametrize("page", [p for p in PAGES if "adr" not in p.parts], ids=lambda p: str(p.relative_to(ROOT)))
def test_classes_that_a_page_names_are_public_or_come_with_their_file(page: Path) -> None:
    assert find_hidden(page.read_text(encoding="utf-8")) == []


def test_every_block_that_starts_ray_with_a_token_says_where_the_token_comes_from() -> None:
    blocks = _BLOCK.findall((ROOT / "docs" / "cluster.md").read_text(encoding="utf-8"))
    starting = [block for block in blocks if re.search(r"^(?:ray start|srun ray symmetric-run)", block, re.MULTILINE)]
    assert len(starting) == 4
    for block in starting:
        before = re.split(r"^(?:ray start|srun)", block, maxsplit=1, flags=re.MULTILINE)[0]
        assert "RAY_AUTH_MODE=token" in before and re.search(r"get-auth-token --generate|RAY_AUTH_TOKEN=", before)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = _LINK.findall(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


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
    assert [page for page in pages(nav) if page not in there] == []


def test_generated_pages_are_those_of_the_code() -> None:
    pages = reference.render_pages()
    stale = [name for name, text in pages.items() if (reference.DOCS / name).read_text(encoding="utf-8") != text]
    assert stale == [], "python -m tools.docs.reference writes them again"
