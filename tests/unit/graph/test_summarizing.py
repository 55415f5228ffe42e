from pada_agent.graph.summarizing import word_verdict
from tests.unit.app.summaries import make_summary


def test_a_gain_with_more_steps_is_not_called_the_datas() -> None:
    summary = make_summary()
    words = word_verdict(summary.comparisons, summary.arms, equal_steps=False)
    assert words.startswith("The augmented model is better: 'iteration 1' against 'fine-tuned' +10.0% on test")
    assert "more optimizer steps" in words


def test_a_gain_at_equal_steps_is() -> None:
    summary = make_summary()
    words = word_verdict(summary.comparisons, summary.arms, equal_steps=True)
    assert words.startswith("Augmentation helped: ") and "steps" not in words
