"""Keeps names of control tokens in row text, such as `<|im_end|>`, as plain text, so that no row can end or begin a turn.

Row text goes through the chat template with such names hidden. This makes it possible to tell what the template itself
wrote. Both are then tokenized in one go, by a copy of the tokenizer in which control tokens have other, secret names.
"""

import json
import re
import secrets
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from pada_agent.core.errors import DatasetError

OPENING, CLOSING = "\U0010fff0", "\U0010fff1"
"""Private characters. Between them is a number drawn at each start, so that no row can know a hidden name."""


class ControlTokens:
    """Hides the names of control tokens, and encodes text that was rendered with hidden names."""

    def __init__(self, tokenizer: Any, names: Iterable[str]) -> None:
        self._tokenizer = tokenizer
        self._names = sorted(set(names) - {""}, key=lambda name: (-len(name), name))
        self._secret = f"{OPENING}{secrets.token_hex(8)}"
        self._named = re.compile("|".join(map(re.escape, self._names)) or "(?!)")
        self._hidden = re.compile(f"{self._secret}:([0-9]+){CLOSING}")

    def hide(self, text: str) -> str:
        """The text with secret words in place of control tokens' names. Most texts contain none."""
        return self._named.sub(lambda match: f"{self._secret}:{self._names.index(match.group())}{CLOSING}", text)

    def show(self, rendered: str) -> str:
        """The rendered text with the original names, for a person to read."""
        return self._hidden.sub(lambda match: self._names[int(match.group(1))], rendered)

    def encode(self, rendered: str) -> list[int]:
        """Token ids: control tokens where the template wrote them, and plain text where names were hidden.

        Raises:
            DatasetError: something is hidden, and this kind of tokenizer cannot read a control token's name as text.
        """
        if self._secret not in rendered:
            token_ids: list[int] = self._tokenizer(rendered, add_special_tokens=False)["input_ids"]
            return token_ids
        if self._renamed is None:
            names = ", ".join(sorted({self._names[int(number)] for number in self._hidden.findall(rendered)}))
            raise DatasetError(
                f"a row's text contains {names}, and the student's tokenizer cannot read that as text. Remove it from the"
                " rows, or set student.control_tokens_in_rows to true, which makes it a control token."
            )
        renamed = self._named.sub(lambda match: self._rename(match.group()), rendered)
        encoded: list[int] = self._renamed.encode(self.show(renamed), add_special_tokens=False).ids
        return encoded

    def _rename(self, name: str) -> str:
        return f"{self._secret}{name}{CLOSING}"

    @cached_property
    def _renamed(self) -> Any | None:
        """A copy of the tokenizer's core with the secret names. None if it has no such core, or does not keep the order of ids."""
        core = getattr(self._tokenizer, "backend_tokenizer", None)
        if core is None:
            return None
        spec = json.loads(core.to_str())
        spec |= {"post_processor": None, "truncation": None, "padding": None}
        for token in spec["added_tokens"]:
            if token["content"] in self._names:
                token["content"] = self._rename(token["content"])
        _rename_vocabulary(spec["model"], {name: self._rename(name) for name in self._names})
        copy = type(core).from_str(json.dumps(spec))
        same = all(copy.token_to_id(self._rename(name)) == core.token_to_id(name) for name in self._names)
        return copy if same else None


def _rename_vocabulary(model: dict[str, Any], names: dict[str, str]) -> None:
    """A control token may also be in the model's own vocabulary, either as name and id or as pairs of name and score."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): number for piece, number in vocabulary.items()}
    else:
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if names.keys().isdisjoint(_list_merged(merge))]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]


def _list_merged(merge: str | list[str]) -> list[str]:
    """Two pieces and what they become. No text is to become a control token."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return [left, right, left + right]
