"""Finds out without loading anything whether the files of a model are complete: its weights, and its parts."""

import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from pada_agent.core.errors import ConfigError

SAFETENSORS, PICKLED, ADAPTER = "model.safetensors", "pytorch_model.bin", "adapter_config.json"
WEIGHTS = (SAFETENSORS, f"{SAFETENSORS}.index.json", PICKLED, f"{PICKLED}.index.json")
"""Files that transformers looks for, in its order."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
"""Files of which a tokenizer has at least one."""
MAX_HEADER_BYTES = 100_000_000
"""Longest header that safetensors accepts."""
_POINTER = b"version https://git-lfs"
_PART = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.gguf$")
"""How llama.cpp names the parts of a split file."""
_WRAPPERS = ("_orig_mod.", "module.")
"""Begin the names of all weights if a model is saved inside the wrapper of torch.compile or DDP, and no loader finds them."""
_AGAIN = "Fetch the model again"


def check_model(path: Path) -> None:
    """Check a student: a folder, or a GGUF file. Anything else, such as a hub id, is not looked at.

    Raises:
        ConfigError: a file is missing or damaged, or the folder contains an adapter.
    """
    if path.is_file():
        _refuse_damage(path)
    elif path.is_dir():
        if (path / ADAPTER).is_file():
            raise ConfigError(tell_adapter(str(path)))
        _check_files(path)
        _check_weights(path)
        if not (path / "config.json").is_file():
            raise ConfigError(f"{path / 'config.json'}: missing. {_AGAIN}.")


def check_embedder(path: Path) -> None:
    """Check a folder of a sentence-transformers model. A hub id is not looked at.

    Raises:
        ConfigError: a file is missing or damaged, or the folder is no such model.
    """
    if path.is_file():
        raise ConfigError(f"{path}: is a file. Give the folder of a sentence-transformers model, or a hub id.")
    if not path.is_dir():
        return
    _check_files(path)
    if (modules := path / "modules.json").is_file():
        for folder in _list_transformers(modules):
            if not (folder / "config.json").is_file():
                raise ConfigError(f"{folder / 'config.json'}: missing. {_AGAIN}.")
            _check_weights(folder)
    elif (path / "config.json").is_file():
        _check_weights(path)
    else:
        raise ConfigError(
            f"{path}: has neither modules.json nor config.json, so it is not an embedder. Give the folder of a"
            " sentence-transformers model, or a hub id."
        )


def find_damage(folder: Path) -> str:
    """What is wrong with a folder's files, if loading it failed. Empty if nothing is found, or if it is no folder."""
    try:
        check_model(folder)
    except ConfigError as exc:
        return str(exc)
    return ""


def tell_adapter(name: str) -> str:
    """That a folder or hub id contains an adapter, and what to do about it."""
    source = name if Path(name).exists() else f"hub:{name}"
    return (
        f"{name}: contains an adapter ({ADAPTER}), which is not a complete model and would be applied to one beside it."
        f" Merge it with `pada export {source} --out FOLDER` and use that folder. If the weights beside it are merged already,"
        f" move {ADAPTER} out of the folder."
    )


def tell_missing_tokenizer(folder: Path) -> str:
    """That a folder has no tokenizer, and which files one has. Empty if it has one, or if it is no folder."""
    if not folder.is_dir() or any((folder / name).is_file() for name in TOKENIZERS):
        return ""
    return (
        f"{folder}: has no tokenizer: tokenizer.json and tokenizer_config.json are missing."
        " Copy them from the model that it was made from."
    )


def _check_files(folder: Path) -> None:
    """Check what is beside the weights. Weights in other formats may be damaged or mere pointers: nobody reads them."""
    if not any(folder.iterdir()):
        raise ConfigError(f"{folder}: the folder is empty. Give the folder of a model, or a hub id.")
    read = TOKENIZERS[:1] if (folder / TOKENIZERS[0]).is_file() else TOKENIZERS
    for name in ("config.json", "tokenizer_config.json", *read):
        if (folder / name).is_file():
            _refuse_damage(folder / name)


