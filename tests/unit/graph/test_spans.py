"""When stages ran: executions that overlap count once."""

from pada_agent.graph.spans import merge_by_stage, seconds_by_stage


def test_executions_of_a_stage_are_merged_and_their_seconds_stay_the_same() -> None:
    spans = {
        "write/b1/0": (10.0, 12.0),
        "write/b2/0": (11.0, 13.5),
        "write/b1/1": (20.0, 21.0),
        "judge/b1/0": (12.0, 12.5),
    }
    merged = merge_by_stage(spans)
    assert merged == {"write": (10.0, 13.5, 20.0, 21.0), "judge": (12.0, 12.5)}
    other = {"write/i1-training_error": (13.0, 20.5)}
    rounds = {f"{stage}/i1-pattern": span for stage, span in merged.items()}
    assert (
        seconds_by_stage({**rounds, **other}) == seconds_by_stage({**spans, **other}) == {"write": 11.0, "judge": 0.5}
    )
