from pada_agent.core.wording import agree, count, list_some


def test_numbers_nouns_and_verbs_agree() -> None:
    assert [count(n, "row") for n in (0, 1, 2, 1200)] == ["0 rows", "1 row", "2 rows", "1,200 rows"]
    assert [agree(n, "is", "are") for n in (0, 1, 2)] == ["are", "is", "are"]


def test_a_sentence_names_five_items_and_counts_the_others() -> None:
    assert list_some(list("abcde")) == "a, b, c, d, e"
    assert list_some(list("abcdefg")) == "a, b, c, d, e and 2 more"
