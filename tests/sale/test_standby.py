"""Standby for who comes late: a place behind all who waited, up to a limit, with a number and a receipt."""

import pytest
import redis
from sqlalchemy import select

from tests.builders import failing, make_coupon, make_users
from tests.sale.test_audit_finds import end_grace
from tests.web.test_tickets import Statements
from webapp.line.line import Line
from webapp.models import CouponIssue
from webapp.sale import admission, audit, claims, publishing, redeeming
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.outcomes import Refused, Ticket
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

QUOTA, WAITED = 2, 3


@pytest.fixture(autouse=True)
def _quick(app, monkeypatch):
    monkeypatch.setattr(admission, "GATHER_S", 0)
    monkeypatch.setattr(audit, "RUNG_WITHIN_S", 0)


def sold_out(limit: int) -> tuple[int, list[int]]:
    """Return a coupon that is gone, and the users in standby for it: they waited when it ran out."""
    coupon, users = make_coupon(quota=QUOTA, standby_limit=limit), make_users(QUOTA + WAITED)
    for user in users:
        claims.claim(coupon, user)
    admission.admit(coupon)
    return coupon, users[QUOTA:]


def holders(coupon: int) -> list[int]:
    """Return who holds the coupon, in the order of their numbers."""
    db.session.rollback()
    return list(
        db.session.scalars(
            select(CouponIssue.user_id)
            .where(CouponIssue.coupon_id == coupon)
            .order_by(CouponIssue.ticket_number)
        )
    )


def in_standby(coupon: int) -> list[int]:
    return [int(member) for member in line_redis().zrange(Line(line_redis(), coupon).standby_key, 0, -1)]


def refused(coupon: int, user: int) -> str:
    with pytest.raises(Refused) as refusal:
        claims.claim(coupon, user)
    return refusal.value.code


def proven(coupon: int) -> None:
    report = audit.run(coupon)
    assert report.ok, list(report.lines())


def test_who_comes_late_stands_behind_all_who_waited_and_keeps_the_place():
    coupon, waited = sold_out(limit=5)
    first, second = make_users(2)
    ticket = claims.claim(coupon, first)
    assert ticket == Ticket("sold_out", 1, number=6, missed_by=WAITED + 1)
    assert claims.claim(coupon, first) == claims.standing(coupon, first) == ticket
    assert claims.claim(coupon, second).missed_by == WAITED + 2
    assert in_standby(coupon) == [*waited, first, second]
    proven(coupon)


def test_it_takes_one_round_trip_and_no_sql(app, monkeypatch):
    coupon, _ = sold_out(limit=5)
    (late,) = make_users(1)
    calls = []
    run_script = type(line_redis()).run_script
    monkeypatch.setattr(
        type(line_redis()),
        "run_script",
        lambda self, name, *rest: calls.append(name) or run_script(self, name, *rest),
    )
    with Statements() as statements:
        claims.claim(coupon, late)
    assert (calls, statements) == (["claim"], [])


def test_the_limit_counts_all_in_standby_and_then_it_is_sold_out():
    coupon, waited = sold_out(limit=WAITED + 1)
    first, second = make_users(2)
    assert claims.claim(coupon, first).state == "sold_out"
    assert refused(coupon, second) == "sold_out"
    assert in_standby(coupon) == [*waited, first]
    proven(coupon)


@pytest.mark.parametrize("limit", [0, WAITED - 1, WAITED])
def test_without_a_place_left_nobody_gets_one(limit):
    coupon, waited = sold_out(limit)
    assert refused(coupon, *make_users(1)) == "sold_out"
    assert in_standby(coupon) == waited


def test_a_coupon_that_comes_back_goes_to_who_waited_first_and_then_to_who_came_late_in_order():
    coupon, waited = sold_out(limit=10)
    late = make_users(3)
    for user in late:
        claims.claim(coupon, user)
    before = holders(coupon)
    code = db.session.scalar(select(CouponIssue.code).where(CouponIssue.user_id == before[0]))
    redeeming.revoke(code, None, "returned")
    admission.admit(coupon)
    assert holders(coupon) == [before[1], waited[0]]
    change_coupon(coupon, total_quantity=QUOTA + WAITED)
    admission.admit(coupon)
    assert holders(coupon) == [before[1], *waited, late[0]]
    assert in_standby(coupon) == late[1:]
    proven(coupon)


