"""What must hold when everybody comes at once. Each guard has a control that fails without it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest
from sqlalchemy import engine_from_config, func, select
from sqlalchemy.pool import QueuePool

from tests.builders import make_coupon, make_user, make_users, sign_in
from webapp.line.keys import BELL_MS, BUCKET_MS
from webapp.line.line import Line
from webapp.line.types import Claimed, Reply
from webapp.models import OPERATOR, Coupon, CouponIssue
from webapp.sale import admission, audit, bells, epochs, locking, publishing, records, setting_aside
from webapp.sale import claims as sale_claims
from webapp.sale.outcomes import Refused
from webapp.stores.script_redis import line_redis, script
from webapp.stores.sql import POOL_WAIT_S, db


def at_once(app, calls: list[Callable[[], Any]]) -> list[Any]:
    """Run every call in its own thread, all released at the same moment, and return their results in order."""
    gate = threading.Barrier(len(calls))
    # A process of ours has no thousand threads: those of a test may wait longer for a connection.
    app.extensions["line"].connection_pool.timeout = 30

    def run(call: Callable[[], Any]) -> Any:
        with app.app_context():
            gate.wait(timeout=30)
            return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def answer_with_free_connections(app, client, method, address, fields, *, free: int) -> Any:
    """Have an operator ask while all but so many connections are in use."""
    coupon, lost, operator = make_coupon(), make_coupon(), make_user(role=OPERATOR)
    token, user = sign_in(client, operator), operator.id
    sale_claims.claim(coupon, user)
    admission.admit(coupon)
    sale_claims.claim(lost, user)
    names = {"coupon": f"/coupons/{coupon}", "lost": f"/coupons/{lost}"}
    names["code"] = sale_claims.standing(coupon, user).code
    line_redis().delete(Line(line_redis(), lost).gate_key)
    db.session.rollback()
    filled = {name: value.format(**names) for name, value in fields.items()} | {"csrf_token": token}
    held = [db.engine.connect() for _ in range(db.engine.pool.size() - free)]
    try:
        return client.open(
            address.format(**names), method=method, data=filled if fields or method == "POST" else {}
        )
    finally:
        for connection in held:
            connection.close()


def fail(**_: object) -> Any:
    raise AssertionError("certificates were read")


def issued_users(coupon_id: int) -> list[int]:
    db.session.rollback()
    query = (
        select(CouponIssue.user_id)
        .where(CouponIssue.coupon_id == coupon_id)
        .order_by(CouponIssue.ticket_number)
    )
    return list(db.session.scalars(query))


def counted(coupon_id: int) -> tuple[int, int]:
    """Return (issued_quantity, rows): a sale is right when the two agree."""
    db.session.rollback()
    rows = db.session.scalar(select(func.count()).where(CouponIssue.coupon_id == coupon_id))
    return db.session.scalar(select(Coupon.issued_quantity).where(Coupon.id == coupon_id)), rows


class NumberedInTwoSteps(Line):
    """The control: counts by reading and then writing, as a claim without one script would."""

    meet = threading.Barrier(2)

    def claims(self, user_ids: Sequence[int]) -> list[Claimed]:
        (user_id,) = user_ids
        number = int(self.redis.hget(self.gate_key, "last")) + 1
        self.meet.wait(timeout=10)
        self.redis.hset(self.gate_key, "last", number)
        self.redis.zadd(self.line_key, {str(user_id): number})
        return [Claimed(Reply.WAITING, 1, number, 0, False, 0, "")]


class Alone:
    """Every click has a call of its own, as those of two processes have."""

    def ask(self, coupon_id: int, user_id: int) -> Claimed:
        return sale_claims.Line(line_redis(), coupon_id).claim(user_id)


def claim_or_none(claim: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        try:
            return claim()
        except Refused as refused:
            if refused.code != "sold_out":
                raise
            return None

    return run


def second_worker_overtakes(app, monkeypatch, quota: int, lock: Any) -> tuple[int, int]:
    """Let one worker read the coupon's row, and a second one run through while the first still thinks.

    With the lock the second can only wait, so the first goes on after a bounded pause.
    """
    coupon, users = make_coupon(quota=quota), make_users(3 * quota)
    for user in users:
        sale_claims.claim(coupon, user)
    first_has_read, second_is_through = threading.Event(), threading.Event()
    first = threading.local()

    @contextmanager
    def slow_for_the_first(coupon_id: int):
        with lock(coupon_id) as held:
            if getattr(first, "me", False):
                first.me = False
                first_has_read.set()
                second_is_through.wait(timeout=0.5)
            yield held

    def first_worker() -> None:
        first.me = True
        admission._admit_batch(coupon, Line(line_redis(), coupon))

    def second_worker() -> None:
        first_has_read.wait(timeout=10)
        admission._admit_batch(coupon, Line(line_redis(), coupon))
        second_is_through.set()

    monkeypatch.setattr(admission, "BATCH", quota)
    monkeypatch.setattr(admission, "locked_coupon", slow_for_the_first)
    monkeypatch.setattr(epochs, "locked_coupon", slow_for_the_first)
    monkeypatch.setattr(publishing, "locked_coupon", slow_for_the_first)
    at_once(app, [first_worker, second_worker])
    return counted(coupon)


def reconciled_while_somebody_is_admitted(app, monkeypatch) -> tuple[int, list[int]]:
    """Have an admission come in between what reconcile reads in SQL and what it does in Redis; return who waited."""
    coupon, users = make_coupon(quota=3), make_users(5)
    for user in users:
        sale_claims.claim(coupon, user)
    read, admissions = records.known_results, ThreadPoolExecutor(1)

    def admit() -> None:
        with app.app_context():
            admission.admit(coupon)

    def reading(*args: Any) -> dict[str, str]:
        known = read(*args)
        admissions.submit(admit).add_done_callback(lambda done: ended.set())
        ended.wait(1)
        return known

    ended = threading.Event()
    with monkeypatch.context() as patch, admissions:
        patch.setattr(epochs, "known_results", reading)
        patch.setattr(publishing, "known_results", reading)
        patch.setattr(setting_aside, "known_results", reading)
        publishing.reconcile(coupon)
    return coupon, users


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_whoever_finds_every_connection_in_use_waits_for_one(app):
    """The control is SQLAlchemy's own setting, through which Flask-SQLAlchemy passes ours: it waits for nothing."""
    assert db.engine.pool.timeout() == POOL_WAIT_S
    plain = app.config["SQLALCHEMY_ENGINE_OPTIONS"] | {"poolclass": QueuePool, "pool_timeout": POOL_WAIT_S}
    control = engine_from_config(plain | {"url": app.config["SQLALCHEMY_DATABASE_URI"]}, prefix="")
    assert control.pool.timeout() == 0


