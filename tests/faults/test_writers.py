"""Many who write at once: all are done, and whoever needs no writing waits for none of them."""

import secrets
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.builders import make_coupon, make_user, make_users
from tests.faults.site import Site
from tests.faults.visitor import Seen, Visitor
from webapp.line.line import Line
from webapp.models import OPERATOR, utcnow
from webapp.sale import admission, claims
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.values.moments import write_moment

OPERATORS, COUPONS_EACH = 8, 3
PASSWORD = "correct horse battery"
STANDSTILL_S = 1.0
"""Ten times what is seen here, half of what the control shows when the loop comes round between two who wait."""
LOCKED_S = 1.0
"""How long another process holds the lock: less than a writer waits for it."""
EARLY = -1


def new_coupon() -> dict[str, str]:
    now = utcnow()
    return {
        "title": "One of many",
        "total_quantity": "100",
        "discount_amount": "1000",
        "issue_start_at": write_moment(now + timedelta(hours=1)),
        "issue_end_at": write_moment(now + timedelta(hours=2)),
    }


def make_operator() -> int:
    return make_user(role=OPERATOR).id


def create(site: Site, operator: int) -> list[Seen]:
    page = "/admin/coupons/new"
    with Visitor(site, operator) as visitor:
        return [visitor.post(page, visitor.form(page) | new_coupon()) for _ in range(COUPONS_EACH)]


def register(site: Site, number: int) -> list[Seen]:
    fields = {"email": f"new{number}-{secrets.token_hex(4)}@example.com", "name": "Kim", "password": PASSWORD}
    with Visitor(site) as visitor:
        return [visitor.post("/register", visitor.form("/register") | fields)]


def sign_in_and_out(site: Site, email: str) -> list[Seen]:
    with Visitor(site) as visitor:
        fields = {"email": email, "password": PASSWORD}
        entered = visitor.post("/login", visitor.form("/login") | fields)
        return [entered, visitor.post("/logout", visitor.form("/"))]


def seed(site: Site, coupon: int) -> list[Seen]:
    """Ask for a line that Redis lost; whoever waits too long for it asks again, as every page does."""
    with Visitor(site) as visitor:
        answers = [visitor.get(f"/coupons/{coupon}/serving")]
        while answers[-1].status == 503 and len(answers) < 10:
            answers.append(visitor.get(f"/coupons/{coupon}/serving"))
        return answers[-1:]


def lose_line(coupon: int) -> None:
    line_redis().delete(Line(line_redis(), coupon).gate_key)


def a_rush(site: Site, open_sale: Callable[..., Any]) -> list[Seen]:
    """Have operators create, people register, sign in and out, and lines made anew, all at once, during a drop."""
    operators, lost = [make_operator() for _ in range(OPERATORS)], [make_coupon() for _ in range(4)]
    emails = [make_user(password=PASSWORD).email for _ in range(3)]
    history = open_sale(site, people=600, quota=500)
    db.session.rollback()
    forget_standstills(site)
    drive = history.drive(spread_s=3)
    for coupon in lost:
        lose_line(coupon)
    with ThreadPoolExecutor(32) as pool:
        calls = [pool.submit(create, site, operator) for operator in operators]
        calls += [pool.submit(register, site, number) for number in range(3)]
        calls += [pool.submit(sign_in_and_out, site, email) for email in emails]
        calls += [pool.submit(seed, site, coupon) for coupon in lost]
        history.poll(spread_s=2)
        seen = [each for call in calls for each in call.result()]
    drive.end()
    history.check()
    return seen


def forget_standstills(site: Site) -> None:
    """Forget those of the start, before anybody came."""
    for file in site.directory.glob("standstill-*"):
        file.unlink()


def longest_standstill_s(site: Site) -> float:
    return max(float(file.read_text()) for file in site.directory.glob("standstill-*"))


