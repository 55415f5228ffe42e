"""Loads tokenizers that split texts as their own files say. transformers builds many anew from their vocabulary, and splits by its class."""

import json
from pathlib import Path
from typing import Any

import gguf
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import cached_file

from pada_agent.core.errors import TrainingError

FILE = "tokenizer.json"
CORRECTED = "splits_as_its_file"
"""Key among a tokenizer's settings, also where it is saved: without us, transformers would split texts in another way."""
LIKE_GPT2 = {
    *("default", "gpt-2", "mpt", "olmo", "phi-2", "jais", "trillion", "granite-docling", "exaone4", "mellum"),
    *("gigachat", "a.x-4.0"),
}
"""Names in GGUF files of the splitting that transformers does where it knows no other."""
DIGIT_BY_DIGIT = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}
"""Names of the same splitting with each digit for itself, which transformers leaves out."""
WHOLE_WORDS_FIRST = {
    *("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
    "tekken",
}
"""Names of those where a word of the vocabulary is one token, even if no merges lead to it, which transformers leaves out too."""
COMPOSING = {"qwen2": "qwen2", "qwen35": "qwen35", "qwen35moe": "qwen35"}
"""Splitting by architecture, where the model's own tokenizer composes characters first, and that of its copy does so again."""
_EXACT = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
"""Settings of a token that is found as it is written."""
_VOCABULARIES: dict[str, dict[str, Any]] = {
    "BPE": {"vocab": {}, "merges": []},
    "WordLevel": {"vocab": {}},
    "WordPiece": {"vocab": {}},
}
"""Empty ones of the kinds of models that may have one."""
_OF_MODEL = ("byte_fallback", "ignore_merges", "fuse_unk", "continuing_subword_prefix", "end_of_word_suffix")
"""Settings of a model, beside its vocabulary, that decide about tokens."""
_BESIDE = {
    "add_prefix_space": "add_prefix_space",
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
"""Settings in `tokenizer_config.json` that count more than those of a step in `tokenizer.json`, whose names follow."""
_OF_BYTES = frozenset({"add_prefix_space", "use_regex"})
"""Settings that the step from bytes to text has and ignores."""


def load_tokenizer(source: str, revision: str | None) -> Any:
    """Load the tokenizer, with the splitting of its `tokenizer.json` if it has one.

    Code that comes with a model is never run, and nobody is asked for permission.
    """
    if _is_saved_corrected(source, revision):
        return PreTrainedTokenizerFast.from_pretrained(source, revision=revision)
    made = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False)
    file = find_file(source, FILE, revision)
    steps = _list_steps(getattr(made, "backend_tokenizer", None))
    if file is None or steps == _read_steps(file):
        return made
    whole = PreTrainedTokenizerFast.from_pretrained(source, revision=revision)
    if not steps:  # of mistral-common, which vLLM brings along: it has no chat template
        return whole
    told = frozenset(_BESIDE[name] for name in _BESIDE if whole.init_kwargs.get(name) is not None)
    if _list_steps(made.backend_tokenizer, told) == _list_steps(whole.backend_tokenizer, told):
        return made
    whole.padding_side = whole.init_kwargs["padding_side"] = made.padding_side
    vocabulary = whole.get_vocab()
    for role, token in made.special_tokens_map.items():  # some are defaults of its class
        if str(token) in vocabulary and getattr(whole, role, None) is None:
            setattr(whole, role, str(token))
    whole.init_kwargs[CORRECTED] = True
    return whole


def _is_saved_corrected(source: str, revision: str | None) -> bool:
    """Whether `is_corrected` was true of the tokenizer that was saved there, which is then whole."""
    try:
        settings = find_file(source, "tokenizer_config.json", revision)
        return settings is not None and json.loads(settings.read_bytes()).get(CORRECTED) is True
    except (OSError, ValueError, AttributeError):
        return False  # transformers says what is wrong


def find_file(source: str, name: str, revision: str | None) -> Path | None:
    """A file of a model that was just loaded. None if it has no such file."""
    found = cached_file(
        source,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


def is_corrected(tokenizer: Any) -> bool:
    """Whether it splits texts in another way than transformers alone would."""
    return bool(tokenizer.init_kwargs.get(CORRECTED))


def split_as_llama_cpp(tokenizer: Any, reader: gguf.GGUFReader, file: Path) -> None:
    """Give a tokenizer that transformers read from a GGUF file the file's splitting, where transformers does not know it.

    Raises:
        TrainingError: nobody here knows it.
    """
    names = (gguf.Keys.General.ARCHITECTURE, gguf.Keys.Tokenizer.MODEL, gguf.Keys.Tokenizer.PRE)
    architecture, kind, splitting = (
        str(reader.fields[name].contents()) if name in reader.fields else "" for name in names
    )
    if kind == "gpt2":
        _keep_whole(tokenizer, reader)
    core = tokenizer.backend_tokenizer
    if "Metaspace" in str(core.pre_tokenizer):
        prefix = reader.fields.get(gguf.Keys.Tokenizer.ADD_PREFIX)
        _write_spaces(core, prefix=prefix is None or bool(prefix.contents()))
        tokenizer.init_kwargs[CORRECTED] = True
    if kind != "gpt2" or not splitting or splitting in LIKE_GPT2:
        return
    if COMPOSING.get(architecture) == splitting:
        core.normalizer = normalizers.NFC()
    if splitting in DIGIT_BY_DIGIT:
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        tokenizer.init_kwargs[CORRECTED] = True
    elif "Split" not in str(core.pre_tokenizer):
        raise TrainingError(
            f"student file {file} names a pre-tokenizer that is not supported here ({names[-1]}: {splitting}). Set"
            " student.model to the safetensors model that it was made from."
        )
    if splitting in WHOLE_WORDS_FIRST and not core.model.ignore_merges:
        core.model.ignore_merges = True
        tokenizer.init_kwargs[CORRECTED] = True


def _keep_whole(tokenizer: Any, reader: gguf.GGUFReader) -> None:
    """Read each control token of the file as one, under its number. transformers cuts up those with letters beyond ASCII (`<｜User｜>`)."""
    fields = [reader.fields.get(name) for name in (gguf.Keys.Tokenizer.LIST, gguf.Keys.Tokenizer.TOKEN_TYPE)]
    names, kinds = (field.contents() if field else [] for field in fields)
    core = tokenizer.backend_tokenizer
    lost: dict[int, dict[str, Any]] = {
        number: {"id": number, "content": name, "special": kind == gguf.TokenType.CONTROL, **_EXACT}
        for number, (name, kind) in enumerate(zip(names, kinds, strict=False))
        if kind in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED) and core.token_to_id(name) != number
    }
    if not lost:
        return
    spec = json.loads(core.to_str())
    pieces = {number: piece for piece, number in spec["model"]["vocab"].items()}
    pieces |= {number: token["content"] for number, token in lost.items()}
    spec["model"]["vocab"] = {piece: number for number, piece in pieces.items()}
    found = {token["content"] for token in lost.values()}
    others = [token for token in spec["added_tokens"] if token["content"] not in found]
    spec["added_tokens"] = sorted([*others, *lost.values()], key=lambda token: token["id"])
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(spec))
    tokenizer.init_kwargs[CORRECTED] = True


