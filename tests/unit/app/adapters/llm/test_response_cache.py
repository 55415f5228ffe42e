"""The record of LLM calls."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pada_agent.app.adapters.llm import response_cache
from pada_agent.app.adapters.llm.environment import Address
from pada_agent.app.adapters.llm.response_cache import ResponseCache, call_key, name_model, read_totals_by_agent
from pada_agent.core.chat import ChatReply, ChatRequest, Message
from pada_agent.core.errors import ArtifactError
from pada_agent.core.model_config import ModelConfig
from pada_agent.core.records import Usage


def ask(text: str = "hi", **fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message(role="user", content=text),), **fields)


def pay(cache: ResponseCache, request: ChatRequest, *, role: str = "judge", text: str = "yes") -> str:
    usage = Usage(n_calls=1, input_tokens=10, output_tokens=5, cost_usd=0.25)
    key = call_key("m", request)
    reply = ChatReply(text=text, usage=usage, truncated=True, key=key)
    cache.put(reply, request, model="m", role=role, started=1.0, seconds=2.0)
    return key


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ResponseCache]:
    opened = ResponseCache(tmp_path / "run" / "llm_calls.sqlite")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "other",
    [
        ask("ho"),
        ask(temperature=0.1),
        ask(max_output_tokens=9),
        ask(json_schema={"type": "array"}),
        ask(draw="b1"),
        ask(attempt=1),
    ],
)
def test_whatever_may_change_the_answer_changes_the_key(other: ChatRequest) -> None:
    assert call_key("m", other) != call_key("m", ask())
    assert call_key("other", ask()) != call_key("m", ask())


@pytest.mark.parametrize(
    ("settings", "address", "name"),
    [
        ({}, None, "openai:m@"),
        ({}, Address("https://api.openai.com/v1", ""), "openai:m@"),
        ({"base_url": "http://a/v1"}, Address("http://a/v1", "base_url"), "openai:m@http://a/v1"),
        ({"base_url": "http://a/v1"}, None, "openai:m@http://a/v1"),
        ({"reasoning_effort": "low", "extra": {"top_k": 1}}, None, 'openai:m@{"reasoning_effort": "low", "top_k": 1}'),
        ({}, Address("http://b/v1", "OPENAI_BASE_URL"), "openai:m@http://b/v1"),
        (
            {"headers": {"X-Route": "b"}, "header_envs": {"X-Token": "TOKEN"}},
            None,
            'openai:m@{"headers": {"x-route": "b", "x-token": "TOKEN"}}',
        ),
        ({"native_json_schema": True}, None, 'openai:m@{"native_json_schema": true}'),
        ({"send_temperature": False}, None, 'openai:m@{"send_temperature": false}'),
        ({"region": "us-east-1", "api_version": "2024-10-21", "service_tier": "priority"}, None, "openai:m@"),
    ],
)
def test_the_name_in_keys_says_who_answers_and_older_answers_are_found(
    settings: dict[str, Any], address: Address | None, name: str
) -> None:
    assert name_model(ModelConfig.model_validate({"model": "openai:m", **settings}), address) == name


def test_tags_do_not_change_the_key() -> None:
    assert call_key("m", ask(tags={"agent": "x", "iteration": 2})) == call_key("m", ask())


def test_a_stored_reply_comes_back_as_cached_and_free(cache: ResponseCache) -> None:
    key = pay(cache, ask())
    assert cache.get(key) == ChatReply(text="yes", usage=Usage(n_cached=1), truncated=True, cached=True, key=key)
    assert cache.get("unknown") is None


def test_an_answer_that_reached_its_own_limit_is_kept_in_any_context(cache: ResponseCache) -> None:
    keys = [pay(cache, ask(max_output_tokens=limit)) for limit in (5, 6)]
    for key in keys:
        cache.forget_cut_off(key, context_tokens=4096)
    assert [cache.get(key) is not None for key in keys] == [True, False]
    assert cache.totals().n_calls == 2, "what it cost still counts"


def test_an_answer_that_grew_no_longer_in_a_larger_context_is_kept(cache: ResponseCache) -> None:
    """A model's own context is a limit that no setting raises."""
    for is_kept in (False, True):
        key = pay(cache, ask(max_output_tokens=900))
        cache.forget_cut_off(key, context_tokens=4096)
        assert (cache.get(key) is not None) == is_kept
    assert cache.totals().n_calls == 2


