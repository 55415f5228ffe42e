"""Hook of the documentation site: notebooks become pages, with their code as it is stored and a link to the file."""

import json
import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<=\]\()(?P<target>[^):\s]+)\.ipynb(?=[)#])")


def on_files(files: Any, *, config: Any) -> Any:
    """Called once by mkdocs: replaces each `.ipynb` with a page of the same name."""
    from mkdocs.structure.files import File

    for file in [found for found in files if found.src_uri.endswith(".ipynb")]:
        text = render_notebook(Path(file.abs_src_path), f"{config.repo_url}/blob/main/docs/{file.src_uri}")
        files.remove(file)
        files.append(File.generated(config, file.src_uri.removesuffix("ipynb") + "md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for every page: makes links to notebooks lead to their pages."""
    return _LINK.sub(r"\g<target>.md", markdown)


def render_notebook(path: Path, address: str) -> str:
    """The cells as Markdown; commands (`!pada …`) as a terminal shows them."""
    cells = [_render_cell(cell) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    note = f"*This page is a notebook: [{path.name}]({address}).*"
    return "\n\n".join([cells[0], note, *cells[1:]]) + "\n"


def _render_cell(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return text
    if text.startswith("!"):
        return f"```sh\n{text.removeprefix('!')}\n```"
    return f"```python\n{text}\n```"
