"""What the audit must find beyond results and sums, and what it must not take for a fault."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import delete, insert, select, update

from tests.builders import make_coupon, make_users
from tests.sale.test_audit import execute, failed, line_of, sale
from webapp.line.keys import BUCKET_MS
from webapp.models import Coupon, CouponIssue, LineEvent, Proposal, Revocation, User, utcnow
from webapp.models.proposals import CONFIRMED
from webapp.sale import admission, audit, claims, coupons, epochs, publishing, redeeming
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")
Plant = Callable[[int, list[int]], None]


@pytest.fixture(autouse=True)
def nobody_sweeps(monkeypatch) -> None:
    monkeypatch.setattr(audit, "RUNG_WITHIN_S", 0)


def waiting_sale(_quota: int = 3, people: int = 5) -> tuple[int, list[int]]:
    """Have people wait, with the bell that their first claim set."""
    coupon, users = make_coupon(quota=people), make_users(people)
    for user in users:
        claims.claim(coupon, user)
    line_redis().set(line_of(coupon).bell_key, 1, px=4900)
    return coupon, users


def revoked_sale() -> tuple[int, list[int]]:
    """Sell 3 coupons to 5 people, reject one, and revoke the first coupon: standby follows."""
    coupon, users = make_coupon(quota=3), make_users(6)
    for user in users:
        claims.claim(coupon, user)
    execute(update(User).where(User.id == users[1]).values(blocked_at=utcnow()))
    admission.admit(coupon)
    redeeming.revoke(code_of(users[0]), None, "a mistake")
    admission.admit(coupon)
    return coupon, users


def wiped_sale() -> tuple[int, list[int]]:
    """Have four people wait, a wipe, two of them restored, and a newcomer; the grace is over and all is decided."""
    coupon, users = make_coupon(quota=2), make_users(5)
    tickets = {user: claims.claim(coupon, user) for user in users[:4]}
    line_redis().flushall()
    newcomer = claims.claim(coupon, users[4])
    assert newcomer.number > epochs.EPOCH_STEP
    claims.restore(coupon, users[0], number=tickets[users[0]].number or 0, epoch=1)
    end_grace(coupon)
    admission.admit(coupon)
    return coupon, users


def end_grace(coupon: int) -> None:
    gate = line_of(coupon).gate_key
    line_redis().hset(gate, "grace_until", line_redis().hget(gate, "grace_from"))


def code_of(user: int) -> str:
    db.session.rollback()
    return db.session.scalars(select(CouponIssue.code).where(CouponIssue.user_id == user)).one()


def gate(**fields: object) -> Plant:
    def plant(coupon: int, users: list[int]) -> None:
        line_redis().hset(line_of(coupon).gate_key, mapping=fields)

    plant.__name__ = "gate_" + "_".join(fields)
    return plant


def rejection_not_in_sql(coupon: int, users: list[int]) -> None:
    line_redis().hset(line_of(coupon).results_key, users[1], "rejected:2:of nowhere")


def rejection_of_a_stranger(coupon: int, users: list[int]) -> None:
    line_redis().hset(line_of(coupon).results_key, 10**9, "rejected:2:account blocked")


def rejection_not_told(coupon: int, users: list[int]) -> None:
    line_redis().hdel(line_of(coupon).results_key, users[1])


def revocation_not_told(coupon: int, users: list[int]) -> None:
    line_redis().hdel(line_of(coupon).results_key, users[0])


def revocation_row_gone(coupon: int, users: list[int]) -> None:
    execute(delete(Revocation))


def revocation_of_another_number(coupon: int, users: list[int]) -> None:
    execute(update(Revocation).values(ticket_number=5))


def revocation_without_event(coupon: int, users: list[int]) -> None:
    row = {"coupon_id": coupon, "user_id": users[2], "ticket_number": 3, "epoch": 1, "code": "PLANTED00000"}
    execute(insert(Revocation).values(**row, issued_at=utcnow(), revoked_at=utcnow(), reason="planted"))


def revoked_holds_again(coupon: int, users: list[int]) -> None:
    """As a failover to a replica that was behind once did: the revoked one at a new number."""
    line = line_of(coupon)
    last = line.gate().last + 1
    row = {"coupon_id": coupon, "user_id": users[0], "ticket_number": last, "epoch": 1}
    execute(insert(CouponIssue).values(**row, code="PLANTED00000", issued_at=utcnow()))
    execute(update(Coupon).values(issued_quantity=4, total_quantity=4, revision=Coupon.revision + 1))
    line_redis().hset(line.results_key, users[0], f"issued:{last}:PLANTED00000")
    line_redis().hset(line.gate_key, "last", last)
    line_redis().delete(line.standby_key)
    for number in (4, 5, 6):
        execute(
            insert(LineEvent).values(
                coupon_id=coupon, epoch=1, kind="already", ticket_number=number, reason="x", at=utcnow()
            )
        )
    publishing.publish(coupon)


def standby_forgotten(coupon: int, users: list[int]) -> None:
    """Coupons came back, and the gate knows of it; standby did not become the line."""
    execute(update(Coupon).values(total_quantity=9, revision=Coupon.revision + 1))
    db.session.rollback()
    revision = db.session.scalars(select(Coupon.revision)).one()
    line_redis().hset(line_of(coupon).gate_key, mapping={"quota": 9, "sold_out": 0, "revision": revision})


def ticket_at(seconds: float) -> Plant:
    """Give a ticket so long before the start, or after the end of the period."""

    def plant(coupon: int, users: list[int]) -> None:
        line = line_of(coupon)
        policy = line.gate().policy
        at_ms = (policy.closes_at_ms if seconds > 0 else policy.opens_at_ms) + round(seconds * 1000)
        number = line_redis().hincrby(line.gate_key, "last", 1)
        line_redis().zadd(line.standby_key, {str(make_users(1)[0]): number})
        line_redis().zadd(line.arrivals_key, {str(at_ms // BUCKET_MS): number})

    plant.__name__ = f"ticket_at_{seconds}"
    return plant


def issued_before_the_coupon_was_made(coupon: int, users: list[int]) -> None:
    execute(
        update(CouponIssue)
        .where(CouponIssue.user_id == users[0])
        .values(issued_at=utcnow() - timedelta(days=1))
    )


def no_bell(coupon: int, users: list[int]) -> None:
    line_of(coupon).quiet_bell()


def grace_of(ms: int, since: int = 0) -> Plant:
    def plant(coupon: int, users: list[int]) -> None:
        now = line_of(coupon).gate().now_ms
        gate(grace_from=now - since, grace_until=now + ms)(coupon, users)

    plant.__name__ = f"grace_of_{ms}"
    return plant


def clock_set_back_in_a_grace(coupon: int, users: list[int]) -> None:
    now = line_of(coupon).gate().now_ms
    gate(grace_from=now + 600_000, grace_until=now + 603_000)(coupon, users)


def bell_without_end(coupon: int, users: list[int]) -> None:
    line_redis().set(line_of(coupon).bell_key, 1)


def bell_that_ends_too_late(coupon: int, users: list[int]) -> None:
    line_redis().set(line_of(coupon).bell_key, 1, px=600_000)


def without_run_id(coupon: int, users: list[int]) -> None:
    line_of(coupon).end_epoch()


def overtaken(coupon: int, users: list[int]) -> None:
    """A number of the first epoch that was restored in time, and a number of the second that has the coupon."""
    line_redis().zadd(line_of(coupon).standby_key, {str(users[1]): 2})


def confirmed_by(who: int | None) -> Plant:
    def plant(coupon: int, users: list[int]) -> None:
        asked = {"verb": "close", "coupon_id": coupon, "arguments": "{}", "seen": "", "made_by": users[0]}
        decided = {"decision": CONFIRMED, "decided_by": users[0] if who == 0 else who, "decided_at": utcnow()}
        execute(insert(Proposal).values(**asked, **decided, expires_at=utcnow()))

    plant.__name__ = f"confirmed_by_{who}"
    return plant


FAULTS = [
    (sale, confirmed_by(0), {"two people"}),
    (sale, confirmed_by(None), {"two people"}),
    (sale, rejection_not_in_sql, {"P7 same code"}),
    (sale, rejection_of_a_stranger, {"P7 rejections"}),
    (revoked_sale, rejection_not_in_sql, {"P7 rejections"}),
    (revoked_sale, rejection_not_told, {"P7 rejections"}),
    (revoked_sale, revocation_not_told, {"P7 rejections"}),
    (revoked_sale, revocation_row_gone, {"revocations"}),
    (revoked_sale, revocation_of_another_number, {"revocations"}),
    (sale, revocation_without_event, {"revocations"}),
    (revoked_sale, revoked_holds_again, {"P2 rejections stay"}),
    (sale, standby_forgotten, {"standby"}),
    (sale, ticket_at(0.1), {"P8 end"}),
    (sale, ticket_at(3600), {"P8 end"}),
    (sale, ticket_at(-0.2), {"P8 start"}),
    (sale, issued_before_the_coupon_was_made, {"P8 start"}),
    (waiting_sale, no_bell, {"admission"}),
    (waiting_sale, grace_of(4100), {"admission"}),
    (waiting_sale, grace_of(600_000), {"admission"}),
    (sale, grace_of(600_000), {"admission"}),
    (waiting_sale, gate(status="paused"), {"gate"}),
    (waiting_sale, bell_without_end, {"bell"}),
    (sale, bell_without_end, {"bell"}),
    (sale, without_run_id, {"open epoch"}),
    (sale, gate(run_id="of another run"), {"open epoch"}),
    (wiped_sale, overtaken, {"P4 epochs"}),
]


@pytest.mark.parametrize(
    ("made", "plant", "checks"), FAULTS, ids=lambda value: getattr(value, "__name__", "")
)
def test_each_planted_fault_is_found_by_the_right_check(made, plant, checks):
    coupon, users = made()
    assert failed(coupon) == set()
    plant(coupon, users)
    assert failed(coupon) == checks


# Good situations


def worker_clock_behind(coupon: int, users: list[int]) -> None:
    """The worker's clock was 0.3 s behind Redis's at the very start."""
    earlier = Coupon.__table__.c.issue_start_at
    start = db.session.scalars(select(earlier)).one()
    execute(update(CouponIssue).values(issued_at=start - timedelta(seconds=0.3)))


def start_moved(coupon: int, users: list[int]) -> None:
    execute(update(Coupon).values(issue_start_at=utcnow() + timedelta(minutes=30), revision=99))
    publishing.publish(coupon)


def end_moved(coupon: int, users: list[int]) -> None:
    execute(update(Coupon).values(issue_end_at=utcnow() - timedelta(seconds=30), revision=99))
    publishing.publish(coupon)


def awaits_receipts(coupon: int, users: list[int]) -> None:
    line = line_of(coupon)
    number = line_redis().zrange(line.line_key, -1, -1, withscores=True)[0][1]
    line_redis().flushall()
    epochs.ensure_open(coupon)
    for user in users[:-1]:
        claims.restore(coupon, user, number=users.index(user) + 1, epoch=1)
    claims.restore(coupon, users[-1], number=int(number), epoch=1)


def awaits_a_long_line(coupon: int, users: list[int]) -> None:
    line_redis().flushall()
    epochs.ensure_open(coupon)
    claims.restore(coupon, users[0], number=50_000, epoch=1)
    assert int(line_redis().hget(line_of(coupon).gate_key, "grace_until")) > line_of(coupon).gate().now_ms


def paused(coupon: int, users: list[int]) -> None:
    coupons.change_coupon(coupon, status="paused")
    line_of(coupon).quiet_bell()


def came_late(coupon: int, users: list[int]) -> None:
    assert claims.restore(coupon, users[1], number=2, epoch=1).state == "sold_out"


def came_late_for_an_epoch_that_is_over(coupon: int, users: list[int]) -> None:
    line_redis().flushall()
    epochs.ensure_open(coupon)
    came_late(coupon, users)
    assert not list(line_of(coupon).late())


def quota_raised(coupon: int, users: list[int]) -> None:
    coupons.change_coupon(coupon, total_quantity=4)
    assert line_of(coupon).bell_ms() is not None


def of_another_run_and_over(coupon: int, users: list[int]) -> None:
    end_moved(coupon, users)
    gate(run_id="of another run")(coupon, users)


def rejection_in_flight(coupon: int, users: list[int]) -> None:
    execute(update(User).where(User.id == users[0]).values(blocked_at=utcnow()))
    settle, line_class = type(line_of(coupon)).settle, type(line_of(coupon))
    line_class.settle = lambda *_: 0
    try:
        admission._admit_batch(coupon, line_of(coupon))
    finally:
        line_class.settle = settle


def anonymous_at_the_head(coupon: int, users: list[int]) -> None:
    line_redis().zadd(line_of(coupon).line_key, {"no user": 0})
    admission.admit(coupon)


GOOD = [
    (sale, worker_clock_behind),
    (sale, start_moved),
    (sale, end_moved),
    (waiting_sale, awaits_receipts),
    (waiting_sale, awaits_a_long_line),
    (waiting_sale, paused),
    (wiped_sale, came_late),
    (wiped_sale, came_late_for_an_epoch_that_is_over),
    (sale, quota_raised),
    (sale, of_another_run_and_over),
    (waiting_sale, rejection_in_flight),
    (waiting_sale, anonymous_at_the_head),
    (waiting_sale, clock_set_back_in_a_grace),
    (waiting_sale, bell_that_ends_too_late),
]


@pytest.mark.parametrize(("made", "change"), GOOD, ids=lambda value: getattr(value, "__name__", ""))
def test_no_good_situation_is_taken_for_a_fault(made, change):
    coupon, users = made()
    change(coupon, users)
    assert failed(coupon) == set()


def test_it_gives_the_sweeper_its_time(monkeypatch):
    """A bell that is missing for an instant, as while an admission goes on, is none."""
    coupon, _ = waiting_sale()
    no_bell(coupon, [])
    monkeypatch.setattr(audit.time, "sleep", lambda _s: line_of(coupon).set_bell())
    assert audit.run(coupon).ok


def test_it_tells_of_a_clock_that_was_put_back():
    """Nobody is held up by it for long: that wait begins anew, and that bell does not count."""
    coupon, users = waiting_sale()
    clock_set_back_in_a_grace(coupon, users)
    bell_that_ends_too_late(coupon, users)
    told = "\n".join(audit.run(coupon).lines())
    assert "clock: Redis's is 59" in told or "clock: Redis's is 60" in told
    assert "ms, 5000 at most are right" in told
    assert not line_of(coupon).set_bell()
    gate = line_of(coupon).gate()
    assert gate.grace_until_ms - gate.now_ms <= 3000
    end_grace(coupon)
    assert line_of(coupon).set_bell()
    assert admission.admit(coupon).issued == len(users)


def test_it_says_in_words_why_nobody_is_admitted():
    coupon, users = waiting_sale()
    no_bell(coupon, users)
    assert "FAIL  admission: 5 wait, no bell is set" in list(audit.run(coupon).lines())
    grace_of(600_000)(coupon, users)
    (line,) = (line for line in audit.run(coupon).lines() if line.startswith("FAIL"))
    assert line.startswith("FAIL  admission: held back for 5")
    assert "4000 at most would be right" in line
