"""Tells control tokens, which the chat template alone may write, from other tokens that a tokenizer lists beside its vocabulary.

Such a list is no proof: with `pad_token_id = 0` the exclamation mark of many students is called special, and a word that
was added once more is an added token.
"""

import re
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from pada_agent.core.thoughts import CHANNEL_TOKENS, is_mark

_BRACKETED = re.compile(r"[\W_].*[^\W_].*[\W_]", re.DOTALL)
"""What no word looks like, such as `<unk>`. Some tokenizers have control tokens in their vocabulary, where text would come to them."""


class AddedTokens:
    """The tokens that a tokenizer lists beside its vocabulary, or gives a role such as padding, by what they are."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.names = {int(number): str(token.content) for number, token in tokenizer.added_tokens_decoder.items()}
        """By id. Without those that only have a role."""
        self.special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
        """Ids of those that are called special."""
        self._roles = {tokenizer.convert_tokens_to_ids(name): str(name) for name in tokenizer.all_special_tokens}
        self.special |= self._roles.keys()

    def list_control(self, written: Collection[int]) -> list[str]:
        """Names of the special tokens, and of added ones among `written`, the token ids that a chat template writes around turns.

        Line breaks, words, marks of thoughts and what ordinary text comes to are no control tokens.
        """
        named = [number for number in self._all if number in self.special or number in written]
        return [self._all[number] for number in named if not self._is_text(number)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens that a student wrote, without control tokens, but with those that show where a thought ends."""
        kept = [token for token in tokens if token not in self._unseen]
        text: str = self._tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def mislead(self, frame: str) -> bool:
        """Whether a special token is text, or a word that was added is part of what the chat template writes around turns."""
        texts = [number for number in self._all if self._is_text(number) and not self._all[number].isspace()]
        return any(number in self.special or (self._is_word(number) and self._all[number] in frame) for number in texts)

    def find_start(self) -> str:
        """The special token that the tokenizer puts before plain texts. Empty if there is none."""
        plain, whole = (self._tokenizer("a", add_special_tokens=adds)["input_ids"] for adds in (False, True))
        first: int = whole[0] if whole else -1
        return self._all[first] if whole[:1] != plain[:1] and first in self.special else ""

    @cached_property
    def _all(self) -> dict[int, str]:
        return self._roles | self.names

    @cached_property
    def _unseen(self) -> frozenset[int]:
        shown = CHANNEL_TOKENS if CHANNEL_TOKENS[0] in self._all.values() else ()
        return frozenset(n for n in self.special if not self._is_text(n) and self._all[n] not in shown)

    def _is_text(self, number: int) -> bool:
        name = self._all[number]
        return name.isspace() or is_mark(name) or self._is_word(number) or self._is_piece(number)

    def _is_word(self, number: int) -> bool:
        return number not in self.special and bool(re.fullmatch(r"\w+", self._all[number]))

    def _is_piece(self, number: int) -> bool:
        """Whether the vocabulary, without any list, makes this token of its name."""
        name, core = self._all[number], getattr(self._tokenizer, "backend_tokenizer", None)
        if core is None or _BRACKETED.fullmatch(name) or core.model.token_to_id(name) != number:
            return False
        return [token.id for token in core.model.tokenize(name)] == [number]