def _check_weights(folder: Path) -> None:
    """An embedder may have an adapter, whose base model has the weights."""
    found = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if found is None and not (folder / ADAPTER).is_file():
        raise ConfigError(f"{folder}: has no weights: neither {SAFETENSORS} nor {WEIGHTS[1]} is there. {_AGAIN}.")
    if found is not None and found.suffix == ".json":
        for name in _list_parts(found):
            if not (folder / name).is_file():
                raise ConfigError(f"{folder / name}: missing, although {found.name} names it. {_AGAIN}.")
            _refuse_damage(folder / name)
    elif found is not None:
        _refuse_damage(found)


def _list_parts(index: Path) -> list[str]:
    try:
        return sorted({str(name) for name in json.loads(index.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigError(f"{index}: cannot be read ({exc}). {_AGAIN}.") from exc


def _list_transformers(modules: Path) -> Iterator[Path]:
    """The folders of an embedder's language models. Other modules may have no file of their own."""
    try:
        for module in json.loads(modules.read_bytes()):
            if str(module["type"]).endswith(".Transformer"):
                yield modules.parent / str(module["path"])
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(f"{modules}: cannot be read ({exc}). {_AGAIN}.") from exc


def _refuse_damage(file: Path) -> None:
    try:
        damage = _describe_damage(file)
    except OSError as exc:
        raise ConfigError(f"{file}: cannot be read ({exc.strerror}).") from exc
    if damage:
        raise ConfigError(f"{file}: {damage}")


def _describe_damage(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(_POINTER))
        if start == _POINTER:
            return "is only a Git LFS pointer to the file. Run `git lfs pull` in its folder, or fetch the model again."
        if file.suffix == ".gguf" and start[:4] != b"GGUF":
            return f"is not a GGUF file. {_AGAIN}."
        if _PART.search(file.name):
            return "is a part of a split GGUF. Join all parts with `llama-gguf-split --merge FIRST_PART WHOLE.gguf`, and give that file."
        if file.suffix != ".safetensors":
            return f"is empty. {_AGAIN}." if not size and file.suffix in (".bin", ".json", ".model") else ""
        if size < 8:
            return f"is cut off ({size} bytes). {_AGAIN}."
        (n_header,) = struct.unpack("<Q", start[:8])
        if n_header > MAX_HEADER_BYTES:
            return f"is not a safetensors file. {_AGAIN}."
        if size < 8 + n_header:
            return f"is cut off ({size:,} bytes are less than its header has). {_AGAIN}."
        stream.seek(8)
        header = stream.read(n_header)
    n_tensors = _count_tensor_bytes(header)
    if n_tensors is None:
        return f"is damaged (its header cannot be read). {_AGAIN}."
    if wrapper := _find_wrapper(header):
        return f"cannot be loaded. {explain_prefix(wrapper)}"
    n_bytes = 8 + n_header + n_tensors
    if size < n_bytes:
        return f"is cut off ({size:,} of {n_bytes:,} bytes). {_AGAIN}."
    return f"is damaged ({size:,} bytes instead of {n_bytes:,}). {_AGAIN}." if size > n_bytes else ""


def explain_prefix(prefix: str) -> str:
    """What to do if the names of weights begin with something that no loader expects."""
    told = f"The names of its weights begin with {prefix!r}"
    if prefix.startswith("base_model.model."):
        return f"{told}: it is a PEFT model saved as a whole. Merge the adapter (`merge_and_unload`) and save it again."
    if prefix in _WRAPPERS:
        return f"{told}, because a wrapper was saved. Save the model inside it (`model.module` or `model._orig_mod`), or remove this from the names."
    return f"{told}. Give it the config.json that belongs to these weights, or remove this from the names."


def _find_wrapper(header: bytes) -> str:
    """What all names in a readable safetensors header begin with, if a wrapper put it there. Otherwise empty."""
    names = json.loads(header).keys() - {"__metadata__"}
    return next((prefix for prefix in _WRAPPERS if names and all(name.startswith(prefix) for name in names)), "")


def _count_tensor_bytes(header: bytes) -> int | None:
    """Number of bytes that a safetensors header speaks of. None if it cannot be read."""
    try:
        tensors = json.loads(header)
        return max((int(t["data_offsets"][1]) for name, t in tensors.items() if name != "__metadata__"), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
