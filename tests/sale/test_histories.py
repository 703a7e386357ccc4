"""Short histories that once broke a promise: two stores, an operator, and a Redis that forgot or started again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from typing import Any, NoReturn

import pytest
import redis
from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from jobs.sweeper import sweep, swept_coupons
from tests.builders import failing, make_coupon, make_users, sign_in
from webapp.line.keys import BELL_MS, BUCKET_MS
from webapp.line.line import Line
from webapp.line.types import Life, Policy
from webapp.models import Coupon, CouponIssue, LineEvent, Revocation, User, utcnow
from webapp.sale import admission, audit, claims, coupons, publishing, receipts, redeeming
from webapp.sale import epochs as sale_epochs
from webapp.sale.epochs import EPOCH_STEP
from webapp.sale.locking import CouponLock
from webapp.sale.outcomes import Refused
from webapp.sale.receipts import Receipt
from webapp.sale.records import policy_of
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.web.pages import tickets

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def no_grace(monkeypatch) -> None:
    monkeypatch.setattr(sale_epochs, "GRACE_MS", 0)


def line_of(coupon: int) -> Line:
    return Line(line_redis(), coupon)


def holders(coupon: int) -> list[int]:
    db.session.rollback()
    query = select(CouponIssue.user_id).where(CouponIssue.coupon_id == coupon)
    return list(db.session.scalars(query.order_by(CouponIssue.user_id)))


def code_of(coupon: int, user: int) -> str:
    return claims.standing(coupon, user).code


def holder_code(coupon: int) -> str:
    with db.engine.connect() as connection:
        return connection.scalars(select(CouponIssue.code).where(CouponIssue.coupon_id == coupon)).one()


def states(coupon: int, users: list[int]) -> list[str]:
    return [claims.standing(coupon, user).state for user in users]


def claim_and_admit(coupon: int, users: list[int]) -> None:
    for user in users:
        claims.claim(coupon, user)
    admission.admit(coupon)


def tries_to_claim(coupon: int, user: int) -> str:
    """Return the state of the ticket, or why there is none."""
    try:
        return claims.claim(coupon, user).state
    except Refused as refused:
        return refused.code


def sold_out(*, quota: int = 1, standby: int = 2) -> tuple[int, list[int], list[int]]:
    """Make a coupon that is gone, and return its holders and who stands in standby."""
    coupon, users = make_coupon(quota=quota), make_users(quota + standby)
    claim_and_admit(coupon, users)
    return coupon, users[:quota], users[quota:]


@contextmanager
def broken_off(owner: object, name: str) -> Iterator[None]:
    """Have Redis go away just when this would be called, which breaks off what is done here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, failing(redis.ConnectionError()))
        with pytest.raises(redis.ConnectionError):
            yield


def change_unheard(coupon: int, **fields: object) -> None:
    """Change a coupon while Redis does not hear of it."""
    with broken_off(coupons, "publish"):
        coupons.change_coupon(coupon, **fields)


def let_time_pass(coupon: int, days: int) -> None:
    """Move the period so far into the past, and tell Redis."""
    with db.engine.begin() as connection:
        ago = {"issue_start_at": utcnow() - timedelta(days + 1), "issue_end_at": utcnow() - timedelta(days)}
        connection.execute(
            update(Coupon).where(Coupon.id == coupon).values(**ago, revision=Coupon.revision + 1)
        )
    publishing.publish(coupon)


def restart() -> None:
    """Have Redis be another run of the server, with everything that it knew."""
    for gate in line_redis().scan_iter("*:gate"):
        if line_redis().hexists(gate, "run_id"):
            line_redis().hset(gate, "run_id", "another")


def end_epochs() -> None:
    for gate in line_redis().scan_iter("*:gate"):
        line_redis().hdel(gate, "run_id")


def replica() -> Callable[[], None]:
    """Copy every key now, and return what has this copy take over, as a replica that was behind."""
    behind = {
        key: line_redis().execute_command("DUMP", key, NEVER_DECODE=True) for key in line_redis().scan_iter()
    }

    def take_over() -> None:
        line_redis().flushall()
        for key, dump in behind.items():
            line_redis().restore(key, 0, dump)
        restart()

    return take_over


# Decided once


