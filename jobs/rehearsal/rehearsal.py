"""The rehearsal: a whole drop on the operator's own installation, over HTTP, with marked users and a marked coupon."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import click
from flask import Flask, current_app
from sqlalchemy import delete, func, insert, select
from tqdm import tqdm

from jobs.rehearsal.crowd import signed_in
from jobs.rehearsal.drop import ROWS_EVERY_S, Drop, Outcome
from jobs.rehearsal.figures import figures, summary
from jobs.rehearsal.load import Answer, send_all
from webapp.accounts.passwords import UNUSABLE
from webapp.line.line import Line
from webapp.models import DRAFT, LIVE, Coupon, CouponIssue, LineEvent, Revocation, UndoneUse, User, utcnow
from webapp.sale import audit
from webapp.sale.coupons import change_coupon, create_coupon
from webapp.sale.locking import locked_coupon
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

MOST_USERS = 1_000_000
OPENS_IN_S = 2.0
LASTS = timedelta(hours=1)
FIRST_ANSWER_WITHIN_S = 10
CLAIMS_WITHIN_S = 300
RESULTS_WITHIN_S = 120
CHUNK = 1000
FINAL = frozenset({"issued", "sold_out", "rejected"})


def run(users: int, quota: int, seconds: float | None, url: str) -> Outcome:
    """Play a drop of so many coupons for `users` people, as `play` does, and show progress in the terminal."""
    return play(users, {"total_quantity": quota}, seconds, url)


def play(
    users: int,
    settings: Mapping[str, Any],
    seconds: float | None,
    url: str,
    *,
    mark: str | None = None,
    bar: Callable[..., Any] = tqdm,
) -> Outcome:
    """Play a drop against the running server at `url`, compare it with SQL, and audit it.

    The coupon has these `settings`. The claims of `users` people are spread over `seconds`, or sent as fast as the
    server answers. The coupon, the users and their tickets carry the `mark`, and are deleted at the end, also after an
    error. `bar` makes what shows progress, as tqdm does. Raises click.ClickException when the server does not answer or
    belongs to another installation.
    """
    address = _address(url)
    _check_sizes(users, settings["total_quantity"], seconds)
    with _stage(users, settings, address, mark or f"rehearsal-{secrets.token_hex(6)}", bar) as drop:
        _open(drop)
        with _watched_rows(drop):
            _claim(drop, seconds or 0.0, bar)
            _follow(drop, bar)
        with bar(total=1, desc="audit", unit="", mininterval=0.25):
            report = audit.run(drop.coupon_id)
            exact = _exact(drop)
        lines = [*figures(drop), *exact.lines, *report.lines()]
        return Outcome(exact.ok and report.ok, lines, summary(drop))


@contextmanager
def _stage(
    users: int, settings: Mapping[str, Any], address: tuple[str, int], mark: str, bar: Callable[..., Any]
) -> Iterator[Drop]:
    try:
        now = utcnow()
        period: dict[str, Any] = {"issue_start_at": now + LASTS, "issue_end_at": now + 2 * LASTS}
        coupon_id = create_coupon(rehearsal=True, title=mark, status=DRAFT, **settings, **period)
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        with bar(total=users, desc="people", unit="", mininterval=0.25) as made:
            crowd = signed_in(app, _create_users(mark, users, made), address[0])
        yield Drop(coupon_id, settings["total_quantity"], crowd, address)
    finally:
        clean_up(mark)


def _create_users(mark: str, count: int, made: Any) -> list[int]:
    rows = [
        {"email": f"{mark}-{number}@example.com", "name": mark, "password_hash": UNUSABLE, "rehearsal": True}
        for number in range(count)
    ]
    with db.engine.begin() as connection:
        for start in range(0, count, CHUNK):
            connection.execute(insert(User), rows[start : start + CHUNK])
            made.update(len(rows[start : start + CHUNK]))
        ids = select(User.id).where(User.rehearsal, User.name == mark).order_by(User.id)
        return list(connection.scalars(ids))


def clean_up(mark: str) -> None:
    """Delete the coupons and the people of that mark, and all that is theirs. A repeat finds nothing."""
    with db.engine.connect() as connection:
        of_mark = select(Coupon.id).where(Coupon.rehearsal, Coupon.title == mark)
        coupon_ids = connection.scalars(of_mark).all()
    for coupon_id in coupon_ids:
        with locked_coupon(coupon_id) as lock:
            for table in (CouponIssue, Revocation, UndoneUse):
                lock.connection.execute(delete(table).where(table.coupon_id == coupon_id))
            lock.connection.execute(delete(LineEvent).where(LineEvent.coupon_id == coupon_id))
            lock.connection.execute(delete(Coupon).where(Coupon.id == coupon_id))
            lock.commit()
        Line(line_redis(), coupon_id).forget()
    with db.engine.begin() as connection:
        connection.execute(delete(User).where(User.rehearsal, User.name == mark))


def _open(drop: Drop) -> None:
    """Publish the coupon, check that the server is ours, and wait for the opening by the server's clock."""
    change_coupon(drop.coupon_id, status=LIVE, issue_start_at=utcnow() + timedelta(seconds=OPENS_IN_S))
    serving = _one(drop, f"/coupons/{drop.coupon_id}/serving")
    if serving.status == 404:
        raise click.ClickException("the server does not know our coupon: it runs on another database")
    if serving.status != 200:
        raise click.ClickException(f"the server answers {serving.status}")
    if _one(drop, f"/coupons/{drop.coupon_id}/ticket").status == 401:
        raise click.ClickException("the server does not accept our sessions: its SECRET_KEY is another")
    clock = json.loads(serving.body)
    left = (clock["opens_at_ms"] - clock["now_ms"]) / 1000 - (time.perf_counter() - serving.answered)
    # Nobody clicks before the start, so the rehearsal sleeps.
    time.sleep(max(0.0, left) + 0.01)


