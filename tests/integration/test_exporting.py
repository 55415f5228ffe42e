"""Merged models, read back by the libraries that others use."""

import gc
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import gguf
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationMixin
from typer.testing import CliRunner

from pada_agent.app.cli import app
from pada_agent.app.results import model_export
from pada_agent.app.results.model_export import export_model
from pada_agent.app.run_folder.layout import dump_config
from pada_agent.core.config import RunConfig, StudentConfig
from pada_agent.core.errors import ArtifactError, ConfigError, TrainingError
from pada_agent.core.jobs import ChatSpec, ExportJob, FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.json_lines import to_json_lines
from pada_agent.core.records import Example, Prediction, ScoredRow, Verdict
from pada_agent.training.export import gguf as writing_gguf
from pada_agent.training.export import merged_model as exporting_job
from pada_agent.training.export.merged_model import export
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.predicting import predict
from pada_agent.training.students import Student, load_student, read_gguf
from pada_agent.training.worker import Request, Worker
from tests.tiny_models import TEMPLATE, make_byte_tokenizer, save_gguf_student, save_student
from tests.unit.app.summaries import make_summary

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

CPU = torch.device("cpu")
SERVING = Path(__file__).parents[2] / "docs" / "tutorials" / "serving.md"
ROWS = [Example(id=f"r{i}", prompt=f"Is {i} the even one?", answer="yes" if i % 2 else "no") for i in range(6)]
CHOICES = [row.model_copy(update={"options": ("yes", "no", "maybe")}) for row in ROWS]
OWN_CHAT = ChatSpec()
SPEC = LoraSpec(rank=4, alpha=8, n_steps=8, learning_rate=2e-2, dropout=0.0)


@pytest.fixture(scope="module")
def folder_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), initializer_range=0.2)


