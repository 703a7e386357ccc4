"""Admission: tickets a second through `admission.admit`, beside the same rows through the bare driver."""

import time
from collections.abc import Callable
from functools import partial

import pymysql
from sqlalchemy import delete, make_url, select, update

from bench.measure import Table, interleaved
from bench.stage import Stage
from jobs.worker import keep_for_good
from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue, utcnow
from webapp.sale import admission
from webapp.sale.admission import BATCH
from webapp.sale.codes import new_codes
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

TICKETS = 20_000
ROUNDS = 9
BATCHES = (admission.BATCH, 100, 500, 1000)
COLUMNS = ("coupon_id", "user_id", "ticket_number", "epoch", "code", "issued_at")


def run(stage: Stage) -> list[Table]:
    users = stage.users(TICKETS)
    keep_for_good()
    subjects: dict[str, Callable[[], float]] = {"admission.admit": lambda: admit(stage, users)}
    if stage.mariadb:
        subjects = {"executemany of PyMySQL": lambda: executemany(stage, users)} | subjects
    rows = interleaved(subjects, rounds=ROUNDS)
    by_batch: dict[str, Callable[[], float]] = {
        f"{size:,} a transaction": partial(admit_in_batches, stage, users, size) for size in BATCHES
    }
    title = f"Admission on {stage.database}, {TICKETS:,} tickets"
    return [
        Table(title, "tickets/s", rows),
        Table(f"{title}, by the size of a batch", "tickets/s", interleaved(by_batch, rounds=ROUNDS)),
    ]


def admit_in_batches(stage: Stage, users: list[int], size: int) -> float:
    admission.BATCH = size
    try:
        return admit(stage, users)
    finally:
        admission.BATCH = BATCHES[0]


def admit(
    stage: Stage, users: list[int], *, prepare: Callable[[int], None] = lambda _coupon_id: None
) -> float:
    """Fill the line of a coupon that was prepared, admit it all, and return the tickets a second."""
    coupon_id = stage.coupon()
    prepare(coupon_id)
    wait_in_line(coupon_id, users)
    start = time.perf_counter()
    while Line(line_redis(), coupon_id).set_bell():
        admission.admit(coupon_id)
    rate = len(users) / (time.perf_counter() - start)
    with db.engine.begin() as connection:
        issued = connection.scalar(select(Coupon.issued_quantity).where(Coupon.id == coupon_id))
    assert issued == len(users), f"{issued} of {len(users)} were issued"
    forget(coupon_id)
    return rate


def executemany(stage: Stage, users: list[int]) -> float:
    """Insert the same rows with the driver alone, a transaction for each BATCH."""
    coupon_id, now = stage.coupon(), utcnow().replace(tzinfo=None)
    rows = [
        (coupon_id, user_id, number, 1, code, now)
        for number, (user_id, code) in enumerate(zip(users, new_codes(len(users)), strict=True), 1)
    ]
    statement = (
        f"INSERT INTO coupon_issues ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
    )
    url = make_url(stage.database_url)
    account = {"user": url.username, "password": url.password, "database": url.database}
    with pymysql.connect(host=url.host, port=url.port or 3306, **account) as connection:
        cursor = connection.cursor()
        start = time.perf_counter()
        for first in range(0, len(rows), BATCH):
            cursor.executemany(statement, rows[first : first + BATCH])
            connection.commit()
        rate = len(rows) / (time.perf_counter() - start)
    forget(coupon_id)
    return rate


def wait_in_line(coupon_id: int, users: list[int]) -> None:
    """Put the users in line in this order, many to a round trip."""
    line = Line(line_redis(), coupon_id)
    line.claim(users[0])
    for first in range(1, len(users), BATCH):
        chunk = users[first : first + BATCH]
        numbers = {str(user): first + place + 1 for place, user in enumerate(chunk)}
        line.redis.zadd(line.line_key, numbers)
    line.redis.hset(line.gate_key, "last", len(users))
    line.quiet_bell()


def forget(coupon_id: int) -> None:
    with db.engine.begin() as connection:
        connection.execute(delete(CouponIssue).where(CouponIssue.coupon_id == coupon_id))
        connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(status="closed"))
    Line(line_redis(), coupon_id).forget()
