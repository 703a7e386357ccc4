"""Many clicks in one call of the script are answered as the same clicks one by one, and so are many polls."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import on_sqlite
from tests.line.test_line import arrivals, arrived, begin, numbers, policy
from webapp.line.line import Line
from webapp.line.types import Claimed, Reply, Settled
from webapp.stores.script_redis import line_redis

pytestmark = [pytest.mark.usefixtures("app"), on_sqlite]
SCENES = {
    "open": {},
    "without a quota": {"quota": None},
    "before the start": {"opens_at_ms": 2**51},
    "just over": {"closes_at_ms": 0},
    "over for long": {"closes_at_ms": 1},
    "closed": {"status": "closed"},
    "paused": {"status": "paused"},
    "sold out": {"quota": 2, "issued": 2},
    "sold out, two places in standby": {"quota": 2, "issued": 2, "standby_limit": 2},
    "sold out, many places in standby": {"quota": 2, "issued": 2, "standby_limit": 50},
    "for a list": {"audience": "1"},
    "for a list that Redis does not know": {"audience": "2"},
    "sold out, for a list": {"quota": 2, "issued": 2, "standby_limit": 3, "audience": "1"},
}
USERS = st.lists(st.integers(1, 12), max_size=14)


def staged(coupon_id: int, scene: dict, before: list[int], settled: int, *, elsewhere: bool) -> Line:
    """Return a line in which some have a result, some wait, and some stand in standby."""
    line = Line(line_redis(), coupon_id)
    line.forget()
    begin(line, policy(quota=99))
    for user in before:
        line.claim(user)
    winners = line.head(settled).tickets if settled else []
    line.settle(
        None, [Settled(member, number, f"issued:{number}:CODE{number}") for member, number in winners]
    )
    changes = dict(scene)
    if changes.get("closes_at_ms") == 0:
        changes["closes_at_ms"] = line.gate().now_ms
    line.publish(policy(revision=2, **changes))
    if changes.get("quota") == 2 and len(before) % 2:
        line.to_standby()
    if changes.get("audience"):
        line.write_members(epoch=1, audience="1", bits=bytes([0b01010101, 0b11110000]))
    if elsewhere:
        line.write_elsewhere(epoch=1, version="1", bits=bytes([0b00010001, 0b00001000]))
    line.quiet_bell()
    return line


def told(users: list[int], claims: list[Claimed]) -> list[tuple]:
    """Return what each heard. Who pressed twice, and came late, hears the second time of standby alone, or of all."""
    twice = [user in users[:position] for position, user in enumerate(users)]
    return [
        (
            each.reply,
            each.epoch,
            each.number,
            None if again and each.reply is Reply.STANDBY else each.ahead,
            each.ring,
            without_times(each),
        )
        for again, each in zip(twice, claims, strict=True)
    ]


def without_times(claimed: Claimed) -> list[str]:
    facts = claimed.result.split(":")
    refused = claimed.reply in (Reply.CLOSED, Reply.SOLD_OUT, Reply.PAST)
    return [facts[1], *facts[3:]] if refused else facts


def kept(line: Line) -> tuple:
    gate = line.gate()
    return numbers(line), [*line.standby()], gate.last, gate.waiting, line.bell_ms() is None


@pytest.mark.parametrize("scene", SCENES)
@settings(
    max_examples=25,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(before=USERS, settled=st.integers(0, 3), users=USERS.filter(bool), elsewhere=st.booleans())
def test_a_batch_is_answered_as_one_by_one(app, scene, before, settled, users, elsewhere):
    one_by_one, at_once = (
        staged(coupon, SCENES[scene], before, settled, elsewhere=elsewhere) for coupon in (7, 8)
    )
    singly = [one_by_one.claim(user) for user in users]
    together = at_once.claims(users)
    assert told(users, together) == told(users, singly)
    assert kept(at_once) == kept(one_by_one)
    polled = [one_by_one.standing(user) for user in range(1, 14)]
    assert at_once.standings(range(1, 14)) == polled
    for line in (one_by_one, at_once):
        line.forget()


def test_a_lost_answer_numbers_nobody_twice(app):
    line = staged(7, {}, [], 0, elsewhere=False)
    first = line.claims([3, 1, 2, 1])
    again = line.claims([3, 1, 2, 1])
    assert [each.number for each in first] == [each.number for each in again] == [1, 2, 3, 2]
    assert [each.ring for each in first] == [True, False, False, False]
    assert not any(each.ring for each in again)
    assert line.gate().last == 3


def test_the_bucket_of_a_batch_begins_with_its_first_number(app):
    line = staged(7, {}, [], 0, elsewhere=False)
    (first, *_others) = line.claims([9, 8, 7])
    assert [number for _, number in arrivals(line)] == [1]
    assert line.arrival(3) == arrived(first)


def test_a_nearly_full_server_answers_those_whom_it_knows(app):
    line = staged(7, {}, [1], 0, elsewhere=False)
    line.redis.hset(line.gate_key, mapping={"full": 1, "looked_at": line.gate().now_ms + 50})
    assert [each.reply for each in line.claims([1, 2, 3])] == [Reply.WAITING, Reply.FULL, Reply.FULL]
    assert line.gate().last == 1
