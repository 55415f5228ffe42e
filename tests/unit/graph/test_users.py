"""A set of adapters that calls share is closed once, when a call has ended with it and no node uses it."""

import time
from threading import Event

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


def test_a_set_that_no_node_uses_any_more_is_closed_after_a_while() -> None:
    users, closed, retired = Users(idle_seconds=0.05), Event(), list[str]()
    users.enter()
    assert not users.leave(refuse)
    users.close_when_idle(lambda: retired.append("now"), closed.set)
    assert closed.wait(5) and retired == ["now"]
    assert not users.enter()


def test_a_set_in_use_is_not_idle() -> None:
    users, closed = Users(idle_seconds=0.05), Event()
    users.enter()
    assert not users.leave(refuse)
    users.close_when_idle(lambda: None, closed.set)
    assert users.enter()
    assert not closed.wait(0.2)
    assert not users.leave(refuse)
    users.close_when_idle(lambda: None, closed.set)
    assert closed.wait(5)


def test_each_use_begins_the_wait_anew() -> None:
    users, closed, began = Users(idle_seconds=0.3), Event(), time.monotonic()
    for _ in range(4):
        users.enter()
        assert not users.leave(refuse)
        users.close_when_idle(lambda: None, closed.set)
        time.sleep(0.1)
    assert closed.wait(5) and time.monotonic() - began > 0.59


def test_a_set_that_a_call_has_closed_is_not_closed_again() -> None:
    users, closed = Users(idle_seconds=0.05), Event()
    users.enter()
    assert not users.leave(refuse)
    users.close_when_idle(refuse, closed.set)
    users.enter()
    users.end()
    assert users.leave(lambda: None)
    assert not closed.wait(0.2)
