"""A student whose weights are kept in 4 bits (QLoRA)."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, GPT2Config, GPT2LMHeadModel, MixtralConfig

from pada_agent.core.errors import ConfigError, TrainingError
from pada_agent.core.jobs import NEEDS_QLORA, ExportJob, PredictJob, TokenizerJob
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder
from pada_agent.training.fine_tuning import fine_tune
from pada_agent.training.job_checkpoint import JobCheckpoint
from pada_agent.training.quantization import check_4bit
from pada_agent.training.students import Student, draw_model, load_student
from pada_agent.training.worker import Request, Worker
from tests.integration.training.small_student import (
    COLOURS,
    CPU,
    OPEN_ROWS,
    ROWS,
    SPEC,
    answer,
    assert_same_weights,
    copy_weights,
    make_job,
    read_metrics,
    read_predictions,
    train,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:bitsandbytes"),
]
ADAPTER = "adapter_model.safetensors"
LONG = SPEC.model_copy(update={"n_steps": 30})


@pytest.fixture
def small(student_folder: Path) -> Student:
    """The small student in 4 bits; skips without the extra."""
    pytest.importorskip("bitsandbytes", reason="needs the extra pada-agent[qlora]")
    return load_student(str(student_folder), CPU, "4bit")


def list_4bit(model: Any) -> list[Any]:
    return [layer for layer in model.modules() if type(layer).__name__ == "Linear4bit"]


def test_without_bitsandbytes_the_extra_is_named(student_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError) as caught:
        load_student(str(student_folder), CPU, "4bit")
    assert str(caught.value) == NEEDS_QLORA
    job = TokenizerJob(student=str(student_folder), load_in="4bit")
    with pytest.raises(ConfigError, match=r"pada-agent\[qlora\]"):
        Worker(CPU).run(Request(job=job, folder=str(student_folder.parent / "facts")), lambda _: None)


def test_all_layers_but_the_output_are_in_nf4_with_double_quantization(small: Student) -> None:
    layers = list_4bit(small.model)
    assert len(layers) == 2 * 7
    assert {(layer.weight.quant_type, layer.weight.quant_state.nested) for layer in layers} == {("nf4", True)}
    assert {layer.compute_dtype for layer in layers} == {torch.float32}
    assert small.is_in_4bit
    assert not any(p.requires_grad for p in small.model.parameters())


def test_it_learns_and_answers_with_the_adapter_beside_unchanged_weights(small: Student, tmp_path: Path) -> None:
    before = copy_weights(small)
    folder = train(small, tmp_path / "adapter", ROWS, lora=LONG)
    losses = read_metrics(folder)["losses"]
    assert losses[-1] < losses[0] - 2
    untouched = answer(small, tmp_path / "before", ROWS)
    fine_tuned = answer(small, tmp_path / "after", ROWS, adapter=str(folder))
    assert_same_weights(small, before)
    for one, other, row in zip(untouched, fine_tuned, ROWS, strict=True):
        gold = COLOURS.index(row.answer)
        assert other.option_scores[gold] > one.option_scores[gold] + 0.1
    assert answer(small, tmp_path / "again", ROWS) == untouched
    assert "kept in 4 bits" in (folder / "README.md").read_text()


def test_losses_equal_those_of_transformers_peft_and_bitsandbytes(
    small: Student, student_folder: Path, tmp_path: Path
) -> None:
    spec = SPEC.model_copy(update={"n_steps": 4, "warmup_ratio": 0.0, "scheduler": "constant", "batch_size": 9})
    losses = read_metrics(train(small, tmp_path / "ours", lora=spec))["losses"]

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    plain = AutoModelForCausalLM.from_pretrained(
        student_folder, dtype=torch.float32, quantization_config=config, device_map={"": "cpu"}
    )
    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    plain = get_peft_model(plain, lora).train()
    optimizer = torch.optim.AdamW((p for p in plain.parameters() if p.requires_grad), lr=1e-2, weight_decay=0.0)
    rows = [ChatEncoder(small.tokenizer).training_row(row, spec) for row in OPEN_ROWS]
    n_targets = sum(label != IGNORE_INDEX for row in rows for label in row.labels)
    expected = []
    for _ in range(4):
        loss = torch.zeros(())
        for row in rows:
            out = plain(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels]))
            loss = loss + out.loss * sum(label != IGNORE_INDEX for label in row.labels) / n_targets
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        expected.append(loss.item())
    assert losses == pytest.approx(expected, abs=1e-4)


def test_an_evaluation_before_a_fine_tuning_changes_no_byte_of_it(small: Student, tmp_path: Path) -> None:
    """bitsandbytes would lay the weights out anew, and then give no gradients, on CPUs with AVX512-BF16."""
    first = train(small, tmp_path / "first", ROWS)
    answer(small, tmp_path / "answers", ROWS)
    second = train(small, tmp_path / "second", ROWS)
    assert (second / ADAPTER).read_bytes() == (first / ADAPTER).read_bytes()


def test_a_lost_fine_tuning_continues_with_the_same_bytes(small: Student, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"dropout": 0.2, "gradient_checkpointing": True})
    whole = train(small, tmp_path / "whole", lora=spec)
    checkpoint = JobCheckpoint(tmp_path / "kept", seconds=0)

    def lose(progress: Any) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    for name, on_progress in (("lost", lose), ("again", lambda _: None)):
        (tmp_path / name).mkdir()
        try:
            fine_tune(
                small,
                make_job(lora=spec),
                OPEN_ROWS,
                folder=tmp_path / name,
                on_progress=on_progress,
                checkpoint=checkpoint,
            )
        except KeyboardInterrupt:
            assert name == "lost"
    assert (tmp_path / "again" / ADAPTER).read_bytes() == (whole / ADAPTER).read_bytes()


def test_the_worker_evaluates_unmerged_and_exports_in_full_precision(
    small: Student, student_folder: Path, folder: Path, tmp_path: Path
) -> None:
    adapter = train(small, tmp_path / "adapter", ROWS, lora=LONG)
    serving = Worker(CPU, checkpoint_minutes=0)
    stages: list[str] = []
    name, rows = str(student_folder), str(folder / "rows.jsonl")

    def run(job: Any, to: str) -> Path:
        serving.run(Request(job=job, folder=str(tmp_path / to)), lambda p: stages.append(p.stage))
        return tmp_path / to

    asked = PredictJob(student=name, adapter=str(adapter), load_in="4bit", rows=rows, rows_hash="h")
    answers = read_predictions(run(asked, "a"))
    assert answers == answer(small, tmp_path / "expected", ROWS, adapter=str(adapter))
    assert read_predictions(run(asked, "b")) == answers
    assert stages.count("load") == 2  # once: before and after
    full = read_predictions(run(asked.model_copy(update={"load_in": None}), "c"))
    assert stages.count("load") == 4
    assert full != answers
    job = ExportJob(
        student=name, adapter=str(adapter), format="safetensors", rows=rows, rows_hash="h", max_new_tokens=4
    )
    report = json.loads((run(job, "out") / "export.json").read_text())
    assert report["n_equal"] == report["n_rows"] == len(ROWS)
    written = load_student(str(tmp_path / "out"), CPU)
    assert answer(written, tmp_path / "d", ROWS)[0].option_scores == pytest.approx(full[0].option_scores, abs=1e-4)


@pytest.mark.parametrize("writes", [False, True], ids=["chooses", "writes"])
def test_answers_equal_those_of_each_row_alone(small: Student, tmp_path: Path, writes: bool) -> None:
    rows = OPEN_ROWS if writes else ROWS
    adapter = train(small, tmp_path / "adapter", rows, lora=LONG)
    together = answer(small, tmp_path / "together", rows, adapter=str(adapter))
    for i, row in enumerate(rows):
        (alone,) = answer(small, tmp_path / f"alone{i}", [row], adapter=str(adapter))
        assert alone.response == together[i].response


def test_students_that_would_stay_as_they_are_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra pada-agent[qlora]")
    mixture = MixtralConfig(
        vocab_size=32, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_local_experts=2
    )
    mixture.save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match=r"student\.load_in: 4bit would leave the experts .* 'mixtral'"):
        check_4bit(draw_model(str(tmp_path)), "mix", CPU)
    with torch.device("meta"):
        check_4bit(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=32, n_head=2)), "gpt2", CPU)
        bare = GPT2LMHeadModel(GPT2Config(n_layer=0, n_embd=32, n_head=2))
    with pytest.raises(TrainingError, match="would leave its layers"):
        check_4bit(bare, "bare", CPU)


def test_a_device_that_bitsandbytes_does_not_work_on_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    functional = pytest.importorskip("bitsandbytes.functional", reason="needs the extra pada-agent[qlora]")

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr(functional, "quantize_4bit", refuse)
    with pytest.raises(ConfigError, match=r"bitsandbytes does not work on this cpu device \(no kernel image"):
        check_4bit(None, "s", CPU)
