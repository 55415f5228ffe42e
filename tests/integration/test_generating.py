"""However rows are batched, shared, refilled and guessed ahead, each gets the text that `generate` gives it alone."""

import gc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from pada_agent.core.jobs import PredictJob
from pada_agent.core.records import Example, Prediction
from pada_agent.training.encoding import ChatEncoder
from pada_agent.training.generation import continuous_batching, graphed_batching, greedy
from pada_agent.training.generation.continuous_batching import count_shared
from pada_agent.training.generation.greedy import count_position_bytes, generate
from pada_agent.training.generation.slot_cache import Feed, SlotCache
from pada_agent.training.generation.stopping import Row, Stops
from pada_agent.training.kernels import prepacked_linear
from pada_agent.training.kernels.attention_hook import is_plain
from pada_agent.training.kernels.prepacked_linear import pack_linear_layers
from pada_agent.training.students import Student, load_student
from tests.tiny_models import save_student

CPU = torch.device("cpu")
LENGTHS = (3, 17, 1, 9, 30, 4, 4, 12, 25, 2, 8, 6)
ROWS = [Example(id=f"r{i}", prompt=f"{'ab ' * n}case {i * 37 % 11}", answer="x") for i, n in enumerate(LENGTHS)]
SAME = [row.model_copy(update={"prompt": "All alike."}) for row in ROWS]
N_NEW = 40


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Student:
    """Three query heads read one key head; random weights repeat themselves soon, so guesses are tried."""
    folder = save_student(
        tmp_path_factory.mktemp("student"),
        hidden_size=24,
        num_attention_heads=6,
        num_key_value_heads=2,
        initializer_range=0.3,
    )
    return load_student(str(folder), CPU)


@pytest.fixture(scope="module")
def sliding(student: Student) -> Student:
    """A model whose layers see a window, which slots do not fit."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=student.model.config.vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"],
        initializer_range=0.3,
        max_position_embeddings=512,
        eos_token_id=student.tokenizer.eos_token_id,
        pad_token_id=0,
    )
    return replace(student, model=Gemma3ForCausalLM(config).eval().requires_grad_(False))


def write(student: Student, rows: Sequence[Example], **changes: Any) -> list[Prediction]:
    job = PredictJob(student="s", rows="rows", rows_hash="h", **{"max_new_tokens": N_NEW, "batch_size": 4, **changes})
    return generate(student, ChatEncoder(student.tokenizer), rows, job=job, on_done=lambda _: None)


def write_recorded_rows(student: Student, rows: Sequence[Example], **changes: Any) -> list[str]:
    """As on a GPU; on CPU nothing is recorded, all else is the same."""
    job = PredictJob(student="s", rows="rows", rows_hash="h", **{"max_new_tokens": N_NEW, **changes})
    encoder = ChatEncoder(student.tokenizer)
    stops, waiting = Stops(student.tokenizer, job, encoder.stop_token_ids), [Row(encoder.prompt(row)) for row in rows]
    with torch.inference_mode():
        graphed_batching.write_recorded(student, waiting, stops, on_done=lambda _: None)
    return [stops.read(example, row).response for example, row in zip(rows, waiting, strict=True)]


def write_alone(student: Student, row: Example) -> str:
    encoder = ChatEncoder(student.tokenizer)
    prompt = torch.tensor([encoder.prompt(row)])
    settings: dict[str, Any] = {"max_new_tokens": N_NEW, "do_sample": False, "pad_token_id": 0}
    settings["eos_token_id"] = [encoder.end_token_id, student.tokenizer.eos_token_id]
    out = student.model.generate(input_ids=prompt, attention_mask=torch.ones_like(prompt), **settings)
    text: str = student.tokenizer.decode(out[0, prompt.shape[1] :], skip_special_tokens=True)
    return text


@pytest.mark.parametrize("batch_size", [1, 3, 5, 32])
@pytest.mark.parametrize("rows", [ROWS, SAME, ROWS[:1]], ids=["different", "identical", "single"])
def test_each_text_is_that_of_the_row_alone(student: Student, rows: list[Example], batch_size: int) -> None:
    assert is_plain(student.model)
    found = write(student, rows, batch_size=batch_size)
    assert [p.response for p in found] == [write_alone(student, row) for row in rows]


@pytest.mark.parametrize("n_slots", [1, 3, 32])
@pytest.mark.parametrize("rows", [ROWS, SAME, ROWS[:1]], ids=["different", "identical", "single"])
def test_steps_for_all_slots_write_the_same_texts(
    student: Student, rows: list[Example], n_slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphed_batching, "N_SLOTS", n_slots)
    plain = write(student, rows)
    assert write_recorded_rows(student, rows) == [p.response for p in plain]
    stop = plain[0].response[5:7]
    assert write_recorded_rows(student, rows, stop=(stop,)) == [p.response.split(stop)[0] for p in plain]


def test_slots_take_no_more_memory_than_they_may(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[SlotCache] = []
    prepare, expected = SlotCache.__init__, write(student, ROWS)

    def watch(cache: SlotCache, *arguments: Any, **options: Any) -> None:
        prepare(cache, *arguments, **options)
        made.append(cache)

    monkeypatch.setattr(SlotCache, "__init__", watch)
    longest = max(len(ChatEncoder(student.tokenizer).prompt(row)) for row in ROWS) + N_NEW
    monkeypatch.setattr(greedy, "MAX_BYTES", 3 * longest * count_position_bytes(student.model))
    assert write(student, ROWS, batch_size=64) == expected
    layers = made[0]._cache.layers
    assert made[0].n_slots == len(layers[0].keys) == 3
    n_bytes = sum(t.nbytes for layer in layers for t in (layer.keys, layer.values))
    assert n_bytes == 3 * layers[0].keys.shape[2] * count_position_bytes(student.model)


def test_what_was_written_in_lets_go_of_its_memory_at_once(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's collector of circles comes late, and by then a smaller attempt may have found no memory."""
    made: list[weakref.ref[SlotCache]] = []
    prepare = SlotCache.__init__

    def watch(cache: SlotCache, *arguments: Any, **options: Any) -> None:
        prepare(cache, *arguments, **options)
        made.append(weakref.ref(cache))

    monkeypatch.setattr(SlotCache, "__init__", watch)
    gc.disable()
    try:
        write_recorded_rows(student, ROWS)
        assert [cache() for cache in made] == [None]
    finally:
        gc.enable()


