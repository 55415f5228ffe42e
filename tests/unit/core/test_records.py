"""Records answer for all of their fields."""

from pada_agent.core.records import Strategy


def test_every_text_field_of_a_strategy_is_read_and_rewritten() -> None:
    names = [
        name for name, field in Strategy.model_fields.items() if field.annotation is str and not name.endswith("id")
    ]
    elements = ("a number", "a drink")
    strategy = Strategy.model_validate(
        {"id": "s", "pattern_id": "p", **{name: name for name in names}, "key_elements": elements}
    )
    assert strategy.texts == (*names, *elements)
    rewritten = strategy.rewrite(str.upper)
    assert rewritten.texts == tuple(text.upper() for text in strategy.texts)
    assert (rewritten.id, rewritten.pattern_id) == ("s", "p")