@pytest.fixture(scope="module")
def folder_adapter(folder_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(folder_student, tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def gguf_student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gguf_student(tmp_path_factory.mktemp("gguf"), request.param)


@pytest.fixture(scope="module")
def gguf_adapter(gguf_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(gguf_student, tmp_path_factory.mktemp("adapter"))


def train(student: Path, folder: Path, chat: ChatSpec = OWN_CHAT) -> Path:
    folder.mkdir(exist_ok=True)
    job = FineTuneJob(student=str(student), rows="rows", rows_hash="h", lora=SPEC, chat=chat)
    fine_tune(load_student(str(student), CPU), job, ROWS, folder=folder, on_progress=lambda _: None)
    return folder


def write(
    student: Path,
    adapter: Path,
    folder: Path,
    format: Literal["safetensors", "gguf"],
    chat: ChatSpec = OWN_CHAT,
) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    job = ExportJob(student=str(student), adapter=str(adapter), format=format, rows="rows", rows_hash="h", chat=chat)
    rows = [*ROWS, *CHOICES]
    export(load_student(str(student), CPU), job, rows, folder=folder, on_progress=lambda _: None)
    report: dict[str, Any] = json.loads((folder / "export.json").read_text())
    return report


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        result: torch.Tensor = model.eval()(input_ids=torch.arange(40)[None]).logits
    return result


def test_safetensors_give_the_adapters_logits_in_plain_transformers(
    folder_student: Path, folder_adapter: Path, tmp_path: Path
) -> None:
    report = write(folder_student, folder_adapter, tmp_path, "safetensors")
    assert (report["n_rows"], report["n_equal"]) == (12, 12)
    base = AutoModelForCausalLM.from_pretrained(folder_student)
    untouched = logits(base)
    expected = logits(PeftModel.from_pretrained(base, str(folder_adapter)))
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - untouched).abs().max() > 0.1
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template


def test_a_gguf_holds_the_merged_weights_in_the_layout_it_had(
    gguf_student: Path, gguf_adapter: Path, tmp_path: Path
) -> None:
    report = write(gguf_student, gguf_adapter, tmp_path, "gguf")
    assert (report["n_rows"], report["n_equal"]) == (12, 12)
    base, tokenizer = read_gguf(gguf_student)
    untouched = logits(base)
    expected = logits(PeftModel.from_pretrained(base, str(gguf_adapter)))
    found, tokenizer_found = read_gguf(tmp_path / "model.gguf")
    torch.testing.assert_close(logits(found), expected, atol=2e-2, rtol=0)
    assert (expected - untouched).abs().max() > 0.2
    assert tokenizer_found.chat_template == tokenizer.chat_template


def test_a_gguf_keeps_metadata_and_the_tensors_that_were_not_trained(
    gguf_student: Path, gguf_adapter: Path, tmp_path: Path
) -> None:
    write(gguf_student, gguf_adapter, tmp_path, "gguf")
    before, after = gguf.GGUFReader(gguf_student), gguf.GGUFReader(tmp_path / "model.gguf")
    fields = {name: field.contents() for name, field in before.fields.items() if not name.startswith("GGUF.")}
    assert fields == {name: after.fields[name].contents() for name in fields}
    types = {tensor.name: tensor.tensor_type.name for tensor in after.tensors}
    assert [tensor.name for tensor in after.tensors] == [tensor.name for tensor in before.tensors]
    assert types["token_embd.weight"] == types["blk.0.attn_norm.weight"] == "F32"
    assert types["blk.1.attn_q.weight"] == types["blk.0.ffn_down.weight"] == "F16"


def test_an_export_ends_its_turns_and_has_the_template_that_it_learned(folder_student: Path, tmp_path: Path) -> None:
    """A base student: no template, another end of text, and its own way of sampling."""
    base = Path(shutil.copytree(folder_student, tmp_path / "base"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template, tokenizer.eos_token = None, "<|pad|>"
    (base / "chat_template.jinja").unlink()
    tokenizer.save_pretrained(base)
    pad, end = tokenizer.convert_tokens_to_ids(["<|pad|>", "<|end|>"])
    sampled = {"eos_token_id": pad, "temperature": 0.6, "repetition_penalty": 1.3}
    (base / "generation_config.json").write_text(json.dumps(sampled))
    chat = ChatSpec(template=TEMPLATE)
    adapter = train(base, tmp_path / "adapter", chat=chat)
    out = tmp_path / "out"
    assert write(base, adapter, out, "safetensors", chat=chat)["n_equal"] == 12

    found, model = AutoTokenizer.from_pretrained(out), AutoModelForCausalLM.from_pretrained(out)
    assert (found.chat_template, found.eos_token) == (TEMPLATE, "<|end|>")
    assert (model.config.eos_token_id, model.generation_config.eos_token_id) == (end, [end, pad])
    assert (model.generation_config.temperature, model.generation_config.repetition_penalty) == (None, None)


def test_an_export_as_gguf_has_the_template_that_it_learned(tmp_path: Path) -> None:
    student = save_gguf_student(tmp_path)
    chat = ChatSpec(template=TEMPLATE.replace("<|end|>", "<|pad|>"))
    adapter = train(student, tmp_path / "adapter", chat=chat)
    assert write(student, adapter, tmp_path / "out", "gguf", chat=chat)["n_equal"] == 12
    _, tokenizer = read_gguf(tmp_path / "out" / "model.gguf")
    assert (tokenizer.chat_template, tokenizer.eos_token) == (chat.template, "<|pad|>")


@pytest.mark.parametrize(("start", "added"), [("", (False, gguf.GGUFValueType.BOOL)), ("{{ bos_token }}", None)])
def test_llama_cpp_puts_no_token_before_prompts_that_had_none(start: str, added: Any) -> None:
    """TinyLlama's template writes none, and llama.cpp would add one. It leaves one out that the template writes."""
    tokenizer = make_byte_tokenizer(["<s>", "<|end|>"])
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.chat_template = "<s>", "<|end|>", start + TEMPLATE
    assert writing_gguf._list_chat_settings(tokenizer).get(gguf.Keys.Tokenizer.ADD_BOS) == added


def test_an_export_as_gguf_closes_the_thought_that_its_template_opens(tmp_path: Path) -> None:
    student = save_gguf_student(tmp_path)
    chat = ChatSpec(template=TEMPLATE.replace("assistant\n", "assistant\n<think>\n"), system="Be short.")
    adapter = train(student, tmp_path / "adapter", chat=chat)
    report = write(student, adapter, tmp_path / "out", "gguf", chat=chat)
    assert (report["n_equal"], report["other_prompts"]) == (12, "")
    _, tokenizer = read_gguf(tmp_path / "out" / "model.gguf")
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    ) == ("<|start|>system\nBe short.<|end|>\n<|start|>user\nHi<|end|>\n<|start|>assistant\n<think>\n\n</think>\n\n")


LABELS = ("lost card", "fees", "delivery", "other", "refund", "pin code")
MESSAGES = [Example(id=f"m{i}", prompt=f"message {i * 7919}", answer="fees", options=LABELS) for i in range(12)]


@pytest.mark.parametrize(
    "chat",
    [
        ChatSpec(template=TEMPLATE),
        ChatSpec(template=TEMPLATE, system="Be short."),
        ChatSpec(template=TEMPLATE.replace("assistant\n", "assistant\n<think>\n")),
        ChatSpec(
            template=TEMPLATE.replace(
                "{{ m.content", "{{ '<think>\n\n</think>\n\n' * (m.role == 'assistant') }}{{ m.content"
            )
        ),
        ChatSpec(template=TEMPLATE.replace("assistant\n", "assistant")),
    ],
    ids=["plain", "system turn", "opened thought", "empty thought before answers", "line break before answers"],
)
def test_the_classifier_of_the_documentation_answers_as_the_run(
    chat: ChatSpec, folder_student: Path, folder_adapter: Path, tmp_path: Path
) -> None:
    write(folder_student, folder_adapter, tmp_path, "safetensors", chat=chat)
    job = PredictJob(student="s", adapter=str(folder_adapter), rows="rows", rows_hash="h", chat=chat)
    expected = predict(load_student(str(folder_student), CPU), job, MESSAGES, on_progress=lambda _: None)
    code = next(
        part for part in SERVING.read_text().split("```") if part.startswith("python") and "def classify" in part
    )
    names: dict[str, Any] = {}
    code = code.removeprefix("python").replace("    return max(scores", "    return scores, max(scores")
    exec(code.replace('"my-model"', repr(str(tmp_path))), names)
    for row, prediction in zip(MESSAGES, expected, strict=True):
        scores, chosen = names["classify"](row.prompt, LABELS)
        assert list(scores.values()) == pytest.approx(prediction.option_scores, abs=1e-4)
        assert chosen == prediction.response


def test_a_template_that_writes_the_end_of_text_elsewhere_keeps_it(folder_student: Path, tmp_path: Path) -> None:
    chat = ChatSpec(template="{{ eos_token }}" + TEMPLATE.replace("<|end|>", "<|pad|>"))
    adapter = train(folder_student, tmp_path / "adapter", chat=chat)
    assert write(folder_student, adapter, tmp_path / "out", "safetensors", chat=chat)["n_equal"] == 12
    assert AutoTokenizer.from_pretrained(tmp_path / "out").eos_token == "<|end|>"


def test_an_adapter_alone_whose_student_has_no_template_is_told_what_to_export(
    folder_student: Path, folder_adapter: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(folder_student, tmp_path / "base"))
    (base / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match=r"no chat template.*Export the folder of its run instead"):
        write(base, folder_adapter, tmp_path / "out", "safetensors")


def test_a_student_that_is_no_gguf_gives_none_and_the_way_out_is_named(
    folder_student: Path, folder_adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"not a GGUF file.*safetensors.*convert_hf_to_gguf\.py"):
        write(folder_student, folder_adapter, tmp_path, "gguf")


def test_a_written_model_that_answers_otherwise_is_not_kept(
    folder_student: Path, folder_adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting_job, "load_student", lambda *_: load_student(str(folder_student), CPU))
    with pytest.raises(TrainingError, match=r"likelihoods of the adapter.s own answers differ by up to"):
        write(folder_student, folder_adapter, tmp_path, "safetensors")
    assert not (tmp_path / "export.json").exists()


def test_an_adapter_of_another_student_is_refused(gguf_student: Path, folder_adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="was trained on other weights than those of student"):
        write(gguf_student, folder_adapter, tmp_path, "safetensors")


def test_what_is_no_run_and_no_adapter_and_a_folder_in_use_are_named(folder_adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="neither a finished run nor an adapter"):
        export_model(tmp_path, format="safetensors", out=tmp_path / "out", on_event=lambda _: None)
    with pytest.raises(ConfigError, match="already exists"):
        export_model(folder_adapter, format="safetensors", out=folder_adapter, on_event=lambda _: None)


def make_run(folder: Path, student: Path, adapter: Path) -> Path:
    """What a finished run leaves and an export reads."""
    predictions = folder / "iterations" / "untouched" / "predictions"
    predictions.mkdir(parents=True)
    failures = [
        ScoredRow(
            example=row,
            prediction=Prediction(example_id=row.id, response="yes"),
            verdict=Verdict(example_id=row.id, value="wrong"),
        )
        for row in [*ROWS, *CHOICES]
    ]
    (predictions / "validation.jsonl").write_text("".join(f.model_dump_json() + "\n" for f in failures))
    (folder / "config.yaml").write_text(dump_config(RunConfig(student=StudentConfig(model=str(student), system=""))))
    (folder / "summary.json").write_text(make_summary().model_dump_json())
    shutil.copytree(adapter, folder / "best")
    return folder


def test_the_command_exports_a_run_and_says_how_many_of_its_rows_agree(
    folder_student: Path, folder_adapter: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", folder_student, folder_adapter)
    result = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert f"safetensors: {tmp_path / 'out'}" in result.stdout
    assert "Read back: 8 of 8 rows" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_student_with_other_weights_is_refused_unless_it_was_asked_for(
    folder_student: Path, folder_adapter: Path, tmp_path: Path
) -> None:
    """As when the folder of a student was replaced after the run."""
    run = make_run(tmp_path / "run", folder_student, folder_adapter)
    metrics = json.loads((run / "best" / "train_metrics.json").read_text())
    assert metrics["base_sha256"]["model.safetensors"]
    metrics["base_sha256"]["model.safetensors"] = "0" * 64
    (run / "best" / "train_metrics.json").write_text(json.dumps(metrics))
    refused = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "out")])
    assert refused.exit_code == 2 and "was trained on other weights than those of student" in refused.stderr
    assert not (tmp_path / "out").exists()
    asked = ["export", str(run), "--out", str(tmp_path / "out"), "--student", str(folder_student)]
    warned = CliRunner().invoke(app, asked)
    assert warned.exit_code == 0, warned.output
    assert model_export.OTHER_WEIGHTS in warned.stdout


@pytest.mark.parametrize(
    ("trained_on", "found", "same"),
    [
        ({"a": "1"}, {"a": "1", "b": "2"}, True),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, False),
        ({"student.gguf": "1"}, {"model.safetensors": "2"}, False),
        ({}, {"a": "1"}, True),
        ({"a": "1"}, {}, True),
    ],
)
def test_weights_are_compared_file_by_file(trained_on: dict[str, str], found: dict[str, str], same: bool) -> None:
    assert model_export.have_same_weights(trained_on, found) is same