NEW_COUPON = {
    "title": "New",
    "total_quantity": "5",
    "discount_amount": "1000",
    "issue_start_at": "2030-01-01T10:00",
    "issue_end_at": "2030-01-01T12:00",
}
REQUESTS = {
    "the list": ("GET", "/", {}),
    "a coupon": ("GET", "{coupon}", {}),
    "a coupon whose line is lost": ("GET", "{lost}", {}),
    "a receipt": ("GET", "{coupon}/receipt", {}),
    "a receipt of a line that is lost": ("GET", "{lost}/receipt", {}),
    "a claim": ("POST", "{coupon}/claim", {}),
    "a claim in a line that is lost": ("POST", "{lost}/claim", {}),
    "the wallet": ("GET", "/wallet", {}),
    "coupons to manage": ("GET", "/admin/", {}),
    "a coupon to manage": ("GET", "/admin{coupon}", {}),
    "a new coupon": ("POST", "/admin/coupons/new", NEW_COUPON),
    "a quota": ("POST", "/admin{coupon}/quota", {"total_quantity": "9"}),
    "a pause": ("POST", "/admin{coupon}/pause", {}),
    "a code used": ("POST", "/admin/redeem", {"code": "{code}"}),
    "a code taken back": ("POST", "/admin/revoke", {"code": "{code}", "reason": "by mistake"}),
    "an account": (
        "POST",
        "/register",
        {"email": "new@example.com", "name": "Kim", "password": "long enough"},
    ),
    "wrong password": ("POST", "/login", {"email": "new@example.com", "password": "long enough"}),
    "sign out": ("POST", "/logout", {}),
}
ANSWERED = {200, 303, 401, 404}


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_needs_one_connection_at_a_time(app, client, what):
    """Who held one and waited for a second would wait for ever, if enough others did the same."""
    assert answer_with_free_connections(app, client, *REQUESTS[what], free=1).status_code in ANSWERED


def test_control_with_no_connection_free_it_is_busy(app, client):
    app.config["GATE_WAIT_S"] = 0.1
    assert answer_with_free_connections(app, client, *REQUESTS["the wallet"], free=0).status_code == 503


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_certificates_are_read_for_the_first_connection_alone(app, monkeypatch):
    """The control is PyMySQL's own connection, which reads them each time."""
    with db.engine.connect():
        pass
    options = db.engine.dialect.create_connect_args(db.engine.url)[1]
    monkeypatch.setattr("ssl.create_default_context", fail)
    db.engine.dispose()
    with db.engine.connect() as connection:
        assert connection.scalar(select(1)) == 1
    with pytest.raises(AssertionError, match="read"):
        pymysql.connect(**options)


def test_1000_threads_on_a_quota_of_100(app):
    coupon, users = make_coupon(quota=100), make_users(1000)
    tickets = at_once(app, [lambda user=user: sale_claims.claim(coupon, user) for user in users])
    assert sorted(ticket.number for ticket in tickets) == list(range(1, 1001))
    at_once(app, [lambda: admission.admit(coupon)] * 5)
    winners = sorted(zip(tickets, users, strict=True), key=lambda pair: pair[0].number)[:100]
    assert issued_users(coupon) == [user for _, user in winners]
    assert counted(coupon) == (100, 100)
    states = [sale_claims.standing(coupon, user).state for user in users]
    assert (states.count("issued"), states.count("sold_out")) == (100, 900)


