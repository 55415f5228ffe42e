"""Tokenizers that transformers builds anew from their vocabulary: they split texts as their own files say."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import AutoTokenizer, LlamaTokenizer
from transformers.models.qwen2.tokenization_qwen2 import Qwen2Tokenizer

from pada_agent.core.errors import TrainingError
from pada_agent.training.students import convert_gguf, read_gguf, read_tokenizer
from pada_agent.training.tokenizer_files import is_corrected, load_tokenizer, split_as_llama_cpp
from tests.tiny_models import TEMPLATE, save_gguf_student

TEXTS = ("a\n\n1. one", "x  22 3", "THE'S café  cafe\u0301", "  deep", "<|end|> of it")


def save_tokenizer(folder: Path, kind: str, student: str, **steps: Any) -> Path:
    """One token per byte, and some merges, so that it matters what belongs to one word."""
    merges = [("Ċ", "Ċ"), ("Ġ", "2"), ("2", "2"), ("Ġ", "Ġ"), ("\u2581", "d")]
    vocabulary = {piece: i for i, piece in enumerate([*sorted(pre_tokenizers.ByteLevel.alphabet()), "\u2581"])}
    vocabulary |= {"".join(pair): len(vocabulary) + i for i, pair in enumerate(merges)}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    for name, step in steps.items():
        setattr(core, name, step)
    core.add_special_tokens(["<|start|>", "<|end|>"])
    core.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": kind, "eos_token": "<|end|>", "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": student}))
    return folder


BY_BYTES = {"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=False), "decoder": decoders.ByteLevel()}
DIGITS = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
)
BY_PIECES = {
    "normalizer": normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]),
    "decoder": decoders.Sequence([decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]),
}


@pytest.mark.parametrize(
    ("kind", "student", "steps"),
    [
        ("GPT2Tokenizer", "llama", BY_BYTES | {"pre_tokenizer": DIGITS}),  # SmolLM2
        ("GPT2Tokenizer", "starcoder2", BY_BYTES | {"pre_tokenizer": DIGITS}),
        ("LlamaTokenizerFast", "qwen2", BY_BYTES),  # no NFC
        ("LlamaTokenizer", "llama", BY_PIECES),  # TinyLlama: a space after each control token too
    ],
)
def test_a_student_splits_texts_as_its_own_file_says(
    kind: str, student: str, steps: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tokenizer(tmp_path, kind, student, **steps)
    expected, found = Tokenizer.from_file(str(folder / "tokenizer.json")), load_tokenizer(str(folder), None)
    for text in TEXTS:
        ids = expected.encode(text, add_special_tokens=False).ids
        assert found(text, add_special_tokens=False)["input_ids"] == ids
        assert found.decode(ids) == expected.decode(ids, skip_special_tokens=False)
    assert is_corrected(found) and read_tokenizer(str(folder))[1].splits_otherwise
    assert (found.eos_token, found.chat_template) == ("<|end|>", TEMPLATE)
    found.save_pretrained(tmp_path)
    monkeypatch.delattr(AutoTokenizer, "from_pretrained")  # takes five times as long
    again = load_tokenizer(str(folder), None)
    assert is_corrected(again) and again.padding_side == ("left" if kind == "LlamaTokenizer" else "right")
    assert again(list(TEXTS))["input_ids"] == found(list(TEXTS))["input_ids"]
    assert (again.special_tokens_map, again.chat_template) == (found.special_tokens_map, TEMPLATE)


def test_a_tokenizer_that_is_built_as_its_file_says_is_taken_as_it_is(tmp_path: Path) -> None:
    Qwen2Tokenizer(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]).save_pretrained(tmp_path)
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["pre_tokenizer"]["pretokenizers"][1]["trim_offsets"] = False  # as in Qwen's own file
    spec["decoder"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    found = load_tokenizer(str(tmp_path), None)
    assert type(found) is Qwen2Tokenizer and not is_corrected(found)


def test_settings_beside_the_file_count_more(tmp_path: Path) -> None:
    folder = save_tokenizer(tmp_path, "GPT2Tokenizer", "gpt2", **BY_BYTES)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "add_prefix_space": True}))
    found = load_tokenizer(str(folder), None)
    assert found.tokenize("a") == ["Ġ", "a"] and not is_corrected(found)


@pytest.mark.parametrize("kind", [models.WordPiece, models.WordLevel])
def test_a_student_of_whole_words_is_taken_as_it_is(kind: Any, tmp_path: Path) -> None:
    """Such as Chinese GPT-2 models with BERT's vocabulary."""
    folder = save_tokenizer(tmp_path, "PreTrainedTokenizerFast", "gpt2")
    core = Tokenizer(kind(vocab={"[UNK]": 0, "a": 1, "<|end|>": 2}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.save(str(folder / "tokenizer.json"))
    found = load_tokenizer(str(folder), None)
    assert found.tokenize("a b") == ["a", "[UNK]"] and not is_corrected(found)


def test_a_mistral_student_is_read_from_its_file_where_mistral_common_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose tokenizers have no chat template. vLLM brings it along."""
    folder = save_tokenizer(tmp_path, "PreTrainedTokenizerFast", "mistral", **BY_BYTES)
    expected = load_tokenizer(str(folder), None)
    monkeypatch.setattr(AutoTokenizer, "from_pretrained", lambda *_, **__: SimpleNamespace(special_tokens_map={}))
    found = load_tokenizer(str(folder), None)
    assert found.tokenize(TEXTS[0]) == expected.tokenize(TEXTS[0])
    assert (found.eos_token, found.chat_template) == ("<|end|>", TEMPLATE) and not is_corrected(found)


@pytest.mark.parametrize(
    ("splitting", "text", "words"),
    [
        ("smollm", "a\n\n1", ["a", "ĊĊ", "1"]),
        ("starcoder", "22", ["2", "2"]),
        ("llama-bpe", "22", ["22"]),
        ("llama-bpe", "xyz", ["xyz"]),
        ("gpt-2", "a\n\n1", ["a", "Ċ", "Ċ", "1"]),
        ("gpt-2", "xyz", ["x", "y", "z"]),
        ("olmo", "a\n\n1", ["a", "Ċ", "Ċ", "1"]),
        ("mpt", "xyz", ["x", "y", "z"]),
    ],
)
def test_a_gguf_student_splits_texts_as_llama_cpp(splitting: str, text: str, words: list[str], tmp_path: Path) -> None:
    file = save_gguf_student(tmp_path, splitting=splitting, words=["ĊĊ", "22", "xyz"], merges=["t h", "Ċ Ċ", "2 2"])
    tokenizer, facts = read_tokenizer(str(file))
    assert tokenizer.tokenize(text) == words
    assert facts.splits_otherwise == (splitting not in ("gpt-2", "olmo", "mpt"))


def test_a_qwen_gguf_composes_characters_as_its_own_tokenizer(tmp_path: Path) -> None:
    """llama.cpp does not, but rows are read composed anyway. So nothing has to be computed again."""
    tokenizer, facts = read_tokenizer(str(save_gguf_student(tmp_path, "qwen2", splitting="qwen2")))
    assert tokenizer.tokenize("e\u0301") == tokenizer.tokenize("é") and not facts.splits_otherwise


def test_control_tokens_of_a_gguf_with_other_letters_are_one_token_each(tmp_path: Path) -> None:
    """Those of DeepSeek's distilled models; two of them had numbers beyond the model's vocabulary."""
    special = ["<｜User｜>", "<｜end▁of▁sentence｜>", "<|pad|>"]
    file = save_gguf_student(tmp_path, "qwen2", splitting="deepseek-r1-qwen", special=special)
    tokenizer, facts = read_tokenizer(str(file))
    first = tokenizer.convert_tokens_to_ids(special[0])
    assert (first, tokenizer.eos_token_id) == (257, 258) and facts.n_embeddings == 257 + len(special)
    ids = tokenizer("<｜User｜>a<｜end▁of▁sentence｜>", add_special_tokens=False)["input_ids"]
    assert ids == [first, tokenizer.convert_tokens_to_ids("a"), first + 1] and facts.splits_otherwise
    assert tokenizer.decode(ids) == "<｜User｜>a<｜end▁of▁sentence｜>"
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a"


@pytest.mark.parametrize(
    ("prefix", "words"),
    [(None, ["▁", "▁a", "<s>", "▁a"]), (True, ["▁", "▁a", "<s>", "▁a"]), (False, ["▁a", "<s>", "a"])],
)
def test_a_sentencepiece_gguf_begins_words_as_llama_cpp(prefix: bool | None, words: list[str], tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "pieces.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    if prefix is not None:
        writer.add_add_space_prefix(prefix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    tokenizer = LlamaTokenizer(vocab={"<unk>": 0, "<s>": 1, "</s>": 2, "▁": 3, "a": 4, "▁a": 5}, merges=[("▁", "a")])
    file = tmp_path / "pieces.gguf"
    split_as_llama_cpp(tokenizer, gguf.GGUFReader(file), file)
    assert tokenizer.tokenize(" a<s>a") == words and is_corrected(tokenizer)
    assert tokenizer.decode([5, 5]) == ("a a" if prefix is not False else " a a")


def test_a_gguf_student_whose_splitting_is_not_known_is_refused(tmp_path: Path) -> None:
    file = save_gguf_student(tmp_path, splitting="of-tomorrow")
    with pytest.raises(
        TrainingError, match=r"tiny\.gguf names a pre-tokenizer .*ggml\.pre: of-tomorrow.* the safetensors model"
    ):
        convert_gguf(file)
    with pytest.raises(TrainingError, match="of-tomorrow"):
        read_gguf(file)
