"""Code that an embedder's folder brings along is never run."""

import json
from pathlib import Path

import pytest

from pada_agent.app.adapters.embedder import SentenceEmbedder
from pada_agent.core.errors import ArtifactError
from tests.tiny_models import save_embedder

pytestmark = pytest.mark.filterwarnings("ignore")


def test_an_embedder_that_names_code_of_its_own_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    folder, ran = save_embedder(tmp_path), tmp_path / "ran"
    assert len(SentenceEmbedder(str(folder)).embed(["Is it open?"])[0]) == 16
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\nfrom torch import nn\nclass Own(nn.Module): ...\n")
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "", "type": "own.Own"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ArtifactError, match=r"needs code of its own.* Set models\.embedder"):
        SentenceEmbedder(str(folder)).embed(["Is it open?"])
    assert not ran.exists()
