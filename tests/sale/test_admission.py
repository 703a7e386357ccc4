"""Claim, admission, epochs and publishing against real stores."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import delete, event, func, select, update

from tests.builders import failing, make_coupon, make_users
from tests.conftest import forget_redis, on_each_and_mariadb
from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue, LineEvent, User, utcnow
from webapp.sale import admission, claims, coupons, drawing, eligibility, epochs, locking, publishing, records
from webapp.sale.epochs import EPOCH_STEP
from webapp.sale.outcomes import Refused
from webapp.stores.queue import bell_queue
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = [pytest.mark.usefixtures("app"), on_each_and_mariadb]


def line_of(coupon_id: int) -> Line:
    return Line(line_redis(), coupon_id)


def row(coupon_id: int) -> Coupon:
    db.session.rollback()
    return db.session.get_one(Coupon, coupon_id, populate_existing=True)


def issued(coupon_id: int) -> list[tuple[int, int]]:
    """Return (ticket number, user id) of every issue, in order of number."""
    db.session.rollback()
    query = select(CouponIssue.ticket_number, CouponIssue.user_id).where(CouponIssue.coupon_id == coupon_id)
    return [tuple(found) for found in db.session.execute(query.order_by(CouponIssue.ticket_number))]


def events(coupon_id: int, kind: str) -> list[tuple[int | None, int | None, str]]:
    db.session.rollback()
    query = select(LineEvent.ticket_number, LineEvent.user_id, LineEvent.reason).where(
        LineEvent.coupon_id == coupon_id, LineEvent.kind == kind
    )
    return [tuple(found) for found in db.session.execute(query.order_by(LineEvent.ticket_number))]


def claim_all(coupon_id: int, users: list[int]) -> None:
    for user in users:
        claims.claim(coupon_id, user)


def without_foreign_keys(connection, *_) -> None:
    off = "PRAGMA foreign_keys=OFF" if db.engine.name == "sqlite" else "SET SESSION foreign_key_checks=0"
    connection.cursor().execute(off)


def results_after_a_loss(monkeypatch, step: int) -> tuple[dict[str, str], int, list[int]]:
    """Have a line made anew whose 12 coupons are issued, and return its results and how often others had their turn."""
    coupon, users, turns = make_coupon(quota=20), make_users(12), []
    claim_all(coupon, users)
    admission.admit(coupon)
    forget_redis()
    with monkeypatch.context() as patch:
        patch.setattr(records, "READ", step)
        patch.setattr(admission.time, "sleep", turns.append)
        epochs.ensure_open(coupon)
    return dict(line_of(coupon).results()), len(turns), users


def test_the_lowest_tickets_get_exactly_the_quota():
    coupon, users = make_coupon(quota=3), make_users(5)
    claim_all(coupon, users)
    admitted = admission.admit(coupon)
    assert admitted.issued == 3
    assert issued(coupon) == [(1, users[0]), (2, users[1]), (3, users[2])]
    assert row(coupon).issued_quantity == 3
    states = [claims.standing(coupon, user).state for user in users]
    assert states == ["issued"] * 3 + ["sold_out"] * 2
    assert claims.line_status(coupon).state == "sold_out"


def test_the_code_that_is_shown_is_the_row():
    coupon, (user,) = make_coupon(quota=1), make_users(1)
    claims.claim(coupon, user)
    admission.admit(coupon)
    assert claims.standing(coupon, user).code == db.session.scalar(select(CouponIssue.code))


def test_a_coupon_without_quota_never_runs_out():
    coupon, users = make_coupon(quota=None), make_users(2500)
    claim_all(coupon, users)
    assert admission.admit(coupon).issued == 2500
    assert claims.line_status(coupon).state == "open"


def test_admission_goes_on_over_many_batches_in_order(monkeypatch):
    monkeypatch.setattr(admission, "BATCH", 7)
    coupon, users = make_coupon(quota=30), make_users(40)
    claim_all(coupon, users)
    assert admission.admit(coupon).issued == 30
    assert issued(coupon) == [(number + 1, users[number]) for number in range(30)]


def test_a_long_admission_stops_in_time_and_rings_again(monkeypatch):
    monkeypatch.setattr(admission, "BATCH", 2)
    monkeypatch.setattr(admission, "ADMISSION_S", 0.0)
    coupon, users = make_coupon(quota=10), make_users(5)
    claim_all(coupon, users)
    bell_queue().empty()
    assert admission.admit(coupon).issued == 2
    assert bell_queue().count == 1


def test_a_repeated_admission_adds_nothing():
    coupon, users = make_coupon(quota=3), make_users(5)
    claim_all(coupon, users)
    admission.admit(coupon)
    before = issued(coupon)
    assert admission.admit(coupon).issued == 0
    assert issued(coupon) == before


def test_a_crash_after_the_commit_is_settled_by_the_next_run(monkeypatch):
    coupon, users = make_coupon(quota=3), make_users(5)
    claim_all(coupon, users)
    with monkeypatch.context() as patch:
        patch.setattr(Line, "settle", failing(ConnectionError("killed here")))
        with pytest.raises(ConnectionError):
            admission.admit(coupon)
    assert len(issued(coupon)) == 3
    assert claims.standing(coupon, users[0]).state == "waiting"
    assert admission.admit(coupon).issued == 0
    assert [claims.standing(coupon, user).state for user in users] == ["issued"] * 3 + ["sold_out"] * 2
    assert events(coupon, "already") == []


def test_who_is_blocked_between_the_commit_and_the_settling_keeps_what_the_row_says(monkeypatch):
    coupon, (user,) = make_coupon(quota=3), make_users(1)
    claims.claim(coupon, user)
    with monkeypatch.context() as patch:
        patch.setattr(Line, "settle", failing(ConnectionError("killed here")))
        with pytest.raises(ConnectionError):
            admission.admit(coupon)
    db.session.execute(update(User).where(User.id == user).values(blocked_at=utcnow()))
    db.session.commit()
    admission.admit(coupon)
    assert issued(coupon) == [(1, user)]
    assert claims.standing(coupon, user).state == "issued"
    assert events(coupon, "rejected") == []


def test_a_crash_before_the_commit_leaves_nothing(monkeypatch):
    coupon, users = make_coupon(quota=3), make_users(2)
    claim_all(coupon, users)
    with monkeypatch.context() as patch:
        patch.setattr(admission, "_write_events", failing(RuntimeError("killed here")))
        with pytest.raises(RuntimeError):
            admission.admit(coupon)
    assert issued(coupon) == []
    assert admission.admit(coupon).issued == 2


def test_deleted_and_blocked_accounts_are_skipped_with_a_reason():
    coupon, users = make_coupon(quota=2), make_users(5)
    claim_all(coupon, users)
    db.session.execute(delete(User).where(User.id == users[0]))
    db.session.execute(update(User).where(User.id == users[2]).values(blocked_at=utcnow()))
    db.session.commit()
    line_of(coupon).redis.zadd(line_of(coupon).line_key, {"<garbage>": 0, "9" * 30: 0.5 + 0.5})
    admission.admit(coupon)
    assert issued(coupon) == [(2, users[1]), (4, users[3])]
    assert sorted(events(coupon, "rejected"), key=str) == sorted(
        [
            (0, None, "not a user"),
            (1, None, "not a user"),
            (1, users[0], "deleted"),
            (3, users[2], "blocked"),
        ],
        key=str,
    )
    rejected = claims.standing(coupon, users[2])
    assert (rejected.state, rejected.reason) == ("rejected", "blocked")
    assert claims.standing(coupon, users[4]).state == "sold_out"


@pytest.mark.parametrize("guarded", [True, False])
def test_the_foreign_key_finds_who_was_deleted_while_there_is_enough_for_all(guarded):
    """Without the key the deleted account is issued a coupon: nobody else looks, until coupons run out."""
    coupon, users = make_coupon(quota=5), make_users(3)
    claim_all(coupon, users)
    db.session.execute(delete(User).where(User.id == users[1]))
    db.session.commit()
    if not guarded:
        event.listen(db.engine, "checkout", without_foreign_keys)
    admission.admit(coupon)
    assert (issued(coupon) == [(1, users[0]), (3, users[2])]) is guarded
    assert (events(coupon, "rejected") == [(2, users[1], "deleted")]) is guarded
    db.engine.dispose()


def test_a_user_deleted_between_the_look_and_the_insert_fails_only_that_attempt(monkeypatch):
    coupon, users = make_coupon(quota=2), make_users(3)
    claim_all(coupon, users)
    looked = eligibility.barred_among
    calls = []

    def look_then_delete(connection, ids, **options):
        calls.append(ids)
        found = looked(connection, ids, **options)
        if len(calls) == 1:
            connection.execute(delete(User.__table__).where(User.__table__.c.id == users[0]))
        return found

    monkeypatch.setattr(admission, "barred_among", look_then_delete)
    assert admission.admit(coupon).issued == 2
    assert len(calls) > 1


def test_a_drawn_code_that_exists_is_drawn_again(monkeypatch):
    coupon, users = make_coupon(quota=4), make_users(2)
    claims.claim(coupon, users[0])
    admission.admit(coupon)
    taken = claims.standing(coupon, users[0]).code
    draws = [[taken], ["0123456789AB"]]
    monkeypatch.setattr(drawing, "new_codes", lambda _count: draws.pop(0))
    claims.claim(coupon, users[1])
    assert admission.admit(coupon).issued == 1
    assert claims.standing(coupon, users[1]).code == "0123456789AB"


def test_a_constraint_that_always_refuses_is_raised_and_not_hidden(monkeypatch):
    coupon, users = make_coupon(quota=4), make_users(2)
    claim_all(coupon, users)
    monkeypatch.setattr(drawing, "new_codes", lambda count: ["SAMESAMESAME"] * count)
    with pytest.raises(admission.IntegrityError):
        admission.admit(coupon)
    assert issued(coupon) == []


def test_paused_admits_nobody_and_keeps_giving_tickets():
    coupon, users = make_coupon(quota=3), make_users(3)
    claim_all(coupon, users[:2])
    coupons.change_coupon(coupon, status="paused")
    assert admission.admit(coupon).issued == 0
    assert claims.claim(coupon, users[2]).number == 3
    assert claims.line_status(coupon).state == "paused"
    coupons.change_coupon(coupon, status="live")
    assert admission.admit(coupon).issued == 3


def test_closed_gives_no_ticket_and_still_serves_who_waits():
    coupon, users = make_coupon(quota=3), make_users(2)
    claims.claim(coupon, users[0])
    coupons.change_coupon(coupon, status="closed")
    with pytest.raises(Refused, match="closed"):
        claims.claim(coupon, users[1])
    assert admission.admit(coupon).issued == 1
    assert claims.line_status(coupon).state == "closed"


def test_a_raised_quota_serves_standby_first_and_in_order():
    coupon, users = make_coupon(quota=1), make_users(5)
    claim_all(coupon, users[:4])
    admission.admit(coupon)
    coupons.change_coupon(coupon, total_quantity=3)
    claims.claim(coupon, users[4])
    admission.admit(coupon)
    assert [user for _, user in issued(coupon)] == users[:3]
    assert [claims.standing(coupon, user).state for user in users[3:]] == ["sold_out"] * 2


def test_a_raised_quota_rings():
    coupon, users = make_coupon(quota=1), make_users(3)
    claim_all(coupon, users)
    admission.admit(coupon)
    bell_queue().empty()
    coupons.change_coupon(coupon, total_quantity=2)
    assert bell_queue().count == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"opens_in": 60}, "not_open"), ({"closes_in": -1}, "closed"), ({"quota": 0}, "sold_out")],
)
def test_refusals(changes, code):
    coupon, (user,) = make_coupon(**changes), make_users(1)
    with pytest.raises(Refused) as refused:
        claims.claim(coupon, user)
    assert refused.value.code == code
    assert claims.standing(coupon, user).state == "none"


def test_an_early_claim_hears_how_long_to_wait():
    coupon, (user,) = make_coupon(opens_in=60), make_users(1)
    with pytest.raises(Refused) as refused:
        claims.claim(coupon, user)
    assert 50_000 < refused.value.retry_ms <= 60_000


def test_an_unknown_coupon_and_a_draft_are_not_found():
    draft, (user,) = make_coupon(status="draft"), make_users(1)
    for coupon in (draft, 10**12):
        for verb in (claims.line_status, lambda unknown: claims.claim(unknown, user), publishing.reconcile):
            with pytest.raises(Refused, match="not_found"):
                verb(coupon)
    assert not any(server.keys("*coupon*") for server in line_redis().each())


def test_a_lost_gate_begins_above_all_that_sql_knows_in_a_new_epoch():
    coupon, users = make_coupon(quota=4), make_users(7)
    claim_all(coupon, users[:2])
    admission.admit(coupon)
    forget_redis()
    assert claims.claim(coupon, users[2]).number == EPOCH_STEP + 1
    assert row(coupon).epoch == 2
    assert len(events(coupon, "epoch")) == 1


def test_whoever_asks_for_a_lost_line_does_not_wait_for_a_slow_sql(app):
    coupon, (user,) = make_coupon(), make_users(1)
    forget_redis()
    app.config["GATE_WAIT_S"] = 0.01
    with locking.locked_coupon(coupon):
        for ask in (
            claims.line_status,
            partial(claims.claim, user_id=user),
            partial(claims.standing, user_id=user),
        ):
            with pytest.raises(Refused, match="busy"):
                ask(coupon)
    app.config["GATE_WAIT_S"] = 30
    assert claims.claim(coupon, user).number == EPOCH_STEP + 1
    assert len(events(coupon, "epoch")) == 1


def test_only_so_many_lost_lines_wait_to_be_made(app, monkeypatch):
    monkeypatch.setattr(epochs, "MOST_GATES_UNDER_WAY", 1)
    slow, other = make_coupon(), make_coupon()
    forget_redis()
    with locking.locked_coupon(slow):
        app.config["GATE_WAIT_S"] = 0.01
        with pytest.raises(Refused, match="busy"):
            claims.line_status(slow)
        app.config["GATE_WAIT_S"] = 30
        with pytest.raises(Refused, match="busy"):
            claims.line_status(other)
    assert claims.line_status(slow).epoch == 2
    assert claims.line_status(other).epoch == 2


def test_redis_wiped_in_mid_sale_no_over_issue_no_double_and_the_sale_goes_on(monkeypatch):
    monkeypatch.setattr(admission, "BATCH", 2)
    monkeypatch.setattr(epochs, "GRACE_MS", 0)
    coupon, users = make_coupon(quota=4), make_users(7)
    claim_all(coupon, users[:5])
    admission._admit_batch(coupon, line_of(coupon))
    forget_redis()
    claim_all(coupon, users)
    admission.admit(coupon)
    assert [user for _, user in issued(coupon)] == users[:4]
    assert row(coupon).issued_quantity == 4
    assert claims.standing(coupon, users[0]).state == "issued"
    assert claims.standing(coupon, users[6]).state == "sold_out"


def test_what_was_issued_is_shown_as_issued_after_redis_was_wiped():
    coupon, users = make_coupon(quota=1), make_users(2)
    claim_all(coupon, users)
    admission.admit(coupon)
    code = claims.standing(coupon, users[0]).code
    forget_redis()
    assert claims.standing(coupon, users[0]).code == code


def test_a_holder_who_is_back_in_line_gets_the_same_coupon_and_a_reason_is_kept():
    coupon, users = make_coupon(quota=3), make_users(2)
    claim_all(coupon, users[:1])
    admission.admit(coupon)
    code = claims.standing(coupon, users[0]).code
    line = line_of(coupon)
    line.redis.delete(line.results_key)
    claim_all(coupon, users)
    admission.admit(coupon)
    assert claims.standing(coupon, users[0]).code == code
    assert events(coupon, "already") == [(2, users[0], "has the coupon already")]
    assert issued(coupon) == [(1, users[0]), (3, users[1])]


def test_reconcile_restores_gate_and_results_without_touching_the_line():
    coupon, users = make_coupon(quota=9), make_users(3)
    claim_all(coupon, users[:1])
    admission.admit(coupon)
    claim_all(coupon, users[1:])
    line = line_of(coupon)
    line.redis.hset(line.gate_key, mapping={"issued": 77, "quota": 5})
    line.redis.delete(line.results_key)
    publishing.reconcile(coupon)
    gate = line.gate()
    assert (gate.policy.issued, gate.policy.quota, gate.waiting, gate.epoch) == (1, 9, 2, 1)
    assert claims.standing(coupon, users[0]).state == "issued"


def test_the_ring_survives_a_queue_that_does_not_answer(app, monkeypatch):
    coupon, (user,) = make_coupon(), make_users(1)
    from webapp.stores.script_redis import connect_redis

    monkeypatch.setitem(app.extensions, "bells", connect_redis("redis://127.0.0.1:1"))
    assert claims.claim(coupon, user).number == 1


def test_the_same_rules_bind_creating_and_changing():
    start = datetime(2030, 1, 1, tzinfo=UTC)
    good = {
        "title": "T",
        "total_quantity": 5,
        "issue_start_at": start,
        "issue_end_at": start + timedelta(hours=1),
    }
    bad = [
        {"title": "  "},
        {"title": "x" * 101},
        {"total_quantity": -1},
        {"total_quantity": 10**13},
        {"discount_amount": -1},
        {"min_available_amount": -1},
        {"issue_end_at": start},
        {"valid_until": start - timedelta(days=1)},
        {"status": "gone"},
    ]
    coupon = coupons.create_coupon(**good)
    for change in bad:
        with pytest.raises(coupons.InvalidField) as creating:
            coupons.create_coupon(**(good | change))
        with pytest.raises(coupons.InvalidField) as changing:
            coupons.change_coupon(coupon, **change)
        assert creating.value.field == changing.value.field
    assert db.session.scalar(select(func.count()).select_from(Coupon)) == 1
    assert row(coupon).title == "T"


def test_a_quota_below_what_is_issued_is_refused():
    coupon, users = make_coupon(quota=3), make_users(2)
    claim_all(coupon, users)
    admission.admit(coupon)
    with pytest.raises(coupons.InvalidField) as refused:
        coupons.change_coupon(coupon, total_quantity=1)
    assert refused.value.field == "total_quantity"
    coupons.change_coupon(coupon, total_quantity=2)
    assert claims.line_status(coupon).state == "sold_out"


def test_a_published_coupon_does_not_become_a_draft_again():
    coupon = make_coupon()
    with pytest.raises(coupons.InvalidField):
        coupons.change_coupon(coupon, status="draft")
    with pytest.raises(LookupError):
        coupons.change_coupon(10**12, status="live")


@pytest.mark.parametrize("step", [1, 2, 5, 11, 12, 13, 1000])
def test_others_have_their_turn_while_results_are_restored_and_none_is_left_out(monkeypatch, step):
    """With a step that takes all, the control, they have one, at the end."""
    results, turns, users = results_after_a_loss(monkeypatch, step)
    assert sorted(results) == sorted(map(str, users))
    assert turns == -(-12 // step)