def test_a_revoked_coupon_is_not_issued_again_by_a_replica_that_was_behind():
    coupon, users = make_coupon(quota=1), make_users(2)
    for user in users:
        claims.claim(coupon, user)
    take_over = replica()
    admission.admit(coupon)
    redeeming.revoke(code_of(coupon, users[0]), None, "fraud")
    take_over()
    publishing.publish(coupon)
    assert [ticket.member for ticket in line_of(coupon).waiting()] == [str(users[1])]
    admission.admit(coupon)
    assert holders(coupon) == [users[1]]
    assert states(coupon, users) == ["rejected", "issued"]
    assert audit.run(coupon).ok


@pytest.mark.parametrize("quota", [1, 9], ids=["the quota is just enough", "the batch is trusted"])
@pytest.mark.parametrize("where", ["line_key", "standby_key"])
def test_whom_sql_has_rejected_is_rejected_again_whatever_number_comes_with_them(quota, where):
    coupon, users = make_coupon(quota=quota), make_users(2)
    claim_and_admit(coupon, users[:1])
    redeeming.revoke(code_of(coupon, users[0]), None, "fraud")
    line = line_of(coupon)
    line_redis().hdel(line.results_key, str(users[0]))
    line_redis().zadd(getattr(line, where), {str(users[0]): 1})
    claims.claim(coupon, users[1])
    publishing.publish(coupon)
    admission.admit(coupon)
    assert holders(coupon) == [users[1]]
    assert states(coupon, users) == ["rejected", "issued"]


def test_a_number_that_comes_with_somebody_rejected_before_is_skipped_for_a_reason():
    coupon, users = make_coupon(quota=9), make_users(2)
    claim_and_admit(coupon, users[:1])
    redeeming.revoke(code_of(coupon, users[0]), None, "fraud")
    line_redis().hdel(line_of(coupon).results_key, str(users[0]))
    claim_and_admit(coupon, users)
    assert holders(coupon) == [users[1]]
    assert audit.run(coupon).ok


def long_ago() -> None:
    """Let the revocations be older than a sweep repeats."""
    with db.engine.begin() as connection:
        connection.execute(update(Revocation).values(revoked_at=utcnow() - timedelta(hours=1)))


