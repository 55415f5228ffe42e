"""The student's side, for real: a Llama of a few thousand parameters with a byte tokenizer, made in memory."""

import gc
import json
import os
import signal
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pada_agent.app.adapters.compute.local_compute import LocalCompute
from pada_agent.core.errors import ConfigError, DatasetError, NonFiniteLossError, TrainingError
from pada_agent.core.jobs import FineTuneJob, LoraSpec, PredictJob
from pada_agent.core.records import Example, Prediction, Turn
from pada_agent.training import fine_tuning
from pada_agent.training.encoding import IGNORE_INDEX, ChatEncoder, Encoded, join
from pada_agent.training.fine_tuning import attach_lora, backward, draw_batches, fine_tune, learning_rate_factor
from pada_agent.training.kernels import lora_linear, tree_attention
from pada_agent.training.kernels.graphed_backward import RecordedBackward, round_up
from pada_agent.training.kernels.prefix_tree import pack, target_logprobs
from pada_agent.training.predicting import predict
from pada_agent.training.scoring import score_options
from pada_agent.training.students import Student, load_student
from tests.tiny_models import pad

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

CPU = torch.device("cpu")
TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|start|>system\nBe kind.<|end|>\n{% endif %}"
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SPEC = LoraSpec(rank=4, alpha=8, dropout=0.0, n_steps=6, batch_size=4, learning_rate=1e-2)
COLOURS = ("red", "green", "light green", "blue")
ROWS = [
    Example(id=f"r{i}", prompt=f"Which colour is {'the ' * (i % 3)}thing {i}?", answer=COLOURS[i % 4], options=COLOURS)
    for i in range(9)
]
OPEN_ROWS = [row.model_copy(update={"options": ()}) for row in ROWS]


@pytest.fixture(scope="module")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("student")
    make_tokenizer().save_pretrained(folder)
    make_model().save_pretrained(folder)
    return folder


@pytest.fixture
def student(student_folder: Path) -> Student:
    return load_student(str(student_folder), CPU)


@pytest.fixture
def encoder(student: Student) -> ChatEncoder:
    return ChatEncoder(student.tokenizer)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads wait for each other longer than these matrices take."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def adapter(student_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained until the student ends its answers."""
    student = load_student(str(student_folder), CPU)
    return train(student, tmp_path_factory.mktemp("adapter"), lora=SPEC.model_copy(update={"n_steps": 60, "rank": 8}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows for the worker."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "rows.jsonl").write_text("".join(row.model_dump_json() + "\n" for row in ROWS))
    return folder


@pytest.fixture(scope="module")
def compute(folder: Path) -> Iterator[LocalCompute]:
    compute = LocalCompute(folder / "objects", folder / "worker.log", device="cpu", threads=1)
    yield compute
    compute.close()


def make_tokenizer() -> Any:
    """One token a byte, and four special ones."""
    specials = ["<|pad|>", "<|start|>", "<|end|>", "<|eos|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(specials + alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|eos|>", additional_special_tokens=specials[1:3]
    )
    fast.chat_template = TEMPLATE
    return fast


def make_model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=3,
        pad_token_id=0,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def make_job(**changes: Any) -> FineTuneJob:
    return FineTuneJob(student="s", rows="rows.jsonl", rows_hash="h", **{"lora": SPEC, **changes})


def train(student: Student, folder: Path, examples: Sequence[Example] = OPEN_ROWS, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    fine_tune(student, make_job(**changes), examples, folder=folder, on_progress=lambda _: None)
    return folder


def answer(student: Student, folder: Path, examples: Sequence[Example], **changes: Any) -> list[Prediction]:
    folder.mkdir(parents=True, exist_ok=True)
    job = PredictJob(student="s", rows="rows.jsonl", rows_hash="h", **{"max_new_tokens": 12, **changes})
    predict(student, job, examples, folder=folder, on_progress=lambda _: None)
    return read_predictions(folder)


def read_predictions(folder: Path) -> list[Prediction]:
    lines = (folder / "predictions.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    return [Prediction.model_validate_json(line) for line in lines]


def read_metrics(folder: Path) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "train_metrics.json").read_text())
    return metrics


def copy_weights(student: Student) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in student.model.state_dict().items()}


def assert_same_weights(student: Student, before: dict[str, torch.Tensor]) -> None:
    after = student.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def logprobs_alone(model: Any, row: Encoded) -> torch.Tensor:
    """Log-probability of each label, from a plain forward pass over this sequence only."""
    logits: torch.Tensor = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1].log_softmax(-1)
    labels = torch.tensor(row.labels[1:])
    kept = labels != IGNORE_INDEX
    return torch.gather(logits[kept], 1, labels[kept, None])[:, 0]


