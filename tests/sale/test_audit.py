"""The audit passes a clean sale at every moment, and finds each planted fault by the right check."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import delete, insert, select, text, update

from tests.builders import make_coupon, make_users
from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue, LineEvent, User, utcnow
from webapp.sale import admission, audit, claims, coupons, epochs, publishing
from webapp.sale.outcomes import Refused
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def nobody_sweeps(monkeypatch) -> None:
    monkeypatch.setattr(audit, "RUNG_WITHIN_S", 0)


def line_of(coupon_id: int) -> Line:
    return Line(line_redis(), coupon_id)


def sale(quota: int | None = 3, people: int = 5) -> tuple[int, list[int]]:
    """Sell out a coupon; the first `quota` people hold it, the others are in standby."""
    coupon, users = make_coupon(quota=quota), make_users(people)
    for user in users:
        claims.claim(coupon, user)
    admission.admit(coupon)
    return coupon, users


def failed(coupon_id: int) -> set[str]:
    db.session.rollback()
    report = audit.run(coupon_id)
    failures = {check.name for check in report.checks if not check.ok}
    assert report.ok == (not failures)
    assert sum(line.startswith("FAIL") for line in report.lines()) == len(failures)
    return failures


def execute(statement) -> None:
    db.session.execute(statement)
    db.session.commit()


def issue_row(coupon: int, user: int, number: int, code: str = "PLANTED00000") -> dict:
    facts = {"coupon_id": coupon, "user_id": user, "ticket_number": number, "epoch": 1, "code": code}
    return facts | {"issued_at": utcnow()}


def over_issue(coupon: int, users: list[int]) -> None:
    execute(insert(CouponIssue).values(issue_row(coupon, users[3], 4)))
    line_of(coupon).redis.zrem(line_of(coupon).standby_key, users[3])
    line_of(coupon).redis.hset(line_of(coupon).results_key, users[3], "issued:4:PLANTED00000")


def wrong_count(coupon: int, users: list[int]) -> None:
    execute(update(Coupon).values(issued_quantity=2))


def skipped_number(coupon: int, users: list[int]) -> None:
    execute(delete(CouponIssue).where(CouponIssue.user_id == users[1]))
    execute(update(Coupon).values(issued_quantity=2, total_quantity=2))
    line_of(coupon).redis.hdel(line_of(coupon).results_key, users[1])
    publishing.publish(coupon)


def same_number(coupon: int, users: list[int]) -> None:
    execute(update(CouponIssue).where(CouponIssue.user_id == users[2]).values(ticket_number=2))
    code = db.session.scalar(select(CouponIssue.code).where(CouponIssue.user_id == users[2]))
    line_of(coupon).redis.hset(line_of(coupon).results_key, users[2], f"issued:2:{code}")


def result_without_row(coupon: int, users: list[int]) -> None:
    line_of(coupon).redis.hset(line_of(coupon).results_key, 10**9, "issued:1:NOBODYSCODE0")


def row_without_result(coupon: int, users: list[int]) -> None:
    line_of(coupon).redis.hdel(line_of(coupon).results_key, users[0])


def other_code(coupon: int, users: list[int]) -> None:
    line_of(coupon).redis.hset(line_of(coupon).results_key, users[0], "issued:1:ANOTHERCODE0")


def in_two_places(coupon: int, users: list[int]) -> None:
    line_of(coupon).redis.zadd(line_of(coupon).line_key, {str(users[4]): 5})


def holder_waits(coupon: int, users: list[int]) -> None:
    line_of(coupon).redis.zadd(line_of(coupon).line_key, {str(users[0]): 1})


def lost_place(coupon: int, users: list[int]) -> None:
    line_of(coupon).redis.zrem(line_of(coupon).standby_key, users[4])


def counter_behind(coupon: int, users: list[int]) -> None:
    line_of(coupon).redis.hset(line_of(coupon).gate_key, "last", 2)


def issued_early(coupon: int, users: list[int]) -> None:
    execute(
        update(CouponIssue)
        .where(CouponIssue.user_id == users[0])
        .values(issued_at=utcnow().replace(year=2020))
    )


def drifted(field: str, value: str) -> Callable[[int, list[int]], None]:
    def plant(coupon: int, users: list[int]) -> None:
        line_of(coupon).redis.hset(line_of(coupon).gate_key, field, value)

    plant.__name__ = f"gate_{field}"
    return plant


@contextmanager
def unconstrained() -> Iterator[None]:
    """Replace the table by a copy without constraints, in which even what the database forbids can be planted."""
    copy = ["ALTER TABLE coupon_issues RENAME TO kept", "CREATE TABLE coupon_issues AS SELECT * FROM kept"]
    back = ["DROP TABLE coupon_issues", "ALTER TABLE kept RENAME TO coupon_issues"]
    db.session.rollback()
    for statement in copy:
        execute(text(statement))
    try:
        yield
    finally:
        db.session.rollback()
        for statement in back:
            execute(text(statement))


@pytest.mark.parametrize("quota", [3, 5, 9, None])
def test_a_clean_sale_passes(quota):
    coupon, _ = sale(quota)
    assert failed(coupon) == set()


def test_a_coupon_that_nobody_asked_for_passes():
    assert failed(make_coupon()) == set()
    assert failed(make_coupon(status="draft")) == set()


def test_a_sale_with_skipped_people_passes():
    coupon, users = make_coupon(quota=2), make_users(5)
    for user in users:
        claims.claim(coupon, user)
    execute(delete(User).where(User.id == users[0]))
    execute(update(User).where(User.id == users[1]).values(blocked_at=utcnow()))
    admission.admit(coupon)
    assert failed(coupon) == set()


def test_a_running_sale_passes(monkeypatch):
    monkeypatch.setattr(admission, "BATCH", 2)
    coupon, users = make_coupon(quota=3), make_users(6)
    for user in users:
        claims.claim(coupon, user)
    admission._admit_batch(coupon, line_of(coupon))
    assert failed(coupon) == set()


def test_a_batch_that_is_committed_and_not_settled_is_in_flight_and_no_failure(monkeypatch):
    coupon, users = make_coupon(quota=3), make_users(5)
    for user in users:
        claims.claim(coupon, user)
    with monkeypatch.context() as patch:
        patch.setattr(Line, "settle", lambda *_: 0)
        admission._admit_batch(coupon, line_of(coupon))
    assert failed(coupon) == set()
    assert any("3 being settled" in line for line in audit.run(coupon).lines())
    admission.admit(coupon)
    assert failed(coupon) == set()


def test_a_sale_that_went_on_after_redis_was_wiped_passes(monkeypatch):
    monkeypatch.setattr(epochs, "GRACE_MS", 0)
    coupon, _ = sale(quota=4, people=2)
    line_redis().flushall()
    late = make_users(4)
    for user in late:
        claims.claim(coupon, user)
    admission.admit(coupon)
    assert failed(coupon) == set()
    assert any("1 times Redis lost data" in line for line in audit.run(coupon).lines())


def test_a_raised_quota_and_a_closed_coupon_pass():
    coupon, _ = sale()
    coupons.change_coupon(coupon, total_quantity=4)
    admission.admit(coupon)
    coupons.change_coupon(coupon, status="closed")
    assert failed(coupon) == set()


def test_an_unknown_coupon_is_refused():
    with pytest.raises(Refused, match="not_found"):
        audit.run(10**12)


def test_a_missing_gate_is_found_and_reconcile_brings_it_back():
    coupon, _ = sale()
    line_redis().flushall()
    assert failed(coupon) == {"gate"}
    publishing.reconcile(coupon)
    assert failed(coupon) == set()


# Each plants one fault into a sale of 3 coupons to 5 people.


FAULTS = [
    (over_issue, {"P1 quota", "P1 count"}),
    (wrong_count, {"P1 count", "gate"}),
    (skipped_number, {"P4 order", "sum"}),
    (same_number, {"P4 numbers", "sum"}),
    (result_without_row, {"P7 results true"}),
    (row_without_result, {"P7 rows shown"}),
    (other_code, {"P7 same code"}),
    (in_two_places, {"one place"}),
    (holder_waits, {"P2 holders"}),
    (lost_place, {"sum"}),
    (counter_behind, {"counter"}),
    (issued_early, {"P8 start"}),
    (drifted("quota", "4"), {"gate"}),
    (drifted("issued", "2"), {"gate"}),
    (drifted("status", "paused"), {"gate"}),
    (drifted("closes_at", "1"), {"gate"}),
    (drifted("epoch", "7"), {"gate"}),
]


@pytest.mark.parametrize(("plant", "checks"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_each_planted_fault_is_found_by_the_right_check(plant, checks):
    coupon, users = sale()
    assert failed(coupon) == set()
    plant(coupon, users)
    assert failed(coupon) == checks


DRIFTS = [
    result_without_row,
    row_without_result,
    other_code,
    in_two_places,
    holder_waits,
    counter_behind,
    drifted("quota", "4"),
    drifted("issued", "2"),
    drifted("status", "paused"),
    drifted("closes_at", "1"),
    drifted("epoch", "7"),
    drifted("revision", "1000000"),
]


@pytest.mark.parametrize("plant", DRIFTS)
def test_reconcile_mends_every_drift_of_redis(plant, monkeypatch):
    monkeypatch.setattr(epochs, "GRACE_MS", 0)
    coupon, users = sale()
    before = dict(line_of(coupon).results())
    plant(coupon, users)
    publishing.reconcile(coupon)
    assert failed(coupon) == set()
    assert dict(line_of(coupon).results()) == before
    assert [(ticket.member, ticket.number) for ticket in line_of(coupon).standby()] == [
        (str(users[3]), 4),
        (str(users[4]), 5),
    ]
    coupons.change_coupon(coupon, total_quantity=4)
    admission.admit(coupon)
    assert claims.standing(coupon, users[3]).state == "issued"
    assert failed(coupon) == set()


def test_a_double_issue_is_found_even_where_the_constraint_is_gone():
    coupon, users = sale()
    with unconstrained():
        execute(insert(CouponIssue).values(issue_row(coupon, users[0], 1) | {"id": 10**6}))
        assert "P2 one each" in failed(coupon)


def test_a_code_given_twice_is_found_even_where_the_constraint_is_gone():
    coupon, _ = sale()
    with unconstrained():
        execute(update(CouponIssue).values(code="THESAMECODE0"))
        assert "codes" in failed(coupon)


def test_events_of_an_epoch_are_no_reason_for_a_gap():
    coupon, users = sale()
    execute(insert(LineEvent).values(coupon_id=coupon, epoch=1, kind="epoch", ticket_number=0, reason="x"))
    skipped_number(coupon, users)
    assert "P4 order" in failed(coupon)