def test_claims_and_admission_at_the_same_time(app):
    coupon, users = make_coupon(quota=100), make_users(400)
    claims = [lambda user=user: sale_claims.claim(coupon, user) for user in users]
    results = at_once(app, [claim_or_none(claim) for claim in claims] + [lambda: admission.admit(coupon)] * 5)
    admission.admit(coupon)
    numbers = {ticket.number: user for ticket, user in zip(results, users, strict=False) if ticket}
    assert issued_users(coupon) == [numbers[number] for number in range(1, 101)]
    assert counted(coupon) == (100, 100)


def test_control_numbers_given_in_two_steps_collide(app, monkeypatch):
    coupon, users = make_coupon(quota=100), make_users(2)
    monkeypatch.setattr(admission, "Line", NumberedInTwoSteps)
    monkeypatch.setattr(bells, "Line", NumberedInTwoSteps)
    monkeypatch.setattr(sale_claims, "Line", NumberedInTwoSteps)
    monkeypatch.setattr(epochs, "Line", NumberedInTwoSteps)
    monkeypatch.setattr(publishing, "Line", NumberedInTwoSteps)
    monkeypatch.setattr(setting_aside, "Line", NumberedInTwoSteps)
    monkeypatch.setitem(app.extensions, "clicks", Alone())
    tickets = at_once(app, [lambda user=user: sale_claims.claim(coupon, user) for user in users])
    assert [ticket.number for ticket in tickets] == [1, 1]


def test_50_simultaneous_claims_by_one_user_are_one_ticket(app):
    coupon, (user,) = make_coupon(quota=100), make_users(1)
    tickets = at_once(app, [lambda: sale_claims.claim(coupon, user)] * 50)
    assert {ticket.number for ticket in tickets} == {1}
    at_once(app, [lambda: admission.admit(coupon)] * 3)
    assert issued_users(coupon) == [user]


def test_control_without_the_look_for_a_ticket_one_user_gets_many_numbers(app, monkeypatch):
    coupon, (user,) = make_coupon(quota=100), make_users(1)
    text, _digest = script("claim")
    forgetful = text.replace("if not (decided[i] or in_line[i] or", "if not (decided[i] or")
    assert forgetful != text
    broken = line_redis().register_script(forgetful)
    keys = Line(line_redis(), coupon)
    args = [BELL_MS, BUCKET_MS, user, line_redis().info("server")["run_id"]]
    replies = at_once(app, [lambda: broken(keys=keys.claim_keys, args=args)] * 50)
    assert len({reply[4] for reply in replies}) == 50


def test_five_workers_with_duplicate_jobs(app):
    coupon, users = make_coupon(quota=100), make_users(1000)
    for user in users:
        sale_claims.claim(coupon, user)
    at_once(app, [lambda: [admission.admit(coupon) for _ in range(2)]] * 5)
    assert issued_users(coupon) == users[:100]
    assert counted(coupon) == (100, 100)


@pytest.mark.parametrize("quota", [1, 100])
def test_a_worker_that_read_the_quota_first_keeps_the_others_out(app, monkeypatch, quota):
    assert second_worker_overtakes(app, monkeypatch, quota, locking.locked_coupon) == (quota, quota)


@pytest.mark.parametrize("quota", [1, 100])
def test_control_without_the_lock_the_quota_is_issued_twice(app, monkeypatch, quota):
    @contextmanager
    def unlocked(coupon_id: int):
        with db.engine.connect() as connection:
            row = connection.execute(select(Coupon.__table__).where(Coupon.id == coupon_id)).one_or_none()
            yield locking.CouponLock(connection, row, key=locking._KEY)

    assert second_worker_overtakes(app, monkeypatch, quota, unlocked) == (quota, 2 * quota)


def test_reconcile_takes_nothing_away_from_whoever_is_admitted_just_then(app, monkeypatch):
    coupon, users = reconciled_while_somebody_is_admitted(app, monkeypatch)
    assert issued_users(coupon) == users[:3]
    assert [sale_claims.standing(coupon, user).state for user in users] == ["issued"] * 3 + ["sold_out"] * 2
    assert sale_claims.line_status(coupon).epoch == 1
    assert audit.run(coupon).ok


def test_control_without_the_lock_reconcile_takes_the_gate_for_one_that_is_ahead_of_sql(app, monkeypatch):
    lock, reconciling = locking.locked_coupon, threading.current_thread()

    @contextmanager
    def unlocked(coupon_id: int):
        if threading.current_thread() is not reconciling:
            with lock(coupon_id) as found:
                yield found
            return
        with db.engine.connect() as connection:
            row = connection.execute(select(Coupon.__table__).where(Coupon.id == coupon_id)).one()
            yield locking.CouponLock(connection, row, key=locking._KEY)

    monkeypatch.setattr(admission, "locked_coupon", unlocked)
    monkeypatch.setattr(epochs, "locked_coupon", unlocked)
    monkeypatch.setattr(publishing, "locked_coupon", unlocked)
    coupon, _users = reconciled_while_somebody_is_admitted(app, monkeypatch)
    assert sale_claims.line_status(coupon).epoch == 2
