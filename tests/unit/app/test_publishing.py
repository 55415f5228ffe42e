from pada_agent.app.publishing import write_card
from tests.unit.app.summaries import make_summary


def test_the_card_names_the_base_weights_it_fits() -> None:
    summary = make_summary()
    card = write_card(summary, summary.arms[-1], {"student.gguf": "b179c952"})
    assert card.endswith("It fits only these base weights: `student.gguf`, SHA-256 `b179c952`.\n")
    assert summary.verdict in card


def test_the_card_of_an_unknown_base_says_nothing_about_it() -> None:
    summary = make_summary()
    assert "SHA-256" not in write_card(summary, summary.arms[-1], {})