def test_positions_past_a_rows_end_stay_within_the_models_context(student: Student) -> None:
    """A model with learned positions has none beyond; here the last row fills the context up."""
    asked: list[int] = []
    rotary = student.model.model.rotary_emb

    def watch(_: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        asked.append(int(options.get("position_ids", arguments[-1]).max()))

    context = student.model.config.max_position_embeddings
    n_prompt = max(len(ChatEncoder(student.tokenizer).prompt(row)) for row in ROWS)
    hook = rotary.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        write_recorded_rows(student, ROWS, max_new_tokens=context - n_prompt)
    finally:
        hook.remove()
    assert max(asked) == context - 1


def test_no_memory_for_all_slots_takes_half_as_many(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    feed_all = SlotCache.feed_all

    def fail(cache: SlotCache, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        tried.append(cache.n_slots)
        if cache.n_slots > 3:
            raise torch.cuda.OutOfMemoryError("no memory")
        return feed_all(cache, tokens, positions)

    monkeypatch.setattr(SlotCache, "feed_all", fail)
    assert write_recorded_rows(student, ROWS) == [p.response for p in write(student, ROWS)]
    assert sorted(set(tried)) == [3, 6, 12]


def test_models_with_windows_take_the_padded_way(sliding: Student) -> None:
    assert not is_plain(sliding.model)
    assert [p.response for p in write(sliding, ROWS)] == [write_alone(sliding, row) for row in ROWS]


def test_guesses_save_passes_and_change_no_text(student: Student, monkeypatch: pytest.MonkeyPatch) -> None:
    def count_passes() -> tuple[int, list[Prediction]]:
        passes: list[int] = []
        feed = SlotCache.feed
        with monkeypatch.context() as patch:
            patch.setattr(SlotCache, "feed", lambda *a, **k: [passes.append(1), feed(*a, **k)][1])
            found = write(student, ROWS, batch_size=2)
        return len(passes), found

    n_guessing, guessed = count_passes()
    monkeypatch.setattr(continuous_batching, "MAX_FED", 1)
    n_plain, plain = count_passes()
    assert guessed == plain
    assert n_guessing < n_plain


def test_a_row_that_ends_at_once_gives_its_slot_to_the_next(student: Student) -> None:
    plain = write(student, ROWS)
    first = {p.response[0] for p in plain if p.response}
    cut = write(student, ROWS, stop=tuple(sorted(first)), batch_size=2)
    assert [p.response for p in cut] == [""] * len(ROWS)


def test_stop_strings_end_texts_also_within_a_guess(student: Student) -> None:
    plain = write(student, ROWS)
    stop = plain[0].response[5:7]
    assert [p.response for p in write(student, ROWS, stop=(stop,))] == [p.response.split(stop)[0] for p in plain]


def test_finished_rows_are_counted_up_to_all(student: Student) -> None:
    done: list[int] = []
    job = PredictJob(student="s", rows="rows", rows_hash="h", max_new_tokens=8, batch_size=3)
    generate(student, ChatEncoder(student.tokenizer), ROWS, job=job, on_done=done.append)
    assert done == sorted(set(done))
    assert done[-1] == len(ROWS)


def test_what_prompts_share_ends_before_the_last_token_of_the_shortest() -> None:
    assert count_shared([[1, 2, 3, 4], [1, 2, 5], [1, 2, 3]]) == 2
    assert count_shared([[1, 2, 3], [1, 2, 3]]) == 2
    assert count_shared([[1, 2], [3, 4]]) == 0
    assert count_shared([[1, 2, 3]]) == 0


def test_rows_of_different_lengths_have_the_logits_choice_of_each_alone(student: Student) -> None:
    cache = SlotCache(student.model, 3)
    texts = [[5, 6, 7, 8, 9], [10, 11], [12]]
    found = cache.feed([Feed(text, start=0, n_asked=len(text)) for text in texts])
    with torch.inference_mode():
        expected = [student.model(input_ids=torch.tensor([text])).logits[0].argmax(-1).tolist() for text in texts]
    assert found == expected


def test_packed_layers_compute_the_same_and_are_taken_off_again(
    student: Student, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        plain = student.model(input_ids=ids).logits
        with pack_linear_layers(student.model):
            assert "forward" in vars(student.model.lm_head)
            torch.testing.assert_close(student.model(input_ids=ids).logits, plain, atol=1e-4, rtol=0)
        assert "forward" not in vars(student.model.lm_head)
        monkeypatch.setattr(prepacked_linear, "MAX_BYTES", 0)
        with pack_linear_layers(student.model):
            assert "forward" not in vars(student.model.lm_head)
