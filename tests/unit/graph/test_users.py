"""A set of adapters that calls share is closed once, when a call has ended with it and no node uses it."""

from pada_agent.graph.users import Users


def refuse() -> None:
    raise AssertionError("nothing is to be retired yet")


def test_a_set_is_kept_between_nodes() -> None:
    users = Users()
    for _ in range(2):
        assert users.enter()
        assert not users.leave(refuse)


def test_the_last_to_leave_closes_it() -> None:
    users, retired = Users(), list[str]()
    assert users.enter() and users.enter()
    users.end()
    assert not users.leave(refuse), "another call's node still works with it"
    assert users.leave(lambda: retired.append("now"))
    assert retired == ["now"]


def test_a_closed_set_is_entered_by_nobody_who_can_have_another() -> None:
    users = Users()
    users.enter()
    users.end()
    assert users.leave(lambda: None)
    assert not users.enter()
    assert users.enter(even_if_closed=True), "of adapters that are always the same ones"
    assert not users.leave(refuse)
    assert users.enter()