def test_a_worker_that_settles_an_hour_after_a_revocation_shows_no_issue():
    coupon, (user,) = make_coupon(quota=1), make_users(1)
    late: list[tuple[object, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Line, "settle", lambda _line, *batch: late.append(batch))
        claim_and_admit(coupon, [user])
    redeeming.revoke(holder_code(coupon), None, "fraud")
    sweep()
    long_ago()
    line_of(coupon).settle(*late[0])
    assert states(coupon, [user]) == ["rejected"]
    sweep()
    assert line_of(coupon).gate().policy.issued == 0
    assert audit.run(coupon).ok


def test_a_revocation_is_told_however_long_redis_was_away():
    coupon, holder, _ = sold_out()
    sweep()
    with broken_off(publishing, "publish_revocation"):
        redeeming.revoke(code_of(coupon, holder[0]), None, "fraud")
    long_ago()
    sweep()
    assert states(coupon, holder) == ["rejected"]


# Standby comes back first


def test_a_quota_raised_while_redis_was_down_serves_standby_before_a_newcomer():
    coupon, _, standby = sold_out(standby=1)
    (newcomer,) = make_users(1)
    change_unheard(coupon, total_quantity=2)
    restart()
    sweep()
    assert tries_to_claim(coupon, newcomer) == "waiting"
    admission.admit(coupon)
    assert states(coupon, [*standby, newcomer]) == ["issued", "sold_out"]
    assert audit.run(coupon).ok


def test_a_revocation_of_a_raise_that_redis_has_not_heard_of_lets_nobody_past_standby():
    coupon, holder, standby = sold_out()
    (newcomer,) = make_users(1)
    change_unheard(coupon, total_quantity=2)
    with broken_off(redeeming, "_record_revocation"):
        redeeming.revoke(code_of(coupon, holder[0]), None, "fraud")
    assert tries_to_claim(coupon, newcomer) == "sold_out"
    sweep()
    assert tries_to_claim(coupon, newcomer) == "waiting"
    admission.admit(coupon)
    assert states(coupon, [*standby, newcomer]) == ["issued", "sold_out", "sold_out"]


def test_admission_brings_standby_back_before_it_serves_whom_a_dead_worker_left_in_line():
    coupon, users = make_coupon(quota=1), make_users(4)
    for user in users[:2]:
        claims.claim(coupon, user)
    with broken_off(Line, "to_standby"):
        claim_and_admit(coupon, users[2:])
    line_redis().zrem(line_of(coupon).line_key, users[1])  # Redis forgot it, and its receipt comes
    assert claims.restore(coupon, users[1], number=2, epoch=1).state == "sold_out"
    change_unheard(coupon, total_quantity=2)
    admission.admit(coupon)
    assert states(coupon, users) == ["issued", "issued", "sold_out", "sold_out"]


def test_a_late_batch_that_opens_the_gate_brings_standby_back():
    coupon, _, standby = sold_out()
    committed = line_of(coupon).gate().policy
    coupons.change_coupon(coupon, total_quantity=1)
    raised = {"revision": committed.revision + 9, "quota": 2}
    line_of(coupon).settle(type(committed)(**vars(committed) | raised), [])
    assert [int(ticket.member) for ticket in line_of(coupon).waiting()] == standby


def test_a_code_revoked_8_days_after_the_end_after_a_restart_serves_standby(monkeypatch):
    coupon, holder, standby = sold_out()
    code = code_of(coupon, holder[0])
    let_time_pass(coupon, 8)
    assert [each.id for each in swept_coupons()] == []
    restart()
    monkeypatch.setattr(sale_epochs, "GRACE_MS", 60_000)
    redeeming.revoke(code, None, "fraud")
    assert admission.admit(coupon).issued == 0, "admission waits for receipts"
    line_redis().hset(line_of(coupon).gate_key, "grace_until", 0)
    assert [each.id for each in swept_coupons()] == [coupon]
    assert sweep() == 1
    admission.admit(coupon)
    assert states(coupon, [*holder, *standby]) == ["rejected", "issued", "sold_out"]
    assert [each.id for each in swept_coupons()] == [], "nobody else could be served"
    assert audit.run(coupon).ok


def test_whoever_could_be_served_long_after_the_end_is_swept_although_redis_was_away():
    coupon, holder, standby = sold_out()
    let_time_pass(coupon, 8)
    with broken_off(publishing, "publish_revocation"):
        redeeming.revoke(code_of(coupon, holder[0]), None, "fraud")
    restart()
    assert sweep() == 1
    admission.admit(coupon)
    assert states(coupon, standby) == ["issued", "sold_out"]


# A press without a receipt


def lost_and_pressed_again(*, quota: int, others: int) -> tuple[int, int, list[int]]:
    """Have Redis lose a line, the first of it press again without a receipt, and others come; return them."""
    coupon, users = make_coupon(quota=quota), make_users(1 + others)
    claims.claim(coupon, users[0])
    line_redis().flushall()
    for user in [*users[1:], users[0]]:
        claims.claim(coupon, user)
    return coupon, users[0], users[1:]


def test_a_receipt_moves_whoever_pressed_without_it_down_to_the_lower_number():
    coupon, user, others = lost_and_pressed_again(quota=2, others=2)
    moved = claims.restore(coupon, user, number=1, epoch=1)
    assert (moved.state, moved.number, moved.ahead) == ("waiting", 1, 0)
    assert claims.restore(coupon, user, number=EPOCH_STEP + 3, epoch=2) == moved
    admission.admit(coupon)
    assert states(coupon, [user, *others]) == ["issued", "issued", "sold_out"]
    coupons.change_coupon(coupon, total_quantity=9)
    claim_and_admit(coupon, make_users(1))
    assert states(coupon, others) == ["issued", "issued"]
    assert line_of(coupon).aside() == []
    assert audit.run(coupon).ok


def test_a_receipt_moves_somebody_in_standby_down_too():
    coupon, user, others = lost_and_pressed_again(quota=1, others=2)
    admission.admit(coupon)
    moved = claims.restore(coupon, user, number=1, epoch=1)
    assert (moved.state, moved.number, moved.missed_by) == ("sold_out", 1, 1)
    coupons.change_coupon(coupon, total_quantity=2)
    admission.admit(coupon)
    assert states(coupon, [user, *others]) == ["issued", "issued", "sold_out"]
    assert audit.run(coupon).ok


@pytest.mark.parametrize(("number", "epoch"), [(2, 1), (EPOCH_STEP + 1, 2), (EPOCH_STEP + 2, 2)])
def test_nobody_moves_to_a_number_that_another_has_or_that_is_no_lower(number, epoch):
    coupon, user, others = lost_and_pressed_again(quota=9, others=1)
    claims.restore(
        coupon, others[0], number=2, epoch=1
    )  # the other has moved, and left EPOCH_STEP + 1 behind
    before = claims.standing(coupon, user)
    assert claims.restore(coupon, user, number=number, epoch=epoch) == before
    admission.admit(coupon)
    assert audit.run(coupon).ok


@pytest.mark.parametrize("blocked", [False, True], ids=["issued", "rejected"])
def test_a_move_while_the_higher_number_is_being_decided_changes_nothing_of_it(blocked):
    coupon, user, others = lost_and_pressed_again(quota=9, others=1)
    if blocked:
        with db.engine.begin() as connection:
            connection.execute(update(User).where(User.id == user).values(blocked_at=utcnow()))
    settle = Line.settle

    def move_first(line: Line, *batch: object) -> int:
        claims.restore(coupon, user, number=1, epoch=1)
        return settle(line, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Line, "settle", move_first)
        admission.admit(coupon)
    admission.admit(coupon)
    ticket = claims.standing(coupon, user)
    assert (ticket.state, ticket.number) == ("rejected" if blocked else "issued", EPOCH_STEP + 2)
    assert list(line_of(coupon).waiting()) == []
    assert states(coupon, others) == ["issued"]
    assert audit.run(coupon).ok


def test_whoever_moves_down_while_winning_the_last_coupon_is_not_left_in_standby():
    coupon, user, others = lost_and_pressed_again(quota=1, others=1)
    settle = Line.settle

    def move_first(line: Line, *batch: object) -> int:
        for moving, number in ((user, 1), (others[0], 2)):
            claims.restore(coupon, moving, number=number, epoch=1)
        return settle(line, *batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Line, "settle", move_first)
        admission.admit(coupon)
    assert states(coupon, [*others, user]) == ["issued", "sold_out"]
    assert list(line_of(coupon).standby()) == [(str(user), 1)]
    assert audit.run(coupon).ok


def test_over_http_a_receipt_of_a_lower_number_is_heard(client):
    coupon, user, _ = lost_and_pressed_again(quota=9, others=1)
    sign_in(client, user)

    def number_with(receipt: str) -> int:
        answer = client.get(f"/coupons/{coupon}/ticket", headers={tickets.RECEIPT_HEADER: receipt})
        return answer.json["number"]

    key = client.application.config["SECRET_KEY"]
    forged = receipts.sign("another key", Receipt(coupon, user, 1, 1))
    for text in ("", "x", "1.2.3", forged, receipts.sign(key, Receipt(coupon, user, EPOCH_STEP + 9, 2))):
        assert number_with(text) == EPOCH_STEP + 2
    assert number_with(receipts.sign(key, Receipt(coupon, user, 1, 1))) == 1


# A gate of the past


ENDS = {"another run of the server": restart, "an epoch that ended": end_epochs}
ASKS: dict[str, Callable[[int, int], object]] = {
    "claim": claims.claim,
    "standing": claims.standing,
    "restore": lambda coupon, user: claims.restore(coupon, user, number=1, epoch=1),
    "the public numbers": lambda coupon, _user: claims.line_status(coupon),
}


@contextmanager
def sql_away() -> Iterator[None]:
    """Have SQL refuse to begin an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sale_epochs, "locked_coupon", failing(OperationalError("away", {}, Exception())))
        yield


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_gate_of_the_past_answers_nothing_while_sql_is_away(end, ask):
    coupon, holder, standby = sold_out()
    people = [*holder, *standby, *make_users(1)]
    end()
    with sql_away():
        for user in people:
            with pytest.raises(OperationalError):
                ask(coupon, user)
    for user in people:
        assert tries_to_claim(coupon, user) in ("issued", "sold_out")


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_gate_of_the_past_says_busy_over_http_and_then_what_sql_knows(client, end):
    coupon, holder, _ = sold_out()
    headers = {"X-CSRFToken": sign_in(client, holder[0]), "Accept": "application/json"}
    address = f"/coupons/{coupon}"

    def answers() -> list[TestResponse]:
        tickets._kept_statuses.clear()
        polls = [client.get(f"{address}/{what}", headers=headers) for what in ("ticket", "serving")]
        return [client.post(f"{address}/claim", headers=headers), *polls, client.get(address)]

    end()
    with sql_away():
        for answer in answers():
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
            assert "issued" not in answer.text
    claimed, ticket, serving, page = answers()
    assert [claimed.json["state"], ticket.json["state"]] == ["issued", "issued"]
    assert (serving.json["state"], serving.json["epoch"], page.status_code) == ("sold_out", 2, 200)


def test_nobody_reads_an_issue_that_was_revoked_before_a_replica_that_was_behind_took_over():
    coupon, holder, _ = sold_out()
    take_over = replica()
    redeeming.revoke(code_of(coupon, holder[0]), None, "fraud")
    take_over()
    assert states(coupon, holder) == ["rejected"]


def test_nobody_hears_sold_out_of_the_past():
    coupon, _, _ = sold_out()
    (newcomer,) = make_users(1)
    change_unheard(coupon, total_quantity=9)
    restart()
    assert tries_to_claim(coupon, newcomer) == "waiting"


# A clock that is put back


def put_clock_back(coupon: int, ms: int) -> None:
    """Move every instant that Redis keeps of a line so far into the future, which is the same."""
    line = line_of(coupon)
    for name, unit in {"grace_from": 1, "grace_until": 1, "arrived": BUCKET_MS}.items():
        line_redis().hincrby(line.gate_key, name, ms // unit)
    if (life_ms := line_redis().pttl(line.bell_key)) > 0:
        line_redis().pexpire(line.bell_key, life_ms + ms)


@pytest.mark.parametrize("back_s", [2, 60, 600, 86_400])
def test_a_clock_that_is_put_back_has_the_wait_for_receipts_begin_anew(monkeypatch, back_s):
    """It neither ends, or a newcomer would overtake, nor goes on for ever so long."""
    monkeypatch.setattr(sale_epochs, "GRACE_MS", 60_000)
    coupon, users = make_coupon(quota=1), make_users(2)
    claims.claim(coupon, users[0])
    line_redis().flushall()
    claims.claim(coupon, users[1])
    put_clock_back(coupon, back_s * 1000)
    assert sweep() == 0
    assert admission.admit(coupon).issued == 0, "admission waits for receipts"
    gate = line_of(coupon).gate()
    assert 50_000 < gate.grace_until_ms - gate.now_ms <= 60_000
    assert gate.ahead_ms == pytest.approx(back_s * 1000, abs=5000)
    assert claims.restore(coupon, users[0], number=1, epoch=1).state == "waiting"
    line_redis().hset(line_of(coupon).gate_key, "grace_until", gate.now_ms)
    assert admission.admit(coupon).issued == 1
    assert claims.standing(coupon, users[0]).state == "issued"
    assert list(line_of(coupon).late()) == []


def test_a_clock_that_is_put_back_makes_no_wait_where_there_was_none():
    coupon, (user,) = make_coupon(), make_users(1)
    claims.claim(coupon, user)
    line_of(coupon).quiet_bell()
    put_clock_back(coupon, 600_000)
    assert sweep() == 1


def test_a_wait_that_is_over_stays_over_when_the_clock_is_put_back(monkeypatch):
    monkeypatch.setattr(sale_epochs, "GRACE_MS", 60_000)
    coupon, users = make_coupon(quota=1), make_users(2)
    claims.claim(coupon, users[0])
    line_redis().flushall()
    claims.claim(coupon, users[1])
    put_clock_back(coupon, -600_000)
    assert admission.admit(coupon).issued == 1, "by this clock it is over"
    put_clock_back(coupon, 600_000)
    assert claims.restore(coupon, users[0], number=1, epoch=1).state == "sold_out"
    assert [each.number for each in line_of(coupon).late()] == [1]


def test_a_bell_from_before_the_clock_was_put_back_is_no_bell():
    coupon, (user,) = make_coupon(), make_users(1)
    claims.claim(coupon, user)
    assert sweep() == 0, "its bell is set"
    put_clock_back(coupon, 600_000)
    assert sweep() == 1
    assert 0 < line_redis().pttl(line_of(coupon).bell_key) <= BELL_MS


# What Redis keeps


def written() -> int:
    """Return how large the append-only file is."""
    return int(line_redis().info("persistence")["aof_current_size"])


def test_a_sweep_that_changes_nothing_writes_nothing_but_that_the_sweeper_lives():
    def grown() -> int:
        before = written()
        sweep()
        return written() - before

    sweep()
    alone = grown()
    one, ended = make_coupon(), sold_out()[0]
    claims.claim(one, make_users(1)[0])
    let_time_pass(ended, 1)
    make_coupon(status="paused")
    sweep()
    assert grown() == alone
    assert alone < 200


def keys_of(coupon: int) -> set[str]:
    return {key.rpartition(":")[2] for key in line_redis().scan_iter(f"{{coupon:{coupon}}}:*")}


def test_results_leave_redis_30_days_after_the_end_and_sql_answers(client):
    coupon, holder, standby = sold_out(quota=2)
    redeeming.revoke(code_of(coupon, holder[0]), None, "fraud")
    admission.admit(coupon)
    people = [*holder, *standby, *make_users(1)]
    let_time_pass(coupon, 29)
    known = [claims.standing(coupon, user) for user in people]
    assert keys_of(coupon) == {"gate", "standby", "results", "arrivals"}
    let_time_pass(coupon, 31)
    assert keys_of(coupon) == {"gate", "standby"}
    assert [claims.standing(coupon, user) for user in people] == known
    heard = ["rejected", "issued", "issued", "sold_out", "closed"]
    assert [tries_to_claim(coupon, user) for user in people] == heard
    sign_in(client, holder[1])
    assert 'data-state="issued"' in client.get(f"/coupons/{coupon}").text
    assert client.get(f"/coupons/{coupon}/ticket").json["code"] == known[1].code
    assert audit.run(coupon).ok


def test_standby_is_served_however_long_after_the_end_a_coupon_comes_back():
    coupon, holder, standby = sold_out()
    let_time_pass(coupon, 31)
    redeeming.revoke(holder_code(coupon), None, "fraud")
    assert sweep() == 0, "the revocation rang"
    admission.admit(coupon)
    assert states(coupon, [*holder, *standby]) == ["rejected", "issued", "sold_out"]
    sweep()
    assert keys_of(coupon) == {"gate", "standby"}
    publishing.reconcile(coupon)
    assert keys_of(coupon) == {"gate", "standby"}
    assert audit.run(coupon).ok


@pytest.mark.parametrize("heard_by", ["publish", "settle"])
def test_results_come_back_when_the_end_is_moved_to_later(heard_by):
    coupon, holder, standby = sold_out()
    let_time_pass(coupon, 31)
    with broken_off(coupons, "publish") if heard_by == "settle" else nullcontext():
        coupons.change_coupon(coupon, issue_end_at=utcnow() + timedelta(days=1))
    if heard_by == "settle":
        with db.engine.connect() as connection:
            line_of(coupon).settle(policy_of(connection.execute(select(Coupon)).one()), [])
    assert states(coupon, [*holder, *standby]) == ["issued", "sold_out", "sold_out"]
    assert keys_of(coupon) >= {"gate", "standby", "results"}
    assert line_redis().pttl(line_of(coupon).results_key) > 0
    assert audit.run(coupon).ok


# Failover


def test_a_server_that_takes_over_while_an_epoch_begins_keeps_the_epoch_that_it_has(monkeypatch):
    coupon = make_coupon()
    sale_epochs.ensure_open(coupon)
    before = db.session.execute(select(Coupon.epoch, Coupon.last_number)).one()
    monkeypatch.setattr(Line, "life", lambda _line: Life(False, None))
    with pytest.raises(Refused, match="busy"):
        sale_epochs.ensure_open(coupon)
    db.session.rollback()
    assert db.session.execute(select(Coupon.epoch, Coupon.last_number)).one() == before


# SQL comes back with older data


@pytest.mark.parametrize("commits", range(4), ids="{} commits after it".format)
def test_what_sql_has_forgotten_to_have_decided_is_decided_anew(commits):
    """Whatever the revisions say: commits after SQL was put back may reach the one of the gate."""
    coupon, users = make_coupon(quota=2), make_users(2)
    claims.claim(coupon, users[0])
    claims.claim(coupon, users[1])
    before = dict(db.session.execute(select(Coupon.__table__).where(Coupon.id == coupon)).one()._mapping)
    db.session.rollback()
    admission.admit(coupon)
    with db.engine.begin() as connection:
        connection.execute(delete(CouponIssue).where(CouponIssue.coupon_id == coupon))
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(before))
    for _ in range(commits):
        coupons.change_coupon(coupon, title=f"after {commits}")
    publishing.reconcile(coupon)
    assert audit.run(coupon).ok
    assert states(coupon, users) == ["none", "none"]
    restored = [claims.restore(coupon, user, number=number, epoch=1) for number, user in enumerate(users, 1)]
    assert [ticket.number for ticket in restored] == [1, 2]
    admission.admit(coupon)
    assert states(coupon, users) == ["issued", "issued"]
    assert audit.run(coupon).ok


@pytest.mark.parametrize("place", ["line", "standby"])
def test_a_number_that_another_got_after_nobody_reconciled_stays_theirs(place):
    """SQL is put back and Redis is wiped; without `flask reconcile` the numbers begin once more."""
    coupon, (first, second) = make_coupon(), make_users(2)
    ticket = claims.claim(coupon, first)
    with db.engine.begin() as connection:
        connection.execute(
            update(Coupon).where(Coupon.id == coupon).values(epoch=0, epoch_mark=None, last_number=0)
        )
    line_redis().flushall()
    assert claims.claim(coupon, second).number == ticket.number
    line = line_of(coupon)
    if place == "standby":
        line_redis().rename(line.line_key, line.standby_key)
    assert claims.restore(coupon, first, number=ticket.number, epoch=ticket.epoch).state == "lost"
    assert line_redis().zrange(getattr(line, f"{place}_key"), 0, -1, withscores=True) == [
        (str(second), ticket.number)
    ]


@pytest.mark.parametrize("epochs", [1, 2, 12])
def test_a_number_of_an_epoch_that_both_stores_have_forgotten_is_not_given_again(epochs):
    """SQL is put back to before them, Redis is wiped, and an operator reconciles, as the docs say."""
    coupon, users = make_coupon(quota=None), make_users(3)
    backup = {"epoch": epochs - 1, "epoch_mark": None, "last_number": 0}
    for _ in range(epochs - 1):
        end_epochs()
        sale_epochs.ensure_open(coupon)
    ticket = claims.claim(coupon, users[0])
    assert ticket.epoch == epochs
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(backup))
        connection.execute(delete(LineEvent))
    line_redis().flushall()
    publishing.reconcile(coupon)
    claim_and_admit(coupon, users[1:2])
    restored = claims.restore(coupon, users[0], number=ticket.number, epoch=epochs)
    claim_and_admit(coupon, users[2:])
    assert (restored.state, restored.number) == ("waiting", ticket.number)
    assert holders(coupon) == users
    assert audit.run(coupon).ok


# The lock is lost


@pytest.mark.parametrize("verb", [publishing.reconcile, sale_epochs.ensure_open], ids=["reconcile", "epoch"])
def test_whoever_slept_through_the_end_of_the_lock_changes_no_result(verb, monkeypatch):
    coupon, users = make_coupon(quota=2), make_users(3)
    claim_and_admit(coupon, users[:1])
    replace, slept = Line.replace_results, []

    def late(line: Line, revision: int, results: dict[str, str], **options: Any) -> bool:
        """SQL ends the session; others revoke, admit, and begin an epoch; then this one wakes up."""
        if slept:
            return replace(line, revision, results, **options)
        slept.append(True)
        with db.engine.begin() as connection:
            connection.execute(update(Coupon).where(Coupon.id == coupon).values(revision=revision + 1))
        sale_epochs.ensure_open(coupon)
        redeeming.revoke(code, None, "fraud")
        claim_and_admit(coupon, users[1:])
        return replace(line, revision, results, **options)

    code = code_of(coupon, users[0])
    monkeypatch.setattr(Line, "replace_results", late)
    monkeypatch.setattr(sale_epochs, "locked_coupon", asleep(sale_epochs.locked_coupon))
    monkeypatch.setattr(publishing, "locked_coupon", asleep(publishing.locked_coupon))
    if verb is sale_epochs.ensure_open:
        line_of(coupon).end_epoch()
    with pytest.raises(redis.ResponseError, match="LATE"):
        verb(coupon)
    assert states(coupon, users) == ["rejected", "issued", "issued"]
    assert audit.run(coupon).ok


@pytest.mark.parametrize("forgets", [False, True], ids=["with its file", "with an empty file"])
@pytest.mark.parametrize("epoch", [1, 2, 7])
def test_a_gate_of_whoever_lost_the_lock_is_not_opened_as_the_epoch_of_another(epoch, forgets, monkeypatch):
    """SQL ends the session of whoever makes it; another opens the epoch; Redis starts again; the first one wakes up."""
    coupon, users = make_coupon(quota=3), make_users(3)
    begin, before_it = Line.begin_epoch, {"epoch": epoch - 1, "epoch_mark": None, "last_number": 0}
    line_redis().flushall()
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).where(Coupon.id == coupon).values(before_it))

    def late(line: Line, policy: Policy, **options: Any) -> NoReturn:
        monkeypatch.setattr(Line, "begin_epoch", begin)
        claims.claim(coupon, users[0])
        line_redis().flushall() if forgets else restart()
        begin(line, policy, **options)
        raise ConnectionError("the lock was lost")

    monkeypatch.setattr(Line, "begin_epoch", late)
    with monkeypatch.context() as patch:
        patch.setattr(sale_epochs, "locked_coupon", asleep(sale_epochs.locked_coupon))
        with pytest.raises(ConnectionError):
            sale_epochs.ensure_open(coupon)
    assert epoch_of(coupon) == epoch
    tickets = [claims.claim(coupon, user) for user in users[1:]]
    assert epoch_of(coupon) == epoch + 1
    assert all(ticket.number > epoch * EPOCH_STEP for ticket in tickets), (
        "above all numbers of the epoch before"
    )
    assert audit.run(coupon).ok


WIPED = [
    (Line, "begin_epoch"),
    (Line, "_run"),
    (Line, "replace_results"),
    (CouponLock, "commit"),
    (Line, "open_epoch"),
]


@pytest.mark.parametrize("forgets", [True, False], ids=["empty", "with its file"])
@pytest.mark.parametrize(("owner", "step"), WIPED, ids=lambda each: each if isinstance(each, str) else "")
@pytest.mark.parametrize("verb", [publishing.reconcile, sale_epochs.ensure_open], ids=["reconcile", "epoch"])
def test_whatever_redis_forgets_while_an_epoch_is_made_it_knows_all_results(
    verb, owner, step, forgets, monkeypatch
):
    """Redis starts again after any step; whoever made the epoch goes on."""
    coupon, users = make_coupon(quota=2), make_users(4)
    claim_and_admit(coupon, users[:3])
    line_of(coupon).end_epoch()
    monkeypatch.setattr("webapp.line.line.WRITE_CHUNK", 1)
    original, starts = getattr(owner, step), []

    def then_starts_again(self: object, *args: object, **options: object) -> object:
        found = original(self, *args, **options)
        if not starts and (step != "_run" or args[0] == "replace_results"):
            starts.append(line_redis().flushall() if forgets else restart_beginnings())
        return found

    monkeypatch.setattr(owner, step, then_starts_again)
    with suppress(redis.ResponseError):
        verb(coupon)
    assert starts
    assert tries_to_claim(coupon, users[3]) == "sold_out"
    assert states(coupon, users[:2]) == ["issued", "issued"]
    assert [claims.claim(coupon, user).state for user in users[:2]] == ["issued", "issued"]
    assert audit.run(coupon).ok


def restart_beginnings() -> None:
    """Have Redis be another run of the server, for a gate that is begun as well."""
    restart()
    for gate in line_redis().scan_iter("*:gate"):
        if line_redis().hexists(gate, "begun"):
            line_redis().hset(gate, "begun", "another")


def epoch_of(coupon: int) -> int:
    db.session.rollback()
    return db.session.scalars(select(Coupon.epoch).where(Coupon.id == coupon)).one()


def asleep(locked: Callable[..., Any]) -> Callable[..., Any]:
    """Return a lock that SQL has given back already, when whoever took it goes on."""

    @contextmanager
    def lost(coupon_id: int) -> Iterator[Any]:
        with locked(coupon_id) as lock:
            lock.connection.rollback()
            yield lock

    return lost


@pytest.mark.parametrize("later", [2, 3, 7])
def test_receipts_of_an_epoch_that_both_stores_have_forgotten_win_their_places_back(later):
    """The first one shown may be of a number that was itself restored, far below the others of its epoch."""
    coupon, users = make_coupon(), make_users(3)
    claims.claim(coupon, users[0])
    numbers = [1, (later - 1) * EPOCH_STEP + 1, (later - 1) * EPOCH_STEP + 2]
    for user, number in zip(users, numbers, strict=True):
        line_redis().zrem(line_of(coupon).line_key, user)
        assert claims.restore(coupon, user, number=number, epoch=later).number == number
    assert [ticket.number for ticket in line_of(coupon).waiting()] == numbers
    assert claims.claim(coupon, make_users(1)[0]).number > numbers[-1]