def test_a_click_between_the_last_commit_and_the_move_stands_behind_who_still_waits_in_the_line(monkeypatch):
    coupon, users = make_coupon(quota=QUOTA, standby_limit=5), make_users(QUOTA + WAITED)
    for user in users:
        claims.claim(coupon, user)
    with monkeypatch.context() as broken:
        broken.setattr(Line, "to_standby", failing(redis.ConnectionError()))
        with pytest.raises(redis.ConnectionError):
            admission.admit(coupon)
    late, later, latest = make_users(3)
    assert claims.claim(coupon, late).missed_by == WAITED + 1
    assert claims.claim(coupon, later).missed_by == WAITED + 2
    assert refused(coupon, latest) == "sold_out"
    admission.admit(coupon)
    assert in_standby(coupon) == [*users[QUOTA:], late, later]
    proven(coupon)


def test_after_a_wipe_their_receipts_win_the_places_back_and_a_newcomer_stands_behind():
    coupon, waited = sold_out(limit=10)
    first, second, newcomer = make_users(3)
    tickets = {user: claims.claim(coupon, user) for user in (first, second)}
    old = {user: claims.standing(coupon, user) for user in waited} | tickets
    line_redis().flushall()
    publishing.publish(coupon)
    assert claims.claim(coupon, newcomer).state == "sold_out"
    for user in (second, *reversed(waited), first):
        restored = claims.restore(coupon, user, number=old[user].number, epoch=old[user].epoch)
        assert (restored.state, restored.number) == ("sold_out", old[user].number)
    assert in_standby(coupon) == [*waited, first, second, newcomer]
    end_grace(coupon)
    change_coupon(coupon, total_quantity=QUOTA + WAITED + 1)
    admission.admit(coupon)
    assert holders(coupon)[QUOTA:] == [*waited, first]
    proven(coupon)


def test_fewer_places_later_take_nobodys_place_and_more_let_others_in():
    coupon, _ = sold_out(limit=WAITED + 1)
    first, second = make_users(2)
    claims.claim(coupon, first)
    change_coupon(coupon, standby_limit=0)
    assert claims.standing(coupon, first).missed_by == WAITED + 1
    assert refused(coupon, second) == "sold_out"
    change_coupon(coupon, standby_limit=10)
    assert claims.claim(coupon, second).missed_by == WAITED + 2
    proven(coupon)


@pytest.mark.parametrize(("how", "code"), [({"status": "closed"}, "closed"), ({"status": "paused"}, None)])
def test_closed_takes_nobody_and_paused_does(how, code):
    coupon, _ = sold_out(limit=10)
    change_coupon(coupon, **how)
    (late,) = make_users(1)
    if code:
        assert refused(coupon, late) == code
    else:
        assert claims.claim(coupon, late).state == "sold_out"


def test_an_unlimited_coupon_and_one_that_is_not_gone_take_nobody_into_standby():
    for quota in (None, 5):
        coupon = make_coupon(quota=quota, standby_limit=3)
        assert claims.claim(coupon, *make_users(1)).state == "waiting"


@pytest.mark.parametrize("limit", [-1, 10**12 + 1])
def test_a_limit_that_cannot_be_is_refused(limit):
    with pytest.raises(InvalidField) as refusal:
        make_coupon(standby_limit=limit)
    assert refusal.value.field == "standby_limit"


def test_control_a_late_comer_who_is_served_before_standby_is_found_by_the_audit():
    coupon, waited = sold_out(limit=10)
    (late,) = make_users(1)
    claims.claim(coupon, late)
    standby = Line(line_redis(), coupon).standby_key
    number = line_redis().zscore(standby, str(waited[0]))
    line_redis().zrem(standby, str(waited[0]))
    change_coupon(coupon, total_quantity=QUOTA + WAITED)
    admission.admit(coupon)
    line_redis().zadd(standby, {str(waited[0]): number})
    assert late in holders(coupon)
    report = audit.run(coupon)
    assert [check.name for check in report.checks if not check.ok] == ["P4 order"]
    assert f": {int(number)}" in next(check.detail for check in report.checks if check.name == "P4 order")


def test_control_a_limit_in_redis_that_is_not_sqls_is_found_by_the_audit():
    coupon, _ = sold_out(limit=10)
    line_redis().hset(Line(line_redis(), coupon).gate_key, "standby_limit", 99)
    report = audit.run(coupon)
    assert [check.name for check in report.checks if not check.ok] == ["gate"]