def test_replies_outlive_the_process(cache: ResponseCache, tmp_path: Path) -> None:
    key = pay(cache, ask())
    again = ResponseCache(tmp_path / "run" / "llm_calls.sqlite")
    found = again.get(key)
    again.close()
    assert found is not None
    assert found.text == "yes"


def test_what_another_run_has_paid_for_is_a_hit_and_costs_this_one_nothing(tmp_path: Path) -> None:
    shared = tmp_path / "shared" / "llm_calls.sqlite"
    first, second = (
        ResponseCache(tmp_path / name / "llm_calls.sqlite", shared=ResponseCache(shared)) for name in ("a", "b")
    )
    alone = ResponseCache(tmp_path / "c" / "llm_calls.sqlite")
    try:
        key = pay(first, ask())
        assert second.get(key, role="judge") == first.get(key)
        assert alone.get(key) is None
        assert (first.totals().n_calls, second.totals().n_calls, second.totals().n_cached) == (1, 0, 1)
    finally:
        for cache in (first, second, alone):
            cache.close()


def test_the_ledger_counts_by_role_and_agent_and_hits_apart(cache: ResponseCache) -> None:
    key = pay(cache, ask("1", tags={"agent": "a"}), role="judge")
    pay(cache, ask("2", tags={"agent": "b"}), role="judge")
    pay(cache, ask("3", tags={"agent": "a"}), role="analyst")
    cache.get(key, role="judge", agent="a")
    one = Usage(n_calls=1, input_tokens=10, output_tokens=5, cost_usd=0.25)
    assert cache.totals_by_role() == {"analyst": one, "judge": one + one + Usage(n_cached=1)}
    assert read_totals_by_agent(cache.path) == {"a": one + one + Usage(n_cached=1), "b": one}
    assert cache.totals() == one + one + one + Usage(n_cached=1)


def test_the_ledger_counts_what_was_paid_by_a_tag(cache: ResponseCache) -> None:
    for n, batch in enumerate(("b1", "b2", "b1")):
        pay(cache, ask(str(n), tags={"batch": batch}))
    pay(cache, ask("no batch", tags={"agent": "a"}))
    one = Usage(n_calls=1, input_tokens=10, output_tokens=5, cost_usd=0.25)
    assert cache.totals_by_tag("batch") == {"b1": one + one, "b2": one}


def test_an_empty_ledger_is_zero(cache: ResponseCache) -> None:
    assert cache.totals() == Usage()


def test_of_equal_calls_at_once_the_first_stays(cache: ResponseCache) -> None:
    key = pay(cache, ask(), text="first")
    pay(cache, ask(), text="second")
    found = cache.get(key)
    assert found is not None
    assert found.text == "first"


def test_many_threads_can_write(cache: ResponseCache) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: pay(cache, ask(str(n))), range(100)))
    assert cache.totals().n_calls == 100


def test_the_call_can_be_read_with_plain_sql(cache: ResponseCache, tmp_path: Path) -> None:
    pay(cache, ask("what?", tags={"agent": "a", "batch": "b7"}))
    database = sqlite3.connect(tmp_path / "run" / "llm_calls.sqlite")
    row = database.execute("SELECT model, role, agent, reply, tags, seconds FROM calls").fetchone()
    (mode,) = database.execute("PRAGMA journal_mode").fetchone()
    database.close()
    assert row == ("m", "judge", "a", "yes", '{"agent": "a", "batch": "b7"}', 2.0)
    assert mode == "wal"


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "llm_calls.sqlite"
    path.write_text("not a database, though long enough to look like one " * 50)
    with pytest.raises(ArtifactError, match=r"llm_calls\.sqlite.*cannot be opened"):
        ResponseCache(path)


