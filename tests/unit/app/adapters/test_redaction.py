"""Keys that servers repeat."""

import base64

import pytest

from pada_agent.app.adapters.llm.redaction import Redaction

KEY = "tok+very/secret"


@pytest.mark.parametrize(
    "form",
    [KEY, KEY.upper(), base64.b64encode(KEY.encode()).decode(), "tok%2Bvery%2Fsecret"],
)
def test_a_secret_is_masked_in_every_form_that_servers_repeat(form: str) -> None:
    redaction = Redaction((KEY,))
    assert redaction.mask_own(f"your token {form} is odd").startswith("your token [key]")
    assert redaction.is_in(form)


def test_what_looks_like_a_key_is_masked_in_errors_and_not_in_answers() -> None:
    words = "Incorrect API key provided: sk-proj-ab***xyz"
    assert Redaction().mask(words) == "Incorrect API key provided: [key]"
    assert Redaction().mask_own(words) == words


def test_a_short_secret_masks_no_words() -> None:
    assert Redaction(("x",)).mask_own("exact text") == "exact text"


def test_nothing_shows_the_secrets() -> None:
    assert KEY not in repr(Redaction((KEY,)))
