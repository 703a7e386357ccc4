"""A million winners after the sale: their file for Excel, and the report."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from statistics import median

from sqlalchemy import text, update

from bench.stage import Stage
from jobs.rehearsal.crowd import signed_in
from webapp.models import OPERATOR, Coupon, User
from webapp.sale.report import keep
from webapp.stores.sql import db

ROWS, FEW = 1_000_000, 10_000
STEP = 10_000
PAGES = 40
SERIES = """WITH RECURSIVE d(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM d WHERE i < 99),
n(i) AS (SELECT :first + ones.i + 100 * hundreds.i FROM d ones, d hundreds)"""
"""The numbers of a step, without a table of numbers; no recursion is deeper than every database allows."""
PEOPLE = "INSERT INTO users (id, email, name, password_hash, role, session_epoch, rehearsal, created_at)"
PERSON = "'김하늘', '!', 'user', 0, 0, :now FROM n"
ISSUES = "INSERT INTO coupon_issues (coupon_id, user_id, ticket_number, epoch, code, issued_at, used_at)"


def run(stage: Stage, rows: int = ROWS, few: int = FEW) -> Iterator[str]:
    (operator,) = stage.users(1)
    with db.engine.begin() as connection:
        connection.execute(update(User).where(User.id == operator).values(role=OPERATOR))
    sold = {count: _sold(stage, count) for count in (few, rows)}
    with stage.server("wsgi:app", workers=1) as port:
        request = signed_in(stage.app, [operator], "127.0.0.1").get
        for count, coupon_id in sold.items():
            for what in ("winners", "redemptions"):
                path = f"/admin/coupons/{coupon_id}/export/{what}.csv"
                yield _told(what, count, stage.database, _download(port, request(path, 0)), _peak_mb(port))
        for count, coupon_id in sold.items():
            page = request(f"/admin/coupons/{coupon_id}/report", 0)
            yield _reported(coupon_id, count, stage.database, partial(_last_s, port, page))


def _told(what: str, count: int, database: str, seen: tuple[float, float, int, int], peak_mb: float) -> str:
    first_s, last_s, lines, size = seen
    return (
        f"{what:<12} of {count:>9,} issues on {database}: {lines:>9,} rows, {size / 1e6:6.1f} MB, "
        f"first byte {first_s * 1000:4.0f} ms, last {last_s:5.1f} s, peak of the server {peak_mb:.0f} MB"
    )


def _reported(coupon_id: int, count: int, database: str, ask: Callable[[], float]) -> str:
    """Have a sale counted, as the sweeper does, then ask for its page some times."""
    began = time.perf_counter()
    counted = keep(coupon_id)
    counted_s = time.perf_counter() - began
    assert counted.issued == count
    answers = sorted(ask() * 1000 for _ in range(PAGES))
    return (
        f"report of {count:>9,} issues on {database}: counted in {counted_s:5.1f} s; "
        f"its page: median {median(answers):.0f} ms, slowest of {PAGES} {answers[-1]:.0f} ms"
    )


def _sold(stage: Stage, count: int) -> int:
    """Make a coupon with so many winners (in STEPs), of whom each tenth has used it, and return its id."""
    coupon_id = stage.coupon()
    values = {"now": "2026-12-04 11:00:00", "coupon": coupon_id}
    address = _joined("'winner'", ":coupon", "'-'", "i", "'@example.com'")
    people = f"{PEOPLE} {SERIES} SELECT :before + i, {address}, {PERSON}"
    code = _joined("'C'", ":coupon", "'X'", "1000000000 + i")
    used = "CASE WHEN i % 10 = 0 THEN :now END"
    issues = f"{ISSUES} {SERIES} SELECT :coupon, :before + i, i, 1, {code}, :now, {used} FROM n"
    with db.engine.begin() as connection:
        before = connection.scalar(text("SELECT max(id) FROM users")) or 0
    for first in range(1, count + 1, STEP):
        here = values | {"first": first, "before": before}
        with db.engine.begin() as connection:
            connection.execute(text(people), here)
            connection.execute(text(issues), here)
    with db.engine.begin() as connection:
        counted = update(Coupon).where(Coupon.id == coupon_id)
        connection.execute(counted.values(issued_quantity=count, last_number=count))
    return coupon_id


def _joined(*parts: str) -> str:
    """Return the SQL of a text that is joined of parts."""
    return " || ".join(parts) if db.engine.dialect.name == "sqlite" else f"concat({', '.join(parts)})"


def _download(port: int, request: bytes) -> tuple[float, float, int, int]:
    """Return when the first and the last byte came, in seconds, the rows and the bytes. Raises for a part of a file."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection:
        began = time.perf_counter()
        connection.sendall(request)
        answer = HTTPResponse(connection)
        answer.begin()
        if answer.status != 200:
            raise RuntimeError(f"the server answered {answer.status}")
        piece = answer.read(1)
        first_s, lines, size = time.perf_counter() - began, -1, len(piece)
        while piece := answer.read(1 << 16):
            lines, size = lines + piece.count(b"\n"), size + len(piece)
        return first_s, time.perf_counter() - began, lines, size


def _last_s(port: int, request: bytes) -> float:
    return _download(port, request)[1]


def _peak_mb(port: int) -> float:
    """Return the most memory that a process of the server on this port has had."""
    wanted, peaks = f"PORT={port}".encode(), [0]
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it is another user's, or has ended
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
                peaks.append(int(status.get("VmHWM", "0 kB").split()[0]))
    return max(peaks) / 1024