def test_totals_are_those_of_the_file_after_every_call_and_it_is_summed_up_once(
    cache: ResponseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums: list[str] = []
    sum_by = response_cache._sum_by
    monkeypatch.setattr(response_cache, "_sum_by", lambda db, column: [sums.append(column), sum_by(db, column)][1])
    pay(cache, ask("before it is asked"))
    for n in range(12):
        key = pay(cache, ask(f"{n % 7}", tags={"agent": f"a{n % 2}"}), role=("judge", "analyst")[n % 3 == 0])
        if n % 4 == 0:
            cache.get(key, role="judge", agent="a1")
        with closing(ResponseCache(cache.path)) as fresh:
            assert cache.totals_by_role() == fresh.totals_by_role()
    assert cache.totals().n_calls == 8 and cache.totals().n_cached == 3
    assert len(sums) == 1 + 12, "once here, and by each that read the file anew"


def test_what_another_process_pays_for_is_counted_too(cache: ResponseCache) -> None:
    pay(cache, ask("one"))
    assert cache.totals().n_calls == 1
    other = ResponseCache(cache.path)
    pay(other, ask("two"))
    other.close()
    pay(cache, ask("three"))
    assert cache.totals().n_calls == 3


def test_calls_of_an_earlier_version_get_a_price_only_if_they_have_none(cache: ResponseCache) -> None:
    pay(cache, ask())
    free = ChatReply(text="yes", usage=Usage(input_tokens=10, output_tokens=5), key=call_key("m", ask("free")))
    cache.put(free, ask("free"), model="m", role="judge", started=1.0, seconds=2.0)
    cache._db.execute("DELETE FROM charges")
    for price in (1e6, 2e6):
        prices = ModelConfig(model="m", usd_per_million_input_tokens=price, usd_per_million_output_tokens=price)
        cache.set_prices(prices, role="judge", server="s")
        assert cache.totals().cost_usd == 0.25 + 15 * price / 1e6


def test_only_the_role_and_the_model_that_the_prices_are_for_are_charged(cache: ResponseCache) -> None:
    pay(cache, ask(), role="analyst")
    prices = ModelConfig(model="m", usd_per_million_input_tokens=1e6)
    cache.set_prices(prices, role="judge", server="")
    cache.set_prices(prices.model_copy(update={"model": "n"}), role="analyst", server="")
    assert cache.totals().cost_usd == 0.25
    cache.set_prices(prices, role="analyst", server="")
    assert cache.totals().cost_usd == 10


def test_calls_are_charged_anew_only_at_other_prices(cache: ResponseCache) -> None:
    pay(cache, ask())
    prices = ModelConfig(model="m", usd_per_million_input_tokens=1e6)
    cache.set_prices(prices, role="judge", server="")
    cache._db.execute("UPDATE calls SET cost_usd = 7")
    cache.set_prices(prices, role="judge", server="")
    assert cache.totals().cost_usd == 7
    cache.set_prices(prices.model_copy(update={"usd_per_million_input_tokens": 2e6}), role="judge", server="")
    assert cache.totals().cost_usd == 20


def test_a_record_of_before_there_were_prices_of_cached_input_is_charged_in_full(cache: ResponseCache) -> None:
    pay(cache, ask())
    prices = ModelConfig(model="m", usd_per_million_input_tokens=1e6)
    cache.set_prices(prices, role="judge", server="")
    for table in ("cached_input", "cached_input_prices"):
        cache._db.execute(f"DROP TABLE {table}")
    with closing(ResponseCache(cache.path)) as again:
        for usd in (None, 0.5e6):
            cheaper = prices.model_copy(update={"usd_per_million_cached_input_tokens": usd})
            again.set_prices(cheaper, role="judge", server="")
            assert again.totals().cost_usd == 10


def test_prices_also_reach_the_calls_that_runs_share(tmp_path: Path) -> None:
    with closing(ResponseCache(tmp_path / "a", shared=ResponseCache(tmp_path / "shared"))) as cache:
        pay(cache, ask(tags={"batch": "b"}))
        cache.set_prices(ModelConfig(model="m", usd_per_million_input_tokens=1e6), role="judge", server="")
    with closing(ResponseCache(tmp_path / "b", shared=ResponseCache(tmp_path / "shared"))) as other:
        assert other.get(call_key("m", ask())) is not None
        assert other.totals_by_tag("batch")["b"].cost_usd == 10
