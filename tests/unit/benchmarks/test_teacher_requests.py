"""Which requests C6 asks, and when two arms' answers count as the same."""

from collections import Counter

import pytest

from benchmarks.measuring import BenchmarkError
from benchmarks.teacher_requests import (
    MOST_TOKENS,
    check_parity,
    choose,
    count_common,
    count_distinct,
    make_body,
    order_by_prefix,
    put_static_first,
    read_requests,
    write_compact,
    write_freely,
)
from pada_agent.core.chat import ChatRequest, Message


def request(template: str, text: str) -> ChatRequest:
    return ChatRequest(
        messages=(Message(role="user", content=text),),
        max_output_tokens=5000,
        temperature=0.7,
        json_schema={"type": "array"},
        tags={"prompt": template},
    )


def test_each_template_has_its_share_and_the_order_stays() -> None:
    requests = [request("rare", "0"), *(request("often", str(i)) for i in range(1, 10))]
    chosen = choose(requests, 4)
    assert [r.messages[0].content for r in chosen] == ["0", "1", "3", "5", "7"]
    assert choose(requests, 10) == requests


def test_the_shipped_requests_are_different_and_of_all_templates_of_the_demo() -> None:
    requests = read_requests(1000)
    assert len({r.messages for r in requests}) == len(requests) >= 40
    assert Counter(str(r.tags["prompt"]) for r in requests) == {
        "error_analysis": 4,
        "pattern_categorization": 2,
        "strategy_drafting": 1,
        "pattern_guided_generation": 36,
        "training_error_generation": 27,
    }


def test_short_requests_write_one_or_two_rows() -> None:
    requests = read_requests(10, most_rows=2)
    assert 9 <= len(requests) <= 11
    assert {r.json_schema["maxItems"] for r in requests if r.json_schema} == {1, 2}


def test_a_request_is_sent_as_a_run_sends_it_but_at_temperature_0_and_with_a_limit() -> None:
    body = make_body(request("x", "write"))
    assert body["temperature"] == 0 and body["max_tokens"] == MOST_TOKENS
    assert body["messages"] == [{"role": "user", "content": "write"}]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "array"}
    compact = write_compact(body)
    assert compact["response_format"]["json_schema"]["schema"]["x-guidance"] == {"whitespace_flexible": False}
    assert "x-guidance" not in body["response_format"]["json_schema"]["schema"], "the other arms' request stays"
    assert "response_format" not in write_freely(body)


def test_a_shared_beginning_is_counted_once() -> None:
    assert count_common((1, 2, 3), (1, 2, 4, 5)) == 2
    assert count_distinct([(1, 2, 3), (9,), (1, 2, 4), (1, 2)]) == 5


def test_paragraphs_that_more_prompts_have_come_first() -> None:
    bodies = [make_body(request("x", f"label {i}\n\nthe task\n\nrow {i}")) for i in range(2)]
    (first, second) = put_static_first(bodies, ["x", "x"])
    assert first["messages"][0]["content"] == "the task\n\nlabel 0\n\nrow 0"
    assert second["messages"][0]["content"] == "the task\n\nlabel 1\n\nrow 1"
    assert order_by_prefix([second, first]) == [1, 0]


def test_texts_may_part_at_ties_but_at_few() -> None:
    ours = ["same"] * 10
    told = check_parity(["ours", "peer"], [[ours], [["other", *ours[1:]]]], lambda *_: 0.01)
    assert told == "9 of 10 texts are the same as peer's, 1 diverge at a tie, at most 0.01 nats apart"
    with pytest.raises(BenchmarkError, match="1 of 10 texts differ"):
        check_parity(["ours", "peer"], [[ours], [["other", *ours[1:]]]], lambda *_: 0.2)
    with pytest.raises(BenchmarkError, match="3 of 10 texts differ"):
        check_parity(["ours", "peer"], [[ours], [["other"] * 3 + ours[3:]]], lambda *_: 0.0)


def test_texts_may_part_as_far_and_a_little_more_often_than_the_peers_own_repetitions_do() -> None:
    ours, three, six = ["same"] * 10, ["x"] * 3 + ["same"] * 7, ["y"] * 6 + ["same"] * 4

    def gap_of(_: int, a: str, b: str) -> float:
        return 0.3 if {a, b} == {"x", "same"} else 0.2

    told = check_parity(["ours", "peer"], [[ours], [ours, three]], gap_of)
    assert told.endswith("between peer's own repetitions, 3 diverge, at most 0.3 nats apart")
    with pytest.raises(BenchmarkError, match="6 of 10 texts differ"):
        check_parity(["ours", "peer"], [[["same"] * 10], [[*["y"] * 5, "same", *ours[6:]], six]], gap_of)
    with pytest.raises(BenchmarkError, match="3 of 10 texts differ"):
        check_parity(["ours", "peer"], [[three], [ours, ours]], gap_of)