def _claim(drop: Drop, spread_s: float, bar: Callable[..., Any]) -> None:
    requests = drop.crowd.claims(drop.coupon_id)
    drop.opened = time.perf_counter()
    with bar(total=len(requests), desc="claims", unit="", mininterval=0.25) as answered:
        drop.claims = send_all(
            drop.address,
            requests,
            on_answer=lambda *_: answered.update(),
            spread_s=spread_s,
            within_s=spread_s + CLAIMS_WITHIN_S,
        )


def _follow(drop: Drop, bar: Callable[..., Any]) -> None:
    """Ask until everybody's result is known; a user who was refused as sold out knows it already."""
    drop.states = [_first_state(claim) for claim in drop.claims]
    until = time.perf_counter() + RESULTS_WITHIN_S
    with bar(total=len(drop.states), desc="results", unit="", mininterval=0.25) as known:
        while time.perf_counter() < until:
            open_ = [index for index, state in enumerate(drop.states) if state not in FINAL]
            known.update(len(drop.states) - len(open_) - known.n)
            if not open_:
                break
            _wait_for_the_line(drop, until)
            _ask_all(drop, open_)
    drop.all_known = time.perf_counter()


def _first_state(claim: Answer | None) -> str:
    if claim is None:
        return "unanswered"
    body = json.loads(claim.body)
    return (
        "sold_out" if body.get("code") == "sold_out" and claim.status == 410 else body.get("state", "refused")
    )


def _wait_for_the_line(drop: Drop, until: float) -> None:
    while time.perf_counter() < until:
        serving = json.loads(_one(drop, f"/coupons/{drop.coupon_id}/serving").body)
        if serving["state"] == "sold_out" or serving["serving"] >= serving["last"]:
            return
        time.sleep(ROWS_EVERY_S)


def _ask_all(drop: Drop, indices: list[int]) -> None:
    requests = [drop.crowd.get(f"/coupons/{drop.coupon_id}/ticket", index) for index in indices]
    for index, answer in zip(indices, send_all(drop.address, requests), strict=True):
        if answer is not None and answer.status == 200:
            drop.states[index] = json.loads(answer.body)["state"]


def _one(drop: Drop, path: str) -> Answer:
    (answer,) = send_all(drop.address, [drop.crowd.get(path, 0)], within_s=FIRST_ANSWER_WITHIN_S)
    if answer is None:
        raise click.ClickException(f"no server answers at {drop.address[0]}:{drop.address[1]}")
    return answer


@contextmanager
def _watched_rows(drop: Drop) -> Iterator[None]:
    """Note when each ticket number became a committed row, every ROWS_EVERY_S."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    done = threading.Event()

    def watch() -> None:
        highest = select(func.max(CouponIssue.ticket_number)).where(CouponIssue.coupon_id == drop.coupon_id)
        with app.app_context(), db.engine.connect() as connection:
            last_look = False
            while not last_look:
                last_look = done.wait(ROWS_EVERY_S)
                drop.rows.append((time.perf_counter(), connection.scalar(highest) or 0))
                connection.rollback()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _exact(drop: Drop) -> Outcome:
    """Compare with SQL: the quota was issued, exactly to the lowest tickets, and everybody knows their result."""
    with db.engine.connect() as connection:
        holders = set(
            connection.scalars(select(CouponIssue.user_id).where(CouponIssue.coupon_id == drop.coupon_id))
        )
    numbers = drop.numbers
    lowest = set(sorted(numbers, key=numbers.__getitem__)[: drop.expected])
    told = {user for user, state in zip(drop.crowd.user_ids, drop.states, strict=True) if state == "issued"}
    unknown = sum(state not in FINAL for state in drop.states)
    checks = {
        f"issued {len(holders)} of {drop.expected}": len(holders) == drop.expected,
        "to the lowest tickets": holders == lowest,
        f"{len(told)} people were told so": told == holders,
        f"{unknown} people without a result": unknown == 0,
    }
    return Outcome(
        all(checks.values()), [f"{'ok  ' if ok else 'FAIL'}  {text}" for text, ok in checks.items()]
    )


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    try:
        port = parts.port or 80
    except ValueError as error:
        raise click.ClickException(f"{url} has no port that could be") from error
    if parts.scheme != "http" or not parts.hostname:
        raise click.ClickException("the address must be http://host:port of the server itself")
    return parts.hostname, port


def _check_sizes(users: int, quota: int | None, seconds: float | None) -> None:
    if not 1 <= users <= MOST_USERS or (quota or 0) < 0 or (seconds is not None and not 0 <= seconds <= 3600):
        raise click.ClickException("users from 1 to 1,000,000, a quota from 0, at most 3,600 seconds")
