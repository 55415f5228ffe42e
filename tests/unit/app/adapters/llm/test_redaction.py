"""Keys that servers repeat."""

import base64

import pytest

from pada_agent.app.adapters.llm.redaction import Redaction

KEY = "tok+very/secret"


@pytest.mark.parametrize(
    "form",
    [
        KEY,
        KEY.upper(),
        "tok%2Bvery%2Fsecret",
        "tok+very/\nsecret",
        "'tok+ve' + 'ry/secret'",
        "t o k + v e r y / s e c r e t",
        *(base64.b64encode(f"{user}{KEY}".encode()).decode() for user in ("", "u", "me", "you", "user:")),
        base64.urlsafe_b64encode(KEY.encode()).decode(),
    ],
)
def test_a_secret_is_masked_in_every_form_that_servers_repeat(form: str) -> None:
    redaction = Redaction((KEY,))
    masked = redaction.mask_own(f"your token {form} is odd")
    assert "[key]" in masked
    assert masked.startswith("your token ")
    assert masked.endswith(" is odd")
    assert redaction.is_in(form)


def test_an_answer_without_the_secret_is_left_as_it_is() -> None:
    words = "a token, very secret, tok+very / and secretly"
    assert Redaction((KEY,)).mask_own(words) == words


def test_what_looks_like_a_key_is_masked_in_errors_and_not_in_answers() -> None:
    words = "Incorrect API key provided: sk-proj-ab***xyz"
    assert Redaction().mask(words) == "Incorrect API key provided: [key]"
    assert Redaction().mask_own(words) == words


@pytest.mark.parametrize("placeholder", ["anything", "ollama", "not-needed", "secret", "no key needed", "sk-1234"])
def test_a_placeholder_is_masked_in_errors_and_not_in_answers(placeholder: str) -> None:
    words = f"Is there {placeholder} I can do?"
    assert Redaction((placeholder,)).mask_answer(words) == words
    assert placeholder not in Redaction((placeholder,)).mask(words)


@pytest.mark.parametrize("key", [KEY, "sk-proj-1a2b3c4d5e6f", "0123456789abcdef0123456789abcdef"])
def test_a_key_is_masked_in_answers(key: str) -> None:
    assert Redaction((key, "anything")).mask_answer(f"anything with {key}") == "anything with [key]"


def test_a_short_secret_masks_no_words() -> None:
    assert Redaction(("x",)).mask_own("exact text") == "exact text"


def test_nothing_shows_the_secrets() -> None:
    assert KEY not in repr(Redaction((KEY,)))
