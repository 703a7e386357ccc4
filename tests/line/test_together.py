"""Clicks that travel together: in the order in which they came, one number each, and nobody waits for another's end."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis

from webapp.line import together
from webapp.line.together import MOST, Together

COUPON, OTHER = 7, 8
WAIT_S = 30


class Calls:
    """Stands for the way to Redis: each call waits until the test lets it come back."""

    def __init__(self) -> None:
        self.made: list[tuple[int, list[int]]] = []
        self.fails: dict[int, BaseException] = {}
        self.away: dict[int, threading.Event] = {}
        self.begun = threading.Condition()

    def __call__(self, coupon_id: int, users: list[int]) -> list[str]:
        with self.begun:
            number = len(self.made)
            self.made.append((coupon_id, users))
            back = self.away.setdefault(number, threading.Event())
            self.begun.notify_all()
        assert back.wait(WAIT_S)
        if number in self.fails:
            raise self.fails[number]
        return [f"{coupon_id}:{user}" for user in users]

    def wait_for(self, number: int) -> None:
        with self.begun:
            assert self.begun.wait_for(lambda: len(self.made) > number, WAIT_S)

    def come_back(self, *numbers: int) -> None:
        for number in numbers:
            self.away.setdefault(number, threading.Event()).set()


class Crowd:
    """People who ask one after the other, each in a thread of their own."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.calls, self.pool = Calls(), pool
        self.together: Together[str] = Together(self.calls)

    def ask(self, *users: int, coupon: int = COUPON) -> list[Future[str]]:
        """Have users ask in this order while a call is away; return when all of them wait."""
        asked = []
        for user in users:
            asked.append(self.pool.submit(self.together.ask, coupon, user))
            self._until_it_waits(user, coupon)
        return asked

    def lead(self, user: int, coupon: int = COUPON) -> Future[str]:
        """Have a user ask whose call is not back before the test says so."""
        number = len(self.calls.made)
        asked = self.pool.submit(self.together.ask, coupon, user)
        self.calls.wait_for(number)
        return asked

    def _until_it_waits(self, user: int, coupon: int) -> None:
        waiting = threading.Event()
        for _ in range(WAIT_S * 1000):
            if any(seat.user_id == user for seat in self.together._gathering.get(coupon, [])):
                return
            waiting.wait(0.001)
        pytest.fail(f"{user} does not wait")


@pytest.fixture
def crowd(monkeypatch) -> Any:
    monkeypatch.setattr(together, "TURN_S", WAIT_S)
    with ThreadPoolExecutor(2 * MOST) as pool:
        yield (made := Crowd(pool))
        made.calls.come_back(*range(100))


def answers(asked: list[Future[str]]) -> list[str]:
    return [each.result(WAIT_S) for each in asked]


def test_whoever_finds_no_call_away_sends_at_once(crowd):
    crowd.calls.come_back(0, 1)
    assert [crowd.together.ask(COUPON, user) for user in (1, 2)] == ["7:1", "7:2"]
    assert crowd.calls.made == [(COUPON, [1]), (COUPON, [2])]
    assert crowd.together._gathering == {}, "nothing is kept of a coupon that nobody asks for"


def test_whoever_comes_meanwhile_travels_with_the_next_call_in_order(crowd):
    first = crowd.lead(1)
    others = crowd.ask(5, 3, 4, 3)
    assert len(crowd.calls.made) == 1
    crowd.calls.come_back(0, 1)
    assert answers([first, *others]) == ["7:1", "7:5", "7:3", "7:4", "7:3"]
    assert crowd.calls.made == [(COUPON, [1]), (COUPON, [5, 3, 4, 3])]
    assert crowd.together._gathering == {}


def test_who_leads_does_not_wait_for_who_follows(crowd):
    first = crowd.lead(1)
    others = crowd.ask(2, 3)
    crowd.calls.come_back(0)
    assert first.result(WAIT_S) == "7:1"
    crowd.calls.wait_for(1)
    assert not any(each.done() for each in others)


def test_another_coupon_does_not_wait(crowd):
    crowd.lead(1)
    crowd.calls.come_back(1)
    assert crowd.together.ask(OTHER, 1) == "8:1"


