"""What computes faster computes the same: packed prefixes, attention of branches, LoRA layers, recorded passes."""

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import AttentionInterface

from pada_agent.core.errors import TrainingError
from pada_agent.training.encoding import ChatEncoder, Encoded, join
from pada_agent.training.fine_tuning import attach_lora
from pada_agent.training.kernels import lora_linear, tree_attention
from pada_agent.training.kernels.attention_hook import attend_by
from pada_agent.training.kernels.graphed_backward import RecordedBackward, round_up
from pada_agent.training.kernels.prefix_tree import pack, target_logprobs
from pada_agent.training.students import Student
from tests.integration.training.small_student import (
    CPU,
    ROWS,
    SPEC,
    count_calls,
    logprobs_alone,
    make_job,
    restore_pefts_forward,
)

# peft 0.21 reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


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

    def test_attention_dropout_is_that_of_a_row_alone(self, student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
        """All attention weights are dropped, so that the result does not depend on chance."""
        monkeypatch.setattr(tree_attention, "WORTH", 10.0)
        for layer in student.model.model.layers:
            layer.self_attn.attention_dropout = 1.0
        whole = self.measure(student.model, self.ROWS)[0]
        student.model.train()
        packed = self.measure(student.model, self.ROWS)[0]
        (part,) = pack(self.ROWS, 10_000, CPU)
        alone = torch.cat([logprobs_alone(student.model, row).detach() for row in self.ROWS])
        order = sorted(range(len(packed)), key=lambda i: int(part.owners[i]))
        torch.testing.assert_close(packed[order], alone, atol=1e-4, rtol=0)
        assert (packed - whole).abs().max() > 0.1

    @pytest.mark.parametrize("name", ["softcap", "s_aux", "position_bias"])
    def test_weights_that_only_the_model_computes_are_refused(self, student: Student, name: str) -> None:
        states = torch.zeros(1, 1, 2, 4)
        hook = AttentionInterface()["pada"]
        with (
            attend_by(student.model.config, lambda *_: states),
            pytest.raises(TrainingError, match=f"uses {name}, which is not supported"),
        ):
            hook(student.model.model.layers[0].self_attn, states, states, states, None, **{name: 1.0})

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
