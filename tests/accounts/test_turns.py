"""Crowds that take turns."""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from deploy.processes import wait_until
from webapp.accounts.turns import CrowdTooLarge, NoPlace, Turns


def test_places_are_given_back():
    turns = Turns(2, most_waiting=10)
    for _ in range(5):
        with turns.place("a", 0), turns.place("b", 0):
            assert turns.free == 0
    assert (turns.free, turns.waiting, turns.taken) == (2, {}, {})


def test_a_place_is_given_back_by_whoever_fails_in_it():
    turns = Turns(1, most_waiting=10)
    with pytest.raises(ZeroDivisionError), turns.place("a", 0):
        1 / 0  # noqa: B018
    assert turns.free == 1


@pytest.mark.parametrize(("places", "of_one_crowd"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4)])
def test_one_crowd_has_half_of_the_places_at_most(places, of_one_crowd):
    turns = Turns(places, most_waiting=10)
    with ExitStack() as held:
        for _ in range(of_one_crowd):
            held.enter_context(turns.place("crowd", 0))
        with pytest.raises(NoPlace):
            held.enter_context(turns.place("crowd", 0))
        for number in range(places - of_one_crowd):
            held.enter_context(turns.place(f"other {number}", 0))
    assert turns.free == places


def test_a_crowd_that_is_too_large_hears_it_at_once():
    turns = Turns(1, most_waiting=3)
    turns.waiting["crowd"] = deque(threading.Event() for _ in range(3))
    with pytest.raises(CrowdTooLarge), turns.place("crowd", 30):
        pass


@pytest.mark.parametrize("places", [1, 2])
def test_whoever_comes_after_a_crowd_is_next_but_one(places):
    """150 of one crowd wait for a place; somebody of another comes last, and is served second."""
    turns, order = Turns(places, most_waiting=200), []

    def take(crowd: str) -> None:
        with turns.place(crowd, 60):
            order.append(crowd)

    with ThreadPoolExecutor(151) as pool, ExitStack() as held:
        for number in range(places):
            held.enter_context(turns.place(f"before {number}", 0))
        crowd = [pool.submit(take, "crowd") for _ in range(150)]
        wait_until(lambda: len(turns.waiting.get("crowd", ())) == 150, wait_s=30)
        last = pool.submit(take, "other")
        wait_until(lambda: "other" in turns.waiting, wait_s=30)
        held.close()
        for each in (*crowd, last):
            each.result(60)
    assert order.index("other") <= 2 * places + 1  # threads of one turn note it in any order
    assert (len(order), turns.free, turns.waiting) == (151, places, {})