def test_one_call_takes_no_more_than_most(crowd):
    first = crowd.lead(0)
    others = crowd.ask(*range(1, MOST + 3))
    crowd.calls.come_back(0, 1, 2)
    assert answers([first, *others]) == [f"7:{user}" for user in range(MOST + 3)]
    assert [users for _, users in crowd.calls.made] == [[0], [*range(1, MOST + 1)], [MOST + 1, MOST + 2]]


def test_an_error_is_of_that_call_alone(crowd):
    first = crowd.lead(1)
    others = crowd.ask(2, 3)
    crowd.calls.fails[1] = redis.ConnectionError("away")
    crowd.calls.come_back(0)
    crowd.calls.wait_for(1)
    later = crowd.ask(4)
    crowd.calls.come_back(1, 2)
    for each in others:
        with pytest.raises(redis.ConnectionError, match="away"):
            each.result(WAIT_S)
    assert answers([first, *later]) == ["7:1", "7:4"]


def test_a_leader_that_is_ended_takes_nobody_along(crowd):
    crowd.lead(1)
    leader, follower = crowd.ask(2, 3)
    crowd.calls.fails[1] = SystemExit()
    crowd.calls.come_back(0, 1)
    with pytest.raises(SystemExit):
        leader.result(WAIT_S)
    with pytest.raises(redis.ConnectionError, match="broken off"):
        follower.result(WAIT_S)
    crowd.calls.come_back(2)
    assert crowd.together.ask(COUPON, 4) == "7:4"


def ended_while_waiting(monkeypatch, *ended: int) -> None:
    """Have the requests of some users be broken off, once they are to lead or to be answered."""
    waits: Callable[[Any], bool] = together.wait_for_turn

    def broken_off(seat: Any) -> bool:
        come = waits(seat)
        if seat.user_id in ended:
            raise SystemExit
        return come

    monkeypatch.setattr(together, "wait_for_turn", broken_off)


def test_who_is_ended_before_leading_gives_the_lead_to_the_next(crowd, monkeypatch):
    ended_while_waiting(monkeypatch, 2)
    first = crowd.lead(1)
    ended, follower, last = crowd.ask(2, 3, 4)
    crowd.calls.come_back(0, 1)
    assert answers([first, follower, last]) == ["7:1", "7:3", "7:4"]
    assert isinstance(ended.exception(WAIT_S), SystemExit)
    assert crowd.calls.made == [(COUPON, [1]), (COUPON, [3, 4])]
    assert crowd.together._gathering == {}


def test_whoever_waits_too_long_goes_alone(crowd, monkeypatch):
    first = crowd.lead(1)
    monkeypatch.setattr(together, "TURN_S", 0.05)
    alone = crowd.pool.submit(crowd.together.ask, COUPON, 2)
    crowd.calls.wait_for(1)
    crowd.calls.come_back(1)
    assert alone.result(WAIT_S) == "7:2"
    monkeypatch.setattr(together, "TURN_S", WAIT_S)
    (later,) = crowd.ask(3)
    crowd.calls.come_back(0, 2)
    assert answers([first, later]) == ["7:1", "7:3"]
    assert crowd.calls.made == [(COUPON, [1]), (COUPON, [2]), (COUPON, [3])]


def test_whose_call_is_away_already_waits_for_it(crowd, monkeypatch):
    waits: Callable[[Any], bool] = together.wait_for_turn
    too_long, told = threading.Event(), []

    def out_of_time(seat: Any) -> bool:
        if seat.user_id == 3 and not told:
            told.append(too_long.wait(WAIT_S))
            return False
        return waits(seat)

    monkeypatch.setattr(together, "wait_for_turn", out_of_time)
    crowd.lead(1)
    leader, follower = crowd.ask(2, 3)
    crowd.calls.come_back(0)
    crowd.calls.wait_for(1)
    too_long.set()
    crowd.calls.come_back(1)
    assert answers([leader, follower]) == ["7:2", "7:3"]
    assert [users for _, users in crowd.calls.made] == [[1], [2, 3]]