@pytest.mark.parametrize(
    ("base", "known", "is_doubted"),
    [
        ("owner/other", {}, True),
        ("owner/other", {"model.safetensors": "1"}, False),
        ("mirror/Small", {}, False),
        ("/home/other/models/small", {}, False),
    ],
)
def test_an_adapter_that_names_another_student_is_doubted_unless_its_weights_are_known(
    tmp_path: Path, base: str, known: dict[str, str], is_doubted: bool
) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    (tmp_path / "train_metrics.json").write_text(json.dumps({"base_sha256": known}))
    doubt = model_export.doubt_base(tmp_path, "owner/small")
    assert ("names owner/other as its base model, but the student is owner/small" in doubt) is is_doubted is bool(doubt)


def test_an_export_onto_another_student_than_the_adapter_names_says_so(
    folder_student: Path, folder_adapter: Path, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(folder_adapter, adapter)
    (adapter / "train_metrics.json").unlink()
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "owner/other"}))
    asked = ["export", str(adapter), "--out", str(tmp_path / "out"), "--student", str(folder_student)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert (
        f"Warning: the adapter {adapter} names owner/other as its base model, but the student is {folder_student}"
        in result.stdout
    )


@pytest.mark.parametrize("format", ["safetensors", "gguf"])
def test_only_the_written_model_is_in_memory_when_it_is_read_back(
    format: Literal["safetensors", "gguf"],
    gguf_student: Path,
    gguf_adapter: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: list[int] = []
    read_back = exporting_job._read_back

    def read_and_count(*arguments: Any) -> Student:
        found = read_back(*arguments)
        counts.append(count_models())
        return found

    monkeypatch.setattr(exporting_job, "_read_back", read_and_count)
    (tmp_path / "rows.jsonl").write_text(to_json_lines(ROWS))
    job = ExportJob(
        student=str(gguf_student),
        adapter=str(gguf_adapter),
        format=format,
        rows=str(tmp_path / "rows.jsonl"),
        rows_hash="h",
        chat=OWN_CHAT,
    )
    before = count_models()
    Worker(CPU).run(Request(job=job, folder=str(tmp_path / "out")), lambda _: None)
    assert counts == [before + 1]


def count_models() -> int:
    """Number of causal language models in this process."""
    gc.collect()
    return sum(issubclass(type(kept), GenerationMixin) for kept in gc.get_objects())


def test_a_gguf_comes_with_what_llama_cpp_does_otherwise(tmp_path: Path) -> None:
    report = model_export.ExportReport(folder=tmp_path, format="gguf", n_rows=8, n_equal=7)
    assert model_export.describe_export(report).splitlines() == [
        f"gguf: {tmp_path}",
        "Read back: 7 of 8 rows get the same answer as from student and adapter (F16 rounds the weights).",
        model_export.LLAMA_CPP,
    ]
    assert "llama.cpp" not in model_export.describe_export(report.model_copy(update={"format": "safetensors"}))


def test_prompts_that_differ_are_told(tmp_path: Path) -> None:
    report = model_export.ExportReport(
        folder=tmp_path, format="safetensors", n_rows=8, n_equal=8, other_prompts="They differ."
    )
    assert model_export.describe_export(report).splitlines()[2:] == ["They differ."]


def test_a_run_without_result_or_adapter_is_named(folder_student: Path, folder_adapter: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "my run", folder_student, folder_adapter)

    def refuse(words: str) -> None:
        with pytest.raises(ArtifactError, match=words):
            export_model(run, format="safetensors", out=tmp_path / "out", on_event=lambda _: None)

    shutil.move(run / "best", tmp_path / "elsewhere")
    refuse(f"best: missing, although the run's best model is 'iteration 1'.*pada resume '{run}'")
    (run / "summary.json").write_text(make_summary(adapter=None, best_model="untouched").model_dump_json())
    refuse("the untouched student was best, so there is no adapter to merge")
    (run / "summary.json").unlink()
    refuse(f"not finished. Continue it with: pada resume '{run}'")


def test_an_adapter_alone_names_its_student_by_the_gguf_it_was_read_from(
    gguf_student: Path, gguf_adapter: Path
) -> None:
    source = model_export.read_source(gguf_adapter)
    assert source.student == str(gguf_student)
    assert [row.prompt for row in source.rows] == list(model_export.PROMPTS)


def test_the_card_names_the_base_weights(gguf_student: Path, gguf_adapter: Path) -> None:
    metrics = json.loads((gguf_adapter / "train_metrics.json").read_text())
    ((name, sha256),) = metrics["base_sha256"].items()
    assert (name, len(sha256)) == (gguf_student.name, 64)
    assert f"- `{name}`: `{sha256}`" in (gguf_adapter / "README.md").read_text()