def writers(site: Site) -> dict[str, tuple[int | None, str, str, dict[str, str]]]:
    """Return one of each kind of request that writes, by its name: who sends it, from which page, to which, and what.

    The coupon of each is another, so that none has anything but the lock to wait for.
    """
    coming = [f"/admin/coupons/{make_coupon(opens_in=600)}" for _ in range(3)]
    used, revoked = (issued_code() for _ in range(2))
    (leaving,), boss = make_users(1), make_operator()
    account = {"email": "new@example.com", "name": "Kim", "password": PASSWORD}
    return {
        "create": (boss, "/admin/coupons/new", "/admin/coupons/new", new_coupon()),
        "change": (boss, coming[0], coming[0], new_coupon()),
        "quota": (boss, coming[1], f"{coming[1]}/quota", {"total_quantity": "7"}),
        "pause": (boss, coming[2], f"{coming[2]}/pause", {}),
        "redeem": (boss, "/admin/redeem", "/admin/redeem", {"code": used}),
        "revoke": (boss, "/admin/redeem", "/admin/revoke", {"code": revoked, "reason": "by mistake"}),
        "register": (None, "/register", "/register", account),
        "sign out": (leaving, "/", "/logout", {}),
    }


def issued_code() -> str:
    coupon, (holder,) = make_coupon(), make_users(1)
    claims.claim(coupon, holder)
    admission.admit(coupon)
    return claims.standing(coupon, holder).code or ""


def written_while_locked(site: Site) -> dict[str, int]:
    """Send all of them while another process holds the lock, look at what needs no writing, and give the lock back.

    Returns the status of each answer; EARLY for one that came although the lock was held.
    """
    looks = ["/healthz", "/login", page := f"/coupons/{make_coupon()}", f"{page}/serving"]
    forget_standstills(site)
    with ExitStack() as stack:
        looker, sending = stack.enter_context(Visitor(site)), {}
        for name, (user, form, address, fields) in writers(site).items():
            visitor = stack.enter_context(Visitor(site, user))
            sending[name] = partial(visitor.post, address, visitor.form(form) | fields)
        other = stack.enter_context(
            closing(sqlite3.connect(site.directory / "firstcome.db", isolation_level=None))
        )
        pool = stack.enter_context(ThreadPoolExecutor(len(sending)))
        other.execute("BEGIN IMMEDIATE")
        sent, until = {name: pool.submit(send) for name, send in sending.items()}, time.monotonic() + LOCKED_S
        while time.monotonic() < until:
            assert {looker.get(path).status for path in looks} == {200}
        early = {name for name, call in sent.items() if call.done()}
        other.execute("ROLLBACK")
        return {name: EARLY if name in early else call.result().status for name, call in sent.items()}


@pytest.mark.quick
@pytest.mark.parametrize("web_processes", [1, 2])
@pytest.mark.parametrize("embedded", [True, False], ids=["sqlite", "mariadb"])
def test_eight_operators_at_once(start, open_sale, embedded, web_processes):
    site = start(
        embedded=embedded,
        web_processes=web_processes,
        sweeper=False,
        tamper={"web": "note standstills,slow machine"},
    )
    seen = a_rush(site, open_sale)
    assert {each.status for each in seen} <= {200, 303}, site.said()
    assert longest_standstill_s(site) < STANDSTILL_S


@pytest.mark.quick
def test_whoever_writes_waits_for_the_lock_and_nobody_else(start):
    site = start(embedded=True, web_processes=1, workers=0, sweeper=False)
    assert set(written_while_locked(site).values()) <= {200, 303}


@pytest.mark.quick
def test_control_a_process_that_waits_in_c_has_everybody_wait(start):
    """Whoever looks is answered only when those who write have given up."""
    wrong = "wait in c,note standstills"
    site = start(embedded=True, web_processes=1, workers=0, sweeper=False, tamper={"web": wrong})
    answers = written_while_locked(site).values()
    assert EARLY in answers or 503 in answers
    assert longest_standstill_s(site) > STANDSTILL_S
