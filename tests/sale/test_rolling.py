"""What is left of a wave goes to the next one: all of it, once, and not before everybody in time was served."""

import pytest
from sqlalchemy import update

from jobs.sweeper import sweep
from tests.builders import make_users
from tests.sale.test_waves import campaign, come, execute, failed, holders, move, quotas, row
from webapp.line.line import Line
from webapp.models import CLOSED, Coupon
from webapp.sale import admission, claims, rolling
from webapp.sale.coupons import change_coupon
from webapp.sale.rolling import roll_over
from webapp.stores.script_redis import line_redis

pytestmark = pytest.mark.usefixtures("app")


def ended(left: int = 3, **options) -> list[int]:
    """Make a campaign of three waves that roll over; the first has ended, and so many of its five are left."""
    ids = campaign(3, quota=5, **{"rolls_over": True} | options)
    if left < 5:
        come(ids[0], *make_users(5 - left))
    move(ids[0], opens_in=-120, closes_in=-1)
    move(ids[2], opens_in=3600)
    return ids


@pytest.mark.parametrize("left", [0, 3, 5])
def test_what_is_left_goes_to_the_next_wave_once(left):
    ids = ended(left)
    assert roll_over(ids[0]) == left
    for again in (roll_over, roll_over):
        assert again(ids[0]) is None
    sweep()
    assert quotas(ids) == [5 - left, 5 + left, 5]
    assert (row(ids[0]).rolled_out, row(ids[1]).rolled_in) == (left, left)
    assert Line(line_redis(), ids[1]).gate().policy.quota == 5 + left
    assert failed(ids[0]) == failed(ids[1]) == []


def test_the_sweeper_does_it():
    ids = ended()
    sweep()
    sweep()
    assert quotas(ids) == [2, 8, 5]


def test_it_goes_on_and_on_and_the_last_wave_keeps_it():
    ids = ended()
    sweep()
    move(ids[1], closes_in=-1)
    sweep()
    move(ids[2], opens_in=-60, closes_in=-1)
    sweep()
    assert quotas(ids) == [2, 0, 13]
    assert row(ids[2]).rolled_out is None


def test_it_passes_over_a_wave_that_has_ended_or_was_closed_too():
    ids = ended()
    change_coupon(ids[1], status=CLOSED)
    sweep()
    assert quotas(ids) == [2, 5, 8]


def test_it_waits_until_everybody_who_came_in_time_was_served():
    ids, late = campaign(2, quota=5, rolls_over=True), make_users(2)
    for user in late:
        claims.claim(ids[0], user)
    move(ids[0], closes_in=-1)
    assert roll_over(ids[0]) is None
    admission.admit(ids[0])
    assert roll_over(ids[0]) == 3
    assert holders(ids[0]) == late


def test_control_without_the_wait_who_came_in_time_would_get_nothing(monkeypatch):
    ids, late = campaign(2, quota=5, rolls_over=True), make_users(2)
    for user in late:
        claims.claim(ids[0], user)
    move(ids[0], closes_in=-1)
    monkeypatch.setattr(rolling, "_is_served", lambda _: True)
    roll_over(ids[0])
    admission.admit(ids[0])
    assert holders(ids[0]) == []


def test_before_the_end_without_the_option_and_without_an_open_line_nothing_moves():
    ids = campaign(2, quota=5, rolls_over=True)
    assert roll_over(ids[0]) is None
    plain = ended(rolls_over=False)
    assert roll_over(plain[0]) is None
    lost = ended()
    line_redis().flushdb()
    assert roll_over(lost[0]) is None
    sweep()
    assert sum(quotas(lost)) == 15


@pytest.mark.parametrize("dies_at", ["before the commit", "after the commit"])
def test_whoever_dies_in_between_has_done_all_of_it_or_nothing(dies_at, monkeypatch):
    ids = ended()
    name = {"before the commit": "update", "after the commit": "publish_policy"}[dies_at]
    with monkeypatch.context() as broken:
        real, calls = getattr(rolling, name), []

        def die(*arguments):
            calls.append(arguments)
            if dies_at == "before the commit" and len(calls) < 2:
                return real(*arguments)
            raise RuntimeError("killed")

        broken.setattr(rolling, name, die)
        with pytest.raises(RuntimeError):
            roll_over(ids[0])
    assert quotas(ids) == ([5, 5, 5] if dies_at == "before the commit" else [2, 8, 5])
    sweep()
    assert quotas(ids) == [2, 8, 5]
    assert Line(line_redis(), ids[1]).gate().policy.quota == 8
    assert failed(ids[0]) == []


def test_control_the_audit_finds_a_leftover_that_was_moved_twice():
    ids = ended()
    roll_over(ids[0])
    execute(update(Coupon).where(Coupon.id == ids[1]).values(rolled_in=6))
    assert failed(ids[0]) == ["waves roll over"]


def test_what_rolled_over_is_given_out():
    ids, users = ended(), make_users(9)
    sweep()
    come(ids[1], *users)
    assert holders(ids[1]) == users[:8]
    assert failed(ids[1]) == []
