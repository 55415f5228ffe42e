"""Files of a model that are missing, cut off, or not there at all are told by name, without loading anything."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pada_agent.core.errors import ConfigError
from pada_agent.core.model_files import check_embedder, check_model, find_damage, tell_adapter, tell_missing_tokenizer
from tests.toy_student import make_weights

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 269060552\n"


def save(folder: Path, **files: bytes) -> Path:
    """Files by name, with `__` for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def save_parts(folder: Path, **files: bytes) -> Path:
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    save(folder, config__json=b"{}", **files)
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


WHOLE = make_weights()
DAMAGED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no weights": (lambda f: save(f, config__json=b"{}"), "has no weights: neither model.safetensors nor"),
    "cut off": (
        lambda f: save(f, config__json=b"{}", model__safetensors=WHOLE[:-3]),
        rf"/model\.safetensors: is cut off \({len(WHOLE) - 3} of {len(WHOLE)} bytes\)\. Fetch the model again",
    ),
    "cut off in the header": (lambda f: save(f, model__safetensors=WHOLE[:20]), "is cut off"),
    "empty": (lambda f: save(f, model__safetensors=b""), r"is cut off \(0 bytes\)"),
    "longer": (lambda f: save(f, model__safetensors=WHOLE + b"x"), "is damaged"),
    "no header": (lambda f: save(f, model__safetensors=struct.pack("<Q", 2) + b"[]"), "its header cannot be read"),
    "a web page": (lambda f: save(f, model__safetensors=b"<html>not found</html>"), "is not a safetensors file"),
    "a pointer": (
        lambda f: save(f, config__json=b"{}", model__safetensors=POINTER),
        r"/model\.safetensors: is only a Git LFS pointer.*`git lfs pull`",
    ),
    "a pointer for the tokenizer": (
        lambda f: save(f, model__safetensors=WHOLE, tokenizer__json=POINTER),
        r"/tokenizer\.json: is only a Git LFS pointer",
    ),
    "an empty pickle": (lambda f: save(f, pytorch_model__bin=b""), "is empty"),
    "a part is missing": (
        lambda f: save_parts(f, one__safetensors=WHOLE),
        r"/two\.safetensors: missing, although model\.safetensors\.index\.json names it",
    ),
    "a part is cut off": (
        lambda f: save_parts(f, one__safetensors=WHOLE, two__safetensors=WHOLE[:-1]),
        r"/two\.safetensors: is cut off",
    ),
    "saved after torch.compile": (
        lambda f: save(f, model__safetensors=make_weights(8, name="_orig_mod.w")),
        r"/model\.safetensors: cannot be loaded. The names of its weights begin with '_orig_mod\.'",
    ),
    "no settings": (lambda f: save(f, model__safetensors=WHOLE), r"/config\.json: missing"),
    "an adapter": (lambda f: save(f, adapter_config__json=b"{}"), r"contains an adapter .*`pada export \S+/mine --out"),
    "an adapter beside a model": (
        lambda f: save(f, config__json=b"{}", model__safetensors=WHOLE, adapter_config__json=b"{}"),
        r"contains an adapter .* move adapter_config\.json out",
    ),
    "a damaged index": (
        lambda f: save(f, model__safetensors__index__json=b'{"weight_map": 3}'),
        r"index\.json: cannot be read",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_wrong_with_a_models_files_is_told(tmp_path: Path, name: str) -> None:
    make, words = DAMAGED[name]
    folder = make(tmp_path / "mine")
    with pytest.raises(ConfigError, match=words):
        check_model(folder)
    assert find_damage(folder)


@pytest.mark.parametrize(
    "make",
    [
        lambda f: save(
            f, config__json=b"{}", model__safetensors=WHOLE, flax_model__msgpack=POINTER, pytorch_model__bin=POINTER
        ),
        lambda f: save_parts(f, one__safetensors=WHOLE, two__safetensors=make_weights(400)),
        lambda f: save(f, config__json=b"{}", pytorch_model__bin=b"PK"),
        lambda f: f / "owner" / "name",
    ],
    ids=["other formats are pointers", "parts", "pickle", "hub id"],
)
def test_a_whole_model_is_taken(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path / "mine")
    check_model(folder)
    assert not find_damage(folder)


def test_an_adapter_on_the_hub_is_exported_by_its_address() -> None:
    assert "`pada export hub:owner/name --out FOLDER`" in tell_adapter("owner/name")


def test_a_file_that_is_no_gguf_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"<html>")
    with pytest.raises(ConfigError, match=r"m\.gguf: is not a GGUF file"):
        check_model(tmp_path / "m.gguf")


@pytest.mark.parametrize(("name", "is_part"), [("m-00002-of-00002", True), ("m-00001-of-00001", False), ("m", False)])
def test_a_part_of_a_split_gguf_is_told(tmp_path: Path, name: str, is_part: bool) -> None:
    file = tmp_path / f"{name}.gguf"
    file.write_bytes(b"GGUF")
    assert ("is a part of a split GGUF. Join all parts with `llama-gguf-split" in find_damage(file)) is is_part


def save_embedder(folder: Path, **files: bytes) -> Path:
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "2_Normalize", "type": "x.Normalize"}]
    return save(folder, modules__json=json.dumps(modules).encode(), **files)


def test_a_whole_embedder_is_taken(tmp_path: Path) -> None:
    check_embedder(save_embedder(tmp_path / "a", config__json=b"{}", model__safetensors=WHOLE))
    check_embedder(save(tmp_path / "b", config__json=b"{}", model__safetensors=WHOLE))
    check_embedder(save(tmp_path / "c", config__json=b"{}", adapter_config__json=b"{}"))
    check_embedder(Path("owner/name"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: save(f, tokenizer__json=b"{}"), r"has neither modules\.json nor config\.json"),
        (lambda f: save(f), "the folder is empty"),
        (lambda f: save_embedder(f, config__json=b"{}"), "has no weights"),
        (lambda f: save_embedder(f, model__safetensors=WHOLE), r"/config\.json: missing"),
        (lambda f: save_embedder(f, config__json=b"{}", model__safetensors=WHOLE[:-1]), "is cut off"),
        (lambda f: save(f, config__json=b"{}"), "has no weights"),
        (lambda f: save(f, modules__json=b"{}x"), r"modules\.json: cannot be read"),
        (lambda f: save(f, x=b"") / "x", "is a file"),
    ],
)
def test_what_is_wrong_with_an_embedder_is_told(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_embedder(make(tmp_path / "mine"))


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    assert "tokenizer.json and tokenizer_config.json are missing" in tell_missing_tokenizer(save(tmp_path / "a"))
    assert not tell_missing_tokenizer(save(tmp_path / "b", tokenizer__json=b"{}"))
    assert not tell_missing_tokenizer(Path("owner/name"))