def _write_spaces(core: Tokenizer, *, prefix: bool) -> None:
    """Split as SentencePiece: each space is a character of a word, and texts begin with one more, also behind control tokens."""
    begin = [normalizers.Prepend("\u2581")] if prefix else []
    core.normalizer = normalizers.Sequence([*begin, normalizers.Replace(" ", "\u2581")])
    core.pre_tokenizer = None
    end = [decoders.Strip(" ", 1, 0)] if prefix else []
    core.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), *end])


def _read_steps(file: Path) -> list[Any]:
    """The steps of a saved tokenizer, as today's version of the library writes them."""
    spec = json.loads(file.read_bytes())
    model = spec["model"]
    if model.get("type") not in _VOCABULARIES:
        return _list_steps(Tokenizer.from_file(str(file)))
    without = {**model, **_VOCABULARIES[model["type"]]}  # which takes most of the time
    frame = {**spec, "model": without, "added_tokens": [], "post_processor": None}
    return _list_steps(Tokenizer.from_str(json.dumps(frame)))


def _list_steps(core: Any, ignored: frozenset[str] = frozenset()) -> list[Any]:
    """What a tokenizer does from texts to tokens and back, apart from its vocabulary. Empty if it is of another library.

    `ignored` has the names of settings of steps that are left out.
    """
    if core is None:
        return []
    steps = [core.normalizer, core.pre_tokenizer, core.decoder]
    described = [json.loads(step.__getstate__()) if step else None for step in steps]
    flags = [getattr(core.model, name, None) or None for name in _OF_MODEL]
    *to_tokens, to_text = described
    return [
        type(core.model).__name__,
        *flags,
        *(_reduce(step, ignored) for step in to_tokens),
        _reduce(to_text, _OF_BYTES),
    ]


def _reduce(step: dict[str, Any] | None, ignored: frozenset[str]) -> Any:
    """A step without what changes nothing, and in place of a sequence its parts. One part is as good as a sequence of it."""
    if step is None:
        return None
    parts = next((step[name] for name in ("normalizers", "pretokenizers", "decoders") if name in step), None)
    if parts is None:
        return {name: value for name, value in step.items() if name not in {"trim_offsets", *ignored}}
    reduced = [_reduce(part, ignored) for part in parts]
    return reduced if len(reduced) > 1 else next(iter(reduced), None)