def restore_pefts_forward(adapted: Any) -> None:
    for module in adapted.modules():
        vars(module).pop("forward", None)


def count_calls(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with every call."""
    calls: list[str] = []
    original = getattr(module, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls


class TestEncoding:
    def test_only_the_answer_and_its_end_of_turn_are_learned(self, encoder: ChatEncoder, student: Student) -> None:
        row = encoder.training_row(ROWS[0], SPEC)
        learned = [label for label in row.labels if label != IGNORE_INDEX]
        assert student.tokenizer.decode(row.input_ids) == (
            "<|start|>system\nBe kind.<|end|>\n<|start|>user\nWhich colour is thing 0?<|end|>\n<|start|>assistant\nred<|end|>"
        )
        assert student.tokenizer.decode(learned) == "red<|end|>"
        assert row.labels[-len(learned) :] == row.input_ids[-len(learned) :]

    @pytest.mark.parametrize(
        ("system", "start"),
        [
            (None, "<|start|>system\nBe kind.<|end|>\n<|start|>user"),
            ("", "<|start|>system\n<|end|>\n<|start|>user"),
            ("Count.", "<|start|>system\nCount.<|end|>\n<|start|>user"),
        ],
    )
    def test_the_system_turn_is_the_default_the_shortest_or_the_given_one(
        self, student: Student, system: str | None, start: str
    ) -> None:
        prompt = ChatEncoder(student.tokenizer, system).prompt(ROWS[0])
        assert student.tokenizer.decode(prompt).startswith(start)

    def test_earlier_turns_and_the_rows_own_system_turn_are_seen_and_not_learned(self, student: Student) -> None:
        history = (Turn(role="user", content="Hi."), Turn(role="assistant", content="Yes?"))
        row = ROWS[0].model_copy(update={"system": "Be brief.", "history": history})
        encoder = ChatEncoder(student.tokenizer, "Count.")
        encoded = encoder.training_row(row, SPEC)
        assert student.tokenizer.decode(encoded.input_ids) == (
            "<|start|>system\nBe brief.<|end|>\n<|start|>user\nHi.<|end|>\n<|start|>assistant\nYes?<|end|>\n"
            "<|start|>user\nWhich colour is thing 0?<|end|>\n<|start|>assistant\nred<|end|>"
        )
        learned = [label for label in encoded.labels if label != IGNORE_INDEX]
        assert student.tokenizer.decode(learned) == "red<|end|>"
        assert encoded.input_ids[: len(encoder.prompt(row))] == encoder.prompt(row)
        assert encoder.answers(row, ("red", "blue"))[0] == learned[:-1]

    def test_a_long_row_is_refused_by_name(self, encoder: ChatEncoder) -> None:
        with pytest.raises(DatasetError, match=r"row 'r3' has 6\d prompt and 5 answer tokens, lora.max_length is 20"):
            encoder.training_row(ROWS[3], SPEC.model_copy(update={"max_length": 20}))

    @pytest.mark.parametrize("max_length", [6, 20, 60])
    def test_truncation_cuts_the_prompt_from_the_left_and_never_the_answer(
        self, encoder: ChatEncoder, max_length: int
    ) -> None:
        whole = encoder.training_row(ROWS[3], SPEC)
        cut = encoder.training_row(
            ROWS[3], SPEC.model_copy(update={"max_length": max_length, "on_too_long": "truncate"})
        )
        assert cut.input_ids == whole.input_ids[-max_length:]
        assert cut.labels == whole.labels[-max_length:]
        assert cut.labels[-5:] == cut.input_ids[-5:]
        assert cut.n_cut == len(whole.input_ids) - len(cut.input_ids)

    def test_an_empty_answer_is_refused_by_name(self, encoder: ChatEncoder) -> None:
        with pytest.raises(DatasetError, match="row 'r1' has an empty answer"):
            encoder.training_row(ROWS[1].model_copy(update={"answer": " "}), SPEC)

    def test_an_answer_that_does_not_fit_is_refused_even_when_truncating(self, encoder: ChatEncoder) -> None:
        with pytest.raises(DatasetError, match="'r3'"):
            encoder.training_row(ROWS[3], SPEC.model_copy(update={"max_length": 5, "on_too_long": "truncate"}))

    def test_a_tokenizer_without_chat_template_is_refused(self) -> None:
        tokenizer = make_tokenizer()
        tokenizer.chat_template = None
        with pytest.raises(ConfigError, match="no chat template"):
            ChatEncoder(tokenizer)

    def test_a_template_without_system_turn_is_used_without_one_or_refused(self) -> None:
        tokenizer = make_tokenizer()
        refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        tokenizer.chat_template = refuse + "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"
        assert tokenizer.decode(ChatEncoder(tokenizer, "").prompt(ROWS[0])) == f"{ROWS[0].prompt}<|end|>"
        with pytest.raises(TrainingError, match="takes no system turn"):
            ChatEncoder(tokenizer, "Count.").prompt(ROWS[0])


class TestPacking:
    @pytest.mark.parametrize("max_nodes", [1, 100, 10_000])
    def test_packed_logprobs_equal_those_of_each_sequence_alone(
        self, student: Student, encoder: ChatEncoder, max_nodes: int
    ) -> None:
        rows = [join(encoder.prompt(row), tokens) for row in ROWS for tokens in encoder.answers(row, row.options)]
        got: list[list[float]] = [[] for _ in rows]
        with torch.inference_mode():
            for part in pack(rows, max_nodes, CPU):
                for owner, value in zip(
                    part.owners.tolist(), target_logprobs(student.model, part).tolist(), strict=True
                ):
                    got[owner].append(value)
            for row, values in zip(rows, got, strict=True):
                torch.testing.assert_close(torch.tensor(values), logprobs_alone(student.model, row), atol=1e-4, rtol=0)

    def test_shared_prefixes_are_computed_once(self) -> None:
        rows = [join([1, 2, 3], [4, 5]), join([1, 2, 3], [4, 6]), join([1, 2], [7])]
        (part,) = pack(rows, 100, CPU)
        assert part.token_ids.tolist() == [1, 2, 3, 4]
        assert part.depths.tolist() == [0, 1, 2, 3]
        parents = part.readers[part.which]
        assert sorted(zip(part.owners.tolist(), parents.tolist(), part.targets.tolist(), strict=True)) == [
            (0, 2, 4), (0, 3, 5), (1, 2, 4), (1, 3, 6), (2, 1, 7),
        ]  # fmt: skip


class TestBranchAttention:
    ROWS = (
        join(list(range(3, 43)), list(range(43, 60))),
        join(list(range(3, 8)), list(range(90, 130))),  # a few ancestors
        join(list(range(3, 41)), [200, 201, 202]),  # many ancestors
        join(list(range(3, 20)), [20, 21]),  # nothing new
        join(list(range(150, 170)), list(range(170, 180))),  # no ancestors
    )

    def measure(self, model: Any, rows: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor]:
        """(M,) log-probabilities, and the gradient of a sum of theirs, each with another weight, at the embeddings."""
        embeddings = model.get_input_embeddings().weight.requires_grad_(True)
        (part,) = pack(rows, 10_000, CPU)
        found = target_logprobs(model, part)
        (gradient,) = torch.autograd.grad((found * torch.linspace(0.5, 1.5, len(found))).sum(), embeddings)
        return found.detach(), gradient

    def test_it_computes_what_the_mask_says(self, student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tree_attention, "WORTH", 0.0)
        dense = self.measure(student.model, self.ROWS)
        monkeypatch.setattr(tree_attention, "WORTH", 10.0)
        calls = count_calls(tree_attention, "_attend_branch", monkeypatch)
        by_branch = self.measure(student.model, self.ROWS)
        assert len(calls) == 4 * student.model.config.num_hidden_layers
        assert student.model.config._attn_implementation == "sdpa"
        torch.testing.assert_close(by_branch, dense, atol=1e-4, rtol=1e-4)

    def test_it_is_used_where_it_is_less_work(self, student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = count_calls(tree_attention, "_attend_branch", monkeypatch)
        self.measure(student.model, [join([n % 250 for n in range(240)], [1])])
        assert calls
        calls.clear()
        nearly_all_shared = [join(list(range(3, 63)), [n]) for n in range(100, 140)]
        nearly_all_shared += [join([*range(3, 63), n], [n + 50]) for n in range(100, 140)]
        self.measure(student.model, nearly_all_shared)
        assert not calls


class TestLoraLinear:
    def test_with_the_same_mask_it_is_pefts_layer(self, student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
        def mask(x: torch.Tensor) -> torch.Tensor:
            return (torch.arange(x.numel()) % 7 > 0).float().view_as(x)

        class SameDropout(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x * mask(x) / (1 - 0.05)

        monkeypatch.setattr(lora_linear, "draw_mask", lambda x, _: mask(x))
        job = make_job().model_copy(update={"lora": SPEC.model_copy(update={"dropout": 0.05})})
        found = []
        for ours in (True, False):
            with attach_lora(student, job) as adapted:
                layer = next(m for name, m in adapted.named_modules() if name.endswith("q_proj"))
                assert "forward" in vars(layer)
                if not ours:
                    restore_pefts_forward(adapted)
                    layer.lora_dropout["default"] = SameDropout()
                torch.manual_seed(0)
                torch.nn.init.normal_(layer.lora_B["default"].weight)
                x = torch.randn(2, 5, layer.in_features, requires_grad=True)
                out = layer(x)
                wanted = [x, layer.lora_A["default"].weight, layer.lora_B["default"].weight]
                found.append([out, *torch.autograd.grad(out.square().sum(), wanted)])
        torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)

    def test_the_share_that_is_dropped_is_the_one_asked_for(self) -> None:
        torch.manual_seed(0)
        mask = lora_linear.draw_mask(torch.empty(1_000_001), 0.05)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert 1 - mask.mean().item() == pytest.approx(0.05, abs=0.001)  # 4.6 standard deviations
        kept = mask[:1_000_000].view(-1, 4).mean(0)
        assert kept.tolist() == pytest.approx([0.95] * 4, abs=0.002)

    def test_evaluation_drops_nothing(self, student: Student) -> None:
        job = make_job().model_copy(update={"lora": SPEC.model_copy(update={"dropout": 0.5})})
        with attach_lora(student, job) as adapted:
            layer = next(m for name, m in adapted.named_modules() if name.endswith("q_proj"))
            torch.nn.init.normal_(layer.lora_B["default"].weight)
            x = torch.randn(1, 5, layer.in_features)
            assert not torch.equal(layer(x), layer(x))
            layer.eval()
            torch.testing.assert_close(layer(x), layer(x))


@pytest.mark.parametrize(
    ("n", "per_octave", "expected"),
    [(3, 2, 64), (64, 1, 64), (65, 2, 96), (97, 2, 128), (1024, 2, 1024), (1025, 2, 1536), (700, 1, 1024)],
)
def test_shapes_are_few(n: int, per_octave: int, expected: int) -> None:
    assert round_up(n, per_octave=per_octave) == expected


def test_recorded_passes_let_go_of_their_memory_at_once(student: Student, encoder: ChatEncoder) -> None:
    batch = [encoder.training_row(row, SPEC) for row in ROWS[:3]]
    with attach_lora(student, make_job()) as adapted:
        recorded = RecordedBackward(adapted, 4)
        recorded(batch, max_pack_tokens=10_000)
        recorded(batch, max_pack_tokens=1)
        shapes = list(recorded._passes)
        passes = [weakref.ref(p) for p in recorded._passes.values()]
        gc.disable()
        try:
            recorded.forget()
            assert [p() for p in passes] == [None] * len(passes)
        finally:
            gc.enable()
    assert {shape.n_rows for shape in shapes} == {4, 1}, "a pack of one row attends over one"


class TestFineTuning:
    @pytest.fixture
    def batch(self, encoder: ChatEncoder) -> list[Encoded]:
        return [encoder.training_row(row, SPEC) for row in ROWS]

    def backward_grads(
        self, student: Student, batch: list[Encoded], max_pack_tokens: int | None, *, recorded: bool = False
    ) -> tuple[float, Any]:
        """Loss and gradients of our loop, or of PEFT's own forward when `max_pack_tokens` is None."""
        with attach_lora(student, make_job()) as adapted:
            torch.manual_seed(1)
            parameters = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
            for name, p in parameters.items():
                if "lora_B" in name:
                    torch.nn.init.normal_(p, std=0.1)
            if max_pack_tokens is None:
                restore_pefts_forward(adapted)
                output = adapted(**pad(batch))
                output.loss.backward()
                loss = output.loss.item()
            elif recorded:
                add = RecordedBackward(adapted, len(batch))
                add(batch, max_pack_tokens=max_pack_tokens)
                for p in parameters.values():
                    p.grad.zero_()
                loss = add(batch, max_pack_tokens=max_pack_tokens).item()
            else:
                loss = backward(adapted, batch, max_pack_tokens=max_pack_tokens).item()
            return loss, {name: p.grad for name, p in parameters.items()}

    @pytest.mark.parametrize("recorded", [False, True], ids=["", "as on a GPU"])
    @pytest.mark.parametrize("max_pack_tokens", [1, 150, 10_000])
    def test_loss_and_gradients_equal_pefts_own_however_the_batch_is_cut(
        self, student: Student, batch: list[Encoded], max_pack_tokens: int, recorded: bool
    ) -> None:
        loss, grads = self.backward_grads(student, batch, max_pack_tokens, recorded=recorded)
        expected, expected_grads = self.backward_grads(student, batch, None)
        assert loss == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(grads, expected_grads, atol=1e-5, rtol=1e-4)

    def test_it_learns_and_leaves_the_base_weights_unchanged(self, student: Student, tmp_path: Path) -> None:
        before = copy_weights(student)
        folder = train(student, tmp_path, lora=SPEC.model_copy(update={"n_steps": 30}))
        metrics = json.loads((folder / "train_metrics.json").read_text())
        assert metrics["losses"][-1] < 0.5 * metrics["losses"][0]
        assert metrics["n_steps"] == len(metrics["losses"]) == 30
        assert metrics["n_tokens"] > 0 < metrics["peak_memory_bytes"]
        assert_same_weights(student, before)
        assert not any(p.requires_grad for p in student.model.parameters())
        assert not student.model.training

    def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(
        self, student: Student, tmp_path: Path
    ) -> None:
        spec = SPEC.model_copy(update={"dropout": 0.2})
        folders = [train(student, tmp_path / str(i), lora=spec, seed=seed) for i, seed in enumerate((0, 0, 1))]
        one, same, other = ((folder / "adapter_model.safetensors").read_bytes() for folder in folders)
        assert one == same != other

    def test_it_continues_an_adapter(self, student: Student, tmp_path: Path) -> None:
        first = train(student, tmp_path / "first", lora=SPEC.model_copy(update={"n_steps": 30}))
        second = train(student, tmp_path / "second", start_from=str(first))
        end, start = (json.loads((f / "train_metrics.json").read_text())["losses"] for f in (first, second))
        assert start[0] < 2 * end[-1] < end[0]

    def test_an_adapter_that_does_not_fit_is_refused(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="does not load on student"):
            train(student, tmp_path, start_from=str(tmp_path))

    def test_truncated_rows_are_counted_in_progress_and_metrics(self, student: Student, tmp_path: Path) -> None:
        details: list[str] = []
        job = make_job(lora=SPEC.model_copy(update={"max_length": 60, "on_too_long": "truncate", "n_steps": 1}))
        fine_tune(student, job, OPEN_ROWS, folder=tmp_path, on_progress=lambda p: details.append(p.detail))
        assert read_metrics(tmp_path)["n_truncated_rows"] == 9
        assert details[0].endswith(", 9 rows truncated")

    def test_a_loss_that_is_no_number_names_step_and_learning_rate_and_frees_the_student(
        self, student: Student, tmp_path: Path
    ) -> None:
        before = copy_weights(student)
        with pytest.raises(NonFiniteLossError, match=r"step \d: .* at learning rate \d\.\d\de\+(29|30)"):
            train(student, tmp_path, lora=SPEC.model_copy(update={"learning_rate": 1e30, "max_grad_norm": 1e9}))
        assert_same_weights(student, before)
        train(student, tmp_path)

    def test_the_adapter_that_last_had_a_finite_loss_is_kept(
        self, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = SPEC.model_copy(update={"scheduler": "constant", "warmup_ratio": 0})
        good = train(student, tmp_path / "good", lora=spec.model_copy(update={"n_steps": 3}))
        n_calls = 0

        def poisoned(*arguments: Any, **options: Any) -> torch.Tensor:
            nonlocal n_calls
            n_calls += 1
            return backward(*arguments, **options) * (float("nan") if n_calls == 5 else 1)

        monkeypatch.setattr(fine_tuning, "backward", poisoned)
        with pytest.raises(NonFiniteLossError, match="step 5: loss nan"):
            train(student, tmp_path / "bad", lora=spec)
        assert [path.name for path in (tmp_path / "bad").iterdir()] == ["last_good"]
        kept = (tmp_path / "bad" / "last_good" / "adapter_model.safetensors").read_bytes()
        assert kept == (good / "adapter_model.safetensors").read_bytes()

    @pytest.mark.parametrize(
        "error",
        [
            torch.cuda.OutOfMemoryError("CUDA out of memory."),
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
        ],
    )
    def test_out_of_memory_halves_the_packs_and_changes_nothing_else(
        self, student: Student, tmp_path: Path, error: RuntimeError, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = train(student, tmp_path / "expected")
        n_calls, forward = 0, type(student.model).forward

        def fail_at_the_second_pack(*arguments: Any, **options: Any) -> Any:
            nonlocal n_calls
            n_calls += 1
            if n_calls == 2:
                raise error
            return forward(*arguments, **options)

        monkeypatch.setattr(fine_tuning, "MAX_CPU_PACK_TOKENS", 100)
        monkeypatch.setattr(type(student.model), "forward", fail_at_the_second_pack)
        details: list[str] = []
        (tmp_path / "found").mkdir()
        fine_tune(
            student, make_job(), OPEN_ROWS, folder=tmp_path / "found", on_progress=lambda p: details.append(p.detail)
        )
        metrics = read_metrics(tmp_path / "found")
        assert metrics["n_memory_halvings"] == 1
        assert details[0].endswith(f"out of memory: packs cut to {metrics['max_pack_tokens']} tokens")
        assert metrics["losses"] == pytest.approx(read_metrics(expected)["losses"], rel=1e-4)

    def test_a_single_row_that_finds_no_memory_is_a_clear_error(
        self, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

        monkeypatch.setattr(type(student.model), "forward", fail)
        with pytest.raises(TrainingError, match=r"single row of \d+ tokens.*lora\.max_length"):
            train(student, tmp_path)

    def test_other_errors_of_the_model_are_not_taken_for_lack_of_memory(
        self, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("shapes do not match")

        monkeypatch.setattr(type(student.model), "forward", fail)
        with pytest.raises(RuntimeError, match="shapes do not match"):
            train(student, tmp_path)

    def test_an_adapter_on_a_bf16_base_has_fp32_weights_that_learn(self, student: Student, tmp_path: Path) -> None:
        half = replace(student, model=student.model.to(torch.bfloat16))
        with attach_lora(half, make_job()) as adapted:
            assert {p.dtype for p in adapted.parameters() if p.requires_grad} == {torch.float32}
        folder = train(half, tmp_path, lora=SPEC.model_copy(update={"n_steps": 30}))
        losses = read_metrics(folder)["losses"]
        assert losses[-1] < 0.5 * losses[0]

    def test_steps_read_in_windows_are_the_same_steps(
        self, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = train(student, tmp_path / "one")
        monkeypatch.setattr(fine_tuning, "STEPS_PER_READING", {"cpu": 4})
        done: list[int] = []
        (tmp_path / "four").mkdir()
        fine_tune(student, make_job(), OPEN_ROWS, folder=tmp_path / "four", on_progress=lambda p: done.append(p.done))
        assert done == [4, 6]
        assert read_metrics(tmp_path / "four")["losses"] == read_metrics(one)["losses"]

    def test_only_matrices_decay(self) -> None:
        matrix, vector = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))
        groups = fine_tuning.group_parameters([matrix, vector], 0.1)
        assert [(group["params"], group["weight_decay"]) for group in groups] == [([matrix], 0.1), ([vector], 0.0)]

    def test_unknown_target_modules_are_refused_with_those_there_are(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(
            TrainingError, match=r"no_proj is no linear layer or embedding.*down_proj, embed_tokens, gate_proj, k_proj"
        ):
            train(student, tmp_path, lora=SPEC.model_copy(update={"target_modules": "q_proj, no_proj"}))

    def test_named_target_modules_are_the_only_ones(self, student: Student) -> None:
        job = make_job(lora=SPEC.model_copy(update={"target_modules": "q_proj,v_proj"}))
        with attach_lora(student, job) as adapted:
            trained = {
                name.split(".lora_")[0].rpartition(".")[2] for name, p in adapted.named_parameters() if p.requires_grad
            }
        assert trained == {"q_proj", "v_proj"}

    def test_no_rows_are_refused(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="no rows"):
            train(student, tmp_path, examples=[])

    def test_an_epoch_sees_each_row_once(self) -> None:
        batches = draw_batches(7, 3, seed=0)
        epochs = [[next(batches) for _ in range(3)] for _ in range(2)]
        assert [[len(b) for b in epoch] for epoch in epochs] == [[3, 3, 1]] * 2
        assert all(sorted(i for batch in epoch for i in batch) == list(range(7)) for epoch in epochs)
        assert epochs[0] != epochs[1]

    def test_steps_follow_from_epochs(self) -> None:
        assert fine_tuning.count_steps(300, LoraSpec(epochs=5)) == 190
        assert fine_tuning.count_steps(300, LoraSpec(epochs=0.001)) == 1
        assert fine_tuning.count_steps(300, LoraSpec(n_steps=7)) == 7

    def test_the_learning_rate_warms_up_and_decays(self) -> None:
        spec = LoraSpec(warmup_ratio=0.2)
        factors = [learning_rate_factor(step, 10, spec) for step in range(10)]
        assert factors[:3] == pytest.approx([1 / 3, 2 / 3, 1])
        assert factors[2:] == sorted(factors[2:], reverse=True)
        assert 0 < factors[-1] <= 0.125
        assert learning_rate_factor(9, 10, spec.model_copy(update={"scheduler": "constant"})) == 1


class TestPredicting:
    def test_scores_equal_those_of_single_sequences_by_characters(self, student: Student, encoder: ChatEncoder) -> None:
        predictions = score_options(student, encoder, ROWS, on_done=lambda _: None)
        for row, prediction in zip(ROWS, predictions, strict=True):
            with torch.inference_mode():
                expected = [
                    logprobs_alone(student.model, join(encoder.prompt(row), tokens)).sum().item() / len(option)
                    for tokens, option in zip(encoder.answers(row, row.options), row.options, strict=True)
                ]
            assert prediction.option_scores == pytest.approx(expected, abs=1e-4)
            assert prediction.response == row.options[max(range(4), key=expected.__getitem__)]

    def test_an_empty_option_is_refused_by_name(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match="'r0' has an empty option"):
            answer(student, tmp_path, [ROWS[0].model_copy(update={"options": ("a", "")})])

    @pytest.mark.parametrize("batch_size", [1, 4, 16])
    def test_batched_texts_equal_single_row_generate(
        self, student: Student, encoder: ChatEncoder, adapter: Path, tmp_path: Path, batch_size: int
    ) -> None:
        predictions = answer(student, tmp_path, OPEN_ROWS, adapter=str(adapter), batch_size=batch_size)
        model = PeftModel.from_pretrained(student.model, str(adapter))
        for row, prediction in zip(OPEN_ROWS, predictions, strict=True):
            prompt = torch.tensor([encoder.prompt(row)])
            mask = torch.ones_like(prompt)
            output = model.generate(
                input_ids=prompt,
                attention_mask=mask,
                max_new_tokens=12,
                do_sample=False,
                eos_token_id=[2, 3],
                pad_token_id=0,
            )
            new = output[0, prompt.shape[1] :].tolist()
            assert prediction.response == student.tokenizer.decode(new, skip_special_tokens=True)
            assert prediction.truncated == (new[-1] not in (2, 3))
            assert prediction.n_new_tokens == len(new) - (new[-1] in (2, 3))
        assert not all(prediction.truncated for prediction in predictions)

    def test_a_limit_in_mid_answer_is_recorded(self, student: Student, adapter: Path, tmp_path: Path) -> None:
        predictions = answer(student, tmp_path, OPEN_ROWS, adapter=str(adapter), max_new_tokens=2)
        assert all(p.truncated and p.n_new_tokens == 2 for p in predictions)

    def test_generation_ends_before_a_stop_string(self, student: Student, adapter: Path, tmp_path: Path) -> None:
        whole = answer(student, tmp_path / "whole", OPEN_ROWS, adapter=str(adapter))
        cut = answer(student, tmp_path / "cut", OPEN_ROWS, adapter=str(adapter), stop=("ee", "l"))
        assert [p.response for p in cut] == [p.response.split("ee")[0].split("l")[0] for p in whole]
        assert any(c != w for c, w in zip(cut, whole, strict=True))

    def test_a_prompt_beyond_the_context_is_refused_by_name(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"'r0'.*context of 512"):
            answer(student, tmp_path, [OPEN_ROWS[0]], max_new_tokens=500)

    def test_rows_keep_their_order_whether_they_choose_or_write(self, student: Student, tmp_path: Path) -> None:
        mixed = [ROWS[0], OPEN_ROWS[5], ROWS[2], OPEN_ROWS[1]]
        predictions = answer(student, tmp_path, mixed)
        assert [p.example_id for p in predictions] == ["r0", "r5", "r2", "r1"]
        assert [len(p.option_scores) for p in predictions] == [4, 0, 4, 0]

    def test_merging_leaves_the_base_weights_unchanged(self, student: Student, adapter: Path, tmp_path: Path) -> None:
        before = copy_weights(student)
        untouched = answer(student, tmp_path / "1", OPEN_ROWS)
        merged = answer(student, tmp_path / "2", OPEN_ROWS, adapter=str(adapter))
        assert_same_weights(student, before)
        assert answer(student, tmp_path / "3", OPEN_ROWS) == untouched != merged

    def test_the_adapter_loads_with_plain_peft_and_scores_the_same(
        self, student_folder: Path, student: Student, encoder: ChatEncoder, adapter: Path, tmp_path: Path
    ) -> None:
        ours = answer(student, tmp_path, ROWS, adapter=str(adapter))
        base = AutoModelForCausalLM.from_pretrained(student_folder, dtype=torch.float32)
        plain = replace(student, model=PeftModel.from_pretrained(base, str(adapter)).eval())
        theirs = score_options(plain, encoder, ROWS, on_done=lambda _: None)
        assert [p.response for p in ours] == [p.response for p in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.option_scores == pytest.approx(other.option_scores, abs=1e-4)

    def test_a_folder_that_is_no_adapter_is_refused(self, student: Student, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="does not load on student"):
            answer(student, tmp_path, ROWS, adapter=str(tmp_path))


class TestStudents:
    def test_a_missing_student_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"missing\.gguf does not exist"):
            load_student(str(tmp_path / "missing.gguf"), CPU)
        with pytest.raises(TrainingError, match="cannot be loaded"):
            load_student(str(tmp_path), CPU)

    def test_a_damaged_gguf_is_named_and_leaves_nothing_behind(self, tmp_path: Path) -> None:
        (tmp_path / "bad.gguf").write_bytes(b"not a gguf")
        with pytest.raises(TrainingError, match=r"bad\.gguf cannot be converted"):
            load_student(str(tmp_path / "bad.gguf"), CPU)
        assert [path.name for path in tmp_path.iterdir()] == ["bad.gguf"]


class TestWorker:
    def fine_tune_job(self, student_folder: Path, folder: Path, **changes: Any) -> FineTuneJob:
        return make_job(**changes).model_copy(
            update={"student": str(student_folder), "rows": str(folder / "rows.jsonl")}
        )

    def test_it_trains_and_predicts_as_in_process(
        self, compute: LocalCompute, student_folder: Path, folder: Path, student: Student, tmp_path: Path
    ) -> None:
        stages: list[str] = []
        job = self.fine_tune_job(student_folder, folder)
        adapter = compute.wait(compute.submit(job), lambda p: stages.append(p.stage))
        assert stages == ["load", *["fine_tune"] * 6]
        request = PredictJob(student=job.student, adapter=str(adapter), adapter_hash="a", rows=job.rows, rows_hash="h")
        predictions = read_predictions(compute.wait(compute.submit(request), lambda _: None))
        expected = answer(student, tmp_path, ROWS, adapter=str(train(student, tmp_path, ROWS)))
        assert [p.example_id for p in predictions] == [row.id for row in ROWS]
        for one, other in zip(predictions, expected, strict=True):
            assert one.option_scores == pytest.approx(other.option_scores, abs=1e-4)

        compute.wait(compute.submit(job), lambda _: pytest.fail("ran again"))

    def test_errors_come_back_as_they_were_raised(
        self, compute: LocalCompute, student_folder: Path, folder: Path
    ) -> None:
        job = self.fine_tune_job(student_folder, folder, lora=SPEC.model_copy(update={"max_length": 9}))
        with pytest.raises(DatasetError, match="row 'r0' has"):
            compute.wait(compute.submit(job), lambda _: None)

    def test_a_killed_worker_is_a_clear_error_and_the_next_try_succeeds(
        self, compute: LocalCompute, student_folder: Path, folder: Path
    ) -> None:
        job = self.fine_tune_job(student_folder, folder, seed=5)
        worker = compute._worker
        assert worker is not None

        with pytest.raises(TrainingError, match="the training worker ended"):
            compute.wait(compute.submit(job), lambda _: os.kill(worker.pid, signal.SIGKILL))
        adapter = compute.wait(compute.submit(job), lambda _: None)
        assert (adapter / "adapter_model.safetensors").exists()
