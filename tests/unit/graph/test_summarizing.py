from pada_agent.graph.summarizing import word_verdict
from tests.unit.app.summaries import make_summary


def test_a_gain_with_more_steps_is_not_called_the_datas() -> None:
    summary = make_summary()
    words = word_verdict(summary.comparisons, summary.arms, equal_steps=False)
    assert words.startswith("The augmented model is better: 'iteration 1' against 'fine-tuned' +10.0 points on test")
    assert "more optimizer steps" in words


def test_a_gain_at_equal_steps_is_one_seeds() -> None:
    summary = make_summary()
    words = word_verdict(summary.comparisons, summary.arms, equal_steps=True)
    assert "steps" not in words and words.endswith(
        "One seed speaks of these two models; of the method, only several seeds do."
    )


def test_a_loss_and_no_effect_are_said_as_such() -> None:
    summary = make_summary()
    lost = [c.model_copy(update={"verdict": "lost"}) for c in summary.comparisons]
    assert word_verdict(lost, summary.arms, equal_steps=False).startswith("The augmented model is worse: ")
    unclear = [c.model_copy(update={"verdict": "not shown"}) for c in summary.comparisons]
    assert word_verdict(unclear, summary.arms, equal_steps=True).startswith("No effect of augmentation is shown: ")
