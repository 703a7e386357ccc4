"""The facts of a coupon in SQL, in the form that its line takes."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import InstrumentedAttribute

from webapp.line.results import issued_result, rejected_result
from webapp.line.types import Policy
from webapp.models import Coupon, CouponIssue, CouponRow, LineEvent, most_of
from webapp.sale.audience import audience_of
from webapp.sale.outcomes import state_of
from webapp.sale.pause_message import gate_text

COUNTED = ("issued_quantity", "pool_left")
"""The columns that an admission changes, and that decide whether it is sold out."""
T = TypeVar("T")
TRIES, PAUSE_S = 4, 0.5
READ = 5000
"""Rows that are read at a time where there may be any number of them."""


def policy_of(coupon: Coupon | CouponRow, changed: dict[str, Any] | None = None) -> Policy:
    """Return the policy that a row of `coupons` gives its gate, with these columns `changed` since it was read.

    Its quota is what can be issued in all: a pool with fewer codes is sold out when they are gone.
    """
    now = {name: getattr(coupon, name) for name in COUNTED} | (changed or {})
    return Policy(
        revision=coupon.revision,
        status=coupon.status,
        quota=most_of(coupon.total_quantity, now["issued_quantity"], now["pool_left"]),
        issued=now["issued_quantity"],
        opens_at_ms=_ms(coupon.issue_start_at),
        closes_at_ms=_ms(coupon.issue_end_at),
        standby_limit=coupon.standby_limit,
        audience=audience_of(coupon),
        pause=gate_text(coupon),
    )


def most_issued(coupon: Coupon | CouponRow) -> int | None:
    """Return how many can be issued in all, None for no end: its quota, or its codes where these are fewer."""
    return most_of(coupon.total_quantity, coupon.issued_quantity, coupon.pool_left)


def state_at(coupon: Coupon | CouponRow, now: datetime) -> str:
    """Return the state of a row of `coupons` at an instant of this server's clock, which is near enough for lists."""
    return state_of(policy_of(coupon), now_ms=_ms(now))


def highest_number(connection: Connection, coupon_id: int) -> int:
    """Return the highest ticket number that SQL has decided, 0 when there is none."""
    skipped = select(func.max(LineEvent.ticket_number)).where(
        LineEvent.coupon_id == coupon_id, LineEvent.kind.in_(("rejected", "already"))
    )
    return max(last_issued(connection, coupon_id) or 0, connection.scalar(skipped) or 0)


def last_issued(connection: Connection, coupon_id: int) -> int | None:
    return connection.scalar(
        select(func.max(CouponIssue.ticket_number)).where(CouponIssue.coupon_id == coupon_id)
    )


def known_results(connection: Connection, coupon_id: int, user_id: int | None = None) -> dict[str, str]:
    """Return every result that SQL knows, or those of one user, by member; an issue wins over a rejection."""
    results: dict[str, str] = {}
    rejected = select(LineEvent.user_id, LineEvent.ticket_number, LineEvent.reason).where(
        LineEvent.coupon_id == coupon_id, LineEvent.kind == "rejected", LineEvent.user_id.is_not(None)
    )
    issued = select(CouponIssue.user_id, CouponIssue.ticket_number, CouponIssue.code).where(
        CouponIssue.coupon_id == coupon_id
    )
    if user_id is not None:
        rejected = rejected.where(LineEvent.user_id == user_id)
        issued = issued.where(CouponIssue.user_id == user_id)
    for holder, number, reason in connection.execute(rejected):
        results[str(holder)] = rejected_result(number, reason)
    for holder, number, code in in_steps(connection, issued, CouponIssue.user_id):
        results[str(holder)] = issued_result(number, code)
    return results


def in_steps(
    connection: Connection, query: Select[*tuple[Any, ...]], unique: InstrumentedAttribute[int]
) -> Iterator[Row[*tuple[Any, ...]]]:
    """Yield the rows READ at a time, by their unique first column; in between a web process answers others."""
    last = 0
    while rows := connection.execute(query.where(unique > last).order_by(unique).limit(READ)).all():
        yield from rows
        last = rows[-1][0]
        time.sleep(0)


def pages_by_number(
    engine: Engine,
    coupon_id: int,
    query: Select[*tuple[Any, ...]],
    table: type[CouponIssue | LineEvent],
    most: int = READ,
) -> Iterator[Sequence[Row[Any]]]:
    """Yield a coupon's rows in the order of their numbers, those of `most` numbers at a time, a transaction each.

    Where the next ones begin is asked first, because numbers leap. With both ends known every database finds a page by
    the index; with one alone MariaDB may read the index from the coupon's first number on, for each page. In between a
    web process answers others.
    """
    of_coupon, number, last = table.coupon_id == coupon_id, table.ticket_number, -1
    ordered = query.where(of_coupon).order_by(number, table.id)
    while True:
        first, page = patiently(engine, partial(_following, ordered, of_coupon, number, last, most))
        if first is None:
            return
        last = first + most - 1
        yield page
        time.sleep(0)


def _following(
    rows: Select[*tuple[Any, ...]],
    of_coupon: ColumnElement[bool],
    number: ColumnElement[Any] | InstrumentedAttribute[Any],
    last: int,
    most: int,
    connection: Connection,
) -> tuple[int | None, Sequence[Row[Any]]]:
    """Return the first number after `last`, and the rows of `most` numbers from there on; None where there is none."""
    first = connection.scalar(select(func.min(number)).where(of_coupon, number > last))
    if first is None:
        return None, []
    return first, connection.execute(rows.where(number.between(first, first + most - 1))).all()


def patiently(engine: Engine, read: Callable[[Connection], T]) -> T:
    """Return what is read by a connection of its own, for long work that nobody waits for.

    A database that does not answer in time is asked again, TRIES times in all, so that one slow moment does not cost
    all that was read before. Raises SQLAlchemyError.
    """
    for left in reversed(range(TRIES)):
        try:
            with engine.connect() as connection:
                return read(connection)
        except (OperationalError, PoolTimeout):
            if not left:
                raise
            time.sleep(PAUSE_S)
    raise AssertionError("the last try returns or raises")


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
