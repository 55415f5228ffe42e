"""Merged models, read back by the libraries that others use."""

import json
import shutil
from pathlib import Path

import gguf
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from pada_agent.app.cli import app
from pada_agent.app.exporting import ExportReport, export_model
from pada_agent.core.errors import ArtifactError, ConfigError, TrainingError
from pada_agent.core.ports import FineTuneJob, LoraSpec
from pada_agent.core.records import Example
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.students import hash_weights, load_student, read_gguf
from tests.tiny_models import save_gguf_student, save_student

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

CPU = torch.device("cpu")
ROWS = [Example(id=f"r{i}", prompt=f"Is {i} the even one?", answer="yes" if i % 2 else "no") for i in range(6)]
SPEC = LoraSpec(rank=4, alpha=8, n_steps=8, learning_rate=2e-2, dropout=0.0)


@pytest.fixture(scope="module")
def folder_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), initializer_range=0.2)


@pytest.fixture(scope="module")
def gguf_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gguf_student(tmp_path_factory.mktemp("gguf"))


def train(student: Path, folder: Path) -> Path:
    job = FineTuneJob(student=str(student), rows="rows", rows_hash="h", lora=SPEC)
    folder.mkdir()
    fine_tune(load_student(str(student), CPU), job, ROWS, folder=folder, on_progress=lambda _: None)
    return folder


def export(source: Path, out: Path, format: str = "safetensors", **options: str) -> ExportReport:
    return export_model(source, format=format, out=out, on_event=lambda _: None, **options)  # type: ignore[arg-type]


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model(input_ids=torch.arange(40)[None]).logits
    return result


def test_safetensors_give_the_adapters_logits_in_plain_transformers(folder_student: Path, tmp_path: Path) -> None:
    adapter = train(folder_student, tmp_path / "adapter")
    report = export(adapter, tmp_path / "out")
    assert (report.n_rows, report.n_equal) == (4, 4)
    base = AutoModelForCausalLM.from_pretrained(folder_student)
    untouched = logits(base)
    expected = logits(PeftModel.from_pretrained(base, str(adapter)).eval())
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - untouched).abs().max() > 0.1
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapter", "out"]


def test_a_gguf_holds_the_merged_weights_in_the_layout_it_had(gguf_student: Path, tmp_path: Path) -> None:
    adapter = train(gguf_student, tmp_path / "adapter")
    report = export(adapter, tmp_path / "out", "gguf")
    assert (report.n_rows, report.n_equal) == (4, 4)
    base, _ = read_gguf(gguf_student)
    untouched = logits(base.eval())
    expected = logits(PeftModel.from_pretrained(base, str(adapter)).eval())
    found, tokenizer = read_gguf(tmp_path / "out" / "model.gguf")
    torch.testing.assert_close(logits(found.eval()), expected, atol=2e-2, rtol=0)
    assert (expected - untouched).abs().max() > 0.2
    assert tokenizer.chat_template == read_gguf(gguf_student)[1].chat_template


def test_a_gguf_keeps_metadata_and_the_tensors_that_were_not_trained(gguf_student: Path, tmp_path: Path) -> None:
    export(train(gguf_student, tmp_path / "adapter"), tmp_path / "out", "gguf")
    before, after = gguf.GGUFReader(gguf_student), gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    fields = {name: field.contents() for name, field in before.fields.items() if not name.startswith("GGUF.")}
    assert fields == {name: after.fields[name].contents() for name in fields}
    types = {tensor.name: tensor.tensor_type.name for tensor in after.tensors}
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
    assert types["token_embd.weight"] == types["blk.0.attn_norm.weight"] == "F32"
    assert types["blk.1.attn_q.weight"] == types["blk.0.ffn_down.weight"] == "F16"


def test_a_student_that_is_no_gguf_gives_none_and_the_way_out_is_named(folder_student: Path, tmp_path: Path) -> None:
    adapter = train(folder_student, tmp_path / "adapter")
    with pytest.raises(TrainingError, match=r"no GGUF file.*safetensors.*convert_hf_to_gguf\.py"):
        export(adapter, tmp_path / "out", "gguf")
    assert [p.name for p in tmp_path.iterdir()] == ["adapter"]


def test_what_cannot_be_exported_is_named(folder_student: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="neither a finished run nor an adapter"):
        export(tmp_path, tmp_path / "out")
    adapter = train(folder_student, tmp_path / "adapter")
    with pytest.raises(ConfigError, match="exists already"):
        export(adapter, adapter)
    with pytest.raises(TrainingError, match="does not load on student"):
        export(adapter, tmp_path / "out", student=str(save_student(tmp_path / "other", hidden_size=24)))


def test_the_command_says_where_and_how_many_rows_agree(folder_student: Path, tmp_path: Path) -> None:
    adapter = train(folder_student, tmp_path / "adapter")
    result = CliRunner().invoke(app, ["export", str(adapter), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert f"safetensors: {tmp_path / 'out'}" in result.stdout
    assert "Read back: 4 of 4 rows" in result.stdout


def test_the_card_names_the_base_weights(gguf_student: Path, tmp_path: Path) -> None:
    adapter = train(gguf_student, tmp_path / "adapter")
    (sha256,) = hash_weights((gguf_student,)).values()
    assert f"- `tiny.gguf`: `{sha256}`" in (adapter / "README.md").read_text()
    assert json.loads((adapter / "train_metrics.json").read_text())["base_sha256"] == {"tiny.gguf": sha256}
    changed = shutil.copy(gguf_student, tmp_path / "tiny.gguf")
    with Path(changed).open("ab") as file:
        file.write(b"x")
    assert hash_weights((Path(changed),)) != {"tiny.gguf": sha256}
