"""The admission: decides the waiting tickets in order, one batch a transaction, under the coupon's lock."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from webapp.line.line import Line
from webapp.line.reading import raw
from webapp.line.results import issued_result, rejected_result
from webapp.line.types import Head, Settled, Waiting
from webapp.models import DRAFT, PAUSED, Coupon, CouponRow, LineEvent, most_of, utcnow
from webapp.sale.audience import outsiders_among
from webapp.sale.bells import ring_if_waiting
from webapp.sale.drawing import Drawn, draw
from webapp.sale.eligibility import barred_among, holders_among, holders_elsewhere, rejected_among
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.records import policy_of
from webapp.sale.setting_aside import set_aside, set_members_aside
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import lost_to_another
from webapp.stores.swallowed import swallow

BATCH = 2000
"""Tickets a transaction: as many as one call of Redis takes from Lua. Smaller ones: `make bench ARGS=admission`."""
GATHER_S = 0.04
"""Pause after a batch that was not full: tickets that come one by one share a transaction."""
ADMISSION_S = 5.0
"""How long one admission job may keep on; then it rings for the next."""
MOST_TRIES = 5
"""How often one batch is tried when a constraint refuses it (a user deleted in that instant, a code drawn twice), or
when two waves wait for each other's users and SQL gives one of them up."""


@dataclass(frozen=True)
class Admitted:
    issued: int
    rejected: int
    batches: int


def admit(coupon_id: int) -> Admitted:
    """Decide the waiting tickets in order, batch by batch, until the line is empty or ADMISSION_S has passed.

    Safe to run any number of times, in any number of workers: the coupon's row is the lock, and the head of the line
    is read under it. Raises SQLAlchemyError or redis.RedisError; the batches that were committed by then stay.
    """
    line = Line(line_redis(), coupon_id)
    set_aside(coupon_id)
    line.quiet_bell()
    until = time.monotonic() + ADMISSION_S
    issued = rejected = batches = 0
    while True:
        batch = _admit_batch(coupon_id, line)
        if batch is None:
            return Admitted(issued, rejected, batches)
        issued += len(batch.issues)
        rejected += len(batch.events)
        batches += 1
        if time.monotonic() > until:
            ring_if_waiting(coupon_id)
            return Admitted(issued, rejected, batches)
        if not batch.full:
            time.sleep(GATHER_S)


@dataclass
class _Batch:
    """The decisions of one transaction: rows to insert, and the tickets to settle once they are committed.

    An issue is (user id, ticket number, code).
    """

    drawn: Drawn
    issues: list[tuple[int, int, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    full: bool = False
    left_over: bool = False


def _admit_batch(coupon_id: int, line: Line) -> _Batch | None:
    """Decide one batch. The first try trusts that all at the head are users without the coupon.

    If not, a constraint refuses the batch, and it is decided again.
    """
    refusal: IntegrityError | OperationalError
    for tries in range(MOST_TRIES):
        try:
            return _try_batch(coupon_id, line, trusting=tries == 0)
        except (IntegrityError, OperationalError) as error:
            if isinstance(error, OperationalError) and not lost_to_another(error):
                raise
            swallow("batch refused", error, "it is decided again", coupon_id=coupon_id)
            refusal = error
    raise refusal


def _try_batch(coupon_id: int, line: Line, *, trusting: bool) -> _Batch | None:
    with locked_coupon(coupon_id) as lock:
        coupon = lock.coupon
        if coupon is None or coupon.status in (DRAFT, PAUSED):
            return None
        head = _head(lock, line)
        if head is not None and (head.epoch, head.last) < (coupon.epoch, coupon.last_number):
            # The counter is behind what SQL has decided: its numbers would be given twice.
            line.end_epoch()
            return None
        if head is None or not (head.tickets or head.malformed):
            return None
        batch = _decide(lock, head, trusting=trusting)
        changed = _write(lock, head, batch)
        lock.commit()
    line.settle(policy_of(coupon, changed), batch.settled)
    set_members_aside(line, coupon_id, batch.strangers)
    if batch.left_over and not batch.settled:
        # Whoever was settled may have moved down meanwhile: the next batch settles that place before the rest leaves.
        line.to_standby()
    return batch


def _head(lock: CouponLock, line: Line) -> Head | None:
    """Read the head of the line. If coupons came back and Redis has not heard of it, standby comes back first."""
    head, row = line.head(BATCH), policy_of(lock.coupon)
    if head is None or not head.sold_out or row.sold_out:
        return head
    # The row is as it was committed, but for the revision: taking the lock has raised it.
    line.publish(replace(row, revision=row.revision - 1))
    return line.head(BATCH)


def _decide(lock: CouponLock, head: Head, *, trusting: bool) -> _Batch:
    """Go through the head in order: settle those who were decided before, reject the barred, issue up to the quota.

    A batch that is trusted is decided without two questions to SQL: which users hold the coupon already, and whom a
    rule bars that a constraint stands behind (`eligibility.RULES`). It is trusted at the first try, and only when the
    quota is enough for all of it: then every such user gets a row, and the constraint refuses the whole batch.
    """
    connection, coupon = lock.connection, lock.coupon
    users = {ticket.member: _user_id(ticket.member) for ticket in head.tickets}
    ids = [user_id for user_id in users.values() if user_id is not None]
    drawn = draw(lock, len(head.tickets), trusting=trusting)
    most = most_of(coupon.total_quantity, coupon.issued_quantity, drawn.left)
    remaining = min(len(drawn.codes), BATCH if most is None else most - coupon.issued_quantity)
    trusted = trusting and len(head.tickets) <= remaining and not any(map(_is_given_up, users))
    barred = outsiders_among(connection, coupon, ids) | holders_elsewhere(connection, coupon, ids)
    barred |= barred_among(connection, ids, all_rules=not trusted)
    decided = _decided_among(lock, users, look_for_holders=bool(barred) or not trusted)
    codes, now, batch = iter(drawn.codes), utcnow(), _Batch(drawn, strangers=head.malformed)
    batch.full = len(head.tickets) + len(head.malformed) == BATCH
    for ticket in head.tickets:
        user_id = users[ticket.member]
        reason = barred.get(user_id, "") if user_id is not None else "not a user"
        if known := decided.get(ticket.member):
            batch.settled.append(Settled(*ticket, known.result))
            if known.number != ticket.number:
                batch.events.append(_event(coupon, head, ticket, "already", known.reason, now))
        elif remaining <= 0:
            batch.left_over = True  # and on to those behind who were decided before
        elif reason or user_id is None:
            batch.events.append(_event(coupon, head, ticket, "rejected", reason, now))
            _settle_rejected(batch, ticket, user_id, reason)
        else:
            code = next(codes)
            batch.settled.append(Settled(*ticket, issued_result(ticket.number, code)))
            batch.issues.append((user_id, ticket.number, code))
            remaining -= 1
    return batch


class _Decided(NamedTuple):
    """What the coupon has decided before: the number and its result, and the reason to skip any other number."""

    number: int | None
    result: str
    reason: str


def _decided_among(
    lock: CouponLock, users: Mapping[str, int | None], *, look_for_holders: bool
) -> dict[str, _Decided]:
    """Return what was decided before, by member: who holds the coupon, was rejected, or has given a number up."""
    ids = [user_id for user_id in users.values() if user_id is not None]
    rejected = rejected_among(lock.connection, lock.coupon.id, ids)
    holders = holders_among(lock.connection, lock.coupon.id, ids) if look_for_holders or rejected else {}
    decided: dict[str, _Decided] = {}
    for user_id, (number, reason) in rejected.items():
        decided[str(user_id)] = _Decided(number, rejected_result(number, reason), "was rejected already")
    for user_id, (number, code) in holders.items():
        decided[str(user_id)] = _Decided(number, issued_result(number, code), "has the coupon already")
    for member in filter(_is_given_up, users):
        owner = decided.get(str(users[member]))
        decided[member] = _Decided(owner and owner.number, "", "moved to a lower number")
    return decided


def _settle_rejected(batch: _Batch, ticket: Waiting, user_id: int | None, reason: str) -> None:
    if user_id is None:
        # Nobody asks for the result of a member that is no user.
        batch.strangers.append(ticket.member)
        batch.settled.append(Settled(raw(ticket.member), ticket.number, ""))
    else:
        batch.settled.append(Settled(*ticket, rejected_result(ticket.number, reason)))


def _write(lock: CouponLock, head: Head, batch: _Batch) -> dict[str, Any]:
    """Write the batch, and return the columns of the coupon that have changed."""
    connection, coupon = lock.connection, lock.coupon
    if batch.issues:
        _insert_issues(connection, coupon, head.epoch, batch.issues)
    _write_events(connection, coupon.id, batch.events)
    changed: dict[str, Any] = {
        "issued_quantity": coupon.issued_quantity + len(batch.issues),
        "last_number": max(coupon.last_number, head.last),
        "epoch": max(coupon.epoch, head.epoch),
    }
    changed |= batch.drawn.taken(connection, len(batch.issues))
    connection.execute(update(Coupon).where(Coupon.id == coupon.id).values(**changed))
    return changed


def _write_events(connection: Connection, coupon_id: int, events: list[dict[str, Any]]) -> None:
    """Insert the events, once each: a batch that was committed but not settled is decided again."""
    if not events:
        return
    numbers = [event["ticket_number"] for event in events]
    written = select(LineEvent.ticket_number, LineEvent.epoch).where(
        LineEvent.coupon_id == coupon_id, LineEvent.ticket_number.in_(numbers)
    )
    known = {(number, epoch) for number, epoch in connection.execute(written)}
    fresh = [event for event in events if (event["ticket_number"], event["epoch"]) not in known]
    if fresh:
        connection.execute(insert(LineEvent), fresh)


def _insert_issues(
    connection: Connection, coupon: CouponRow, epoch: int, issues: list[tuple[int, int, str]]
) -> None:
    """Insert all of them in one statement.

    The codes are bound. What else a row holds are integers and a time of our own, which stand in the statement: the
    driver takes longer to escape six values a row than the database takes to insert it (`make bench ARGS=admission`).
    """
    now, mark = f"{utcnow():%Y-%m-%d %H:%M:%S.%f}", "?" if connection.dialect.paramstyle == "qmark" else "%s"
    of = f"{coupon.id:d},{coupon.campaign_id:d}" if coupon.one_per_campaign else f"{coupon.id:d},NULL"
    rows = [f"({of},{user:d},{number:d},{epoch:d},{mark},'{now}')" for user, number, _ in issues]
    columns = "coupon_id, campaign_id, user_id, ticket_number, epoch, code, issued_at"
    codes = tuple(code for _, _, code in issues)
    connection.exec_driver_sql(f"INSERT INTO coupon_issues ({columns}) VALUES {','.join(rows)}", codes)


def _event(
    coupon: CouponRow, head: Head, ticket: Waiting, kind: str, reason: str, now: datetime
) -> dict[str, Any]:
    return {
        "coupon_id": coupon.id,
        "epoch": head.epoch,
        "kind": kind,
        "user_id": _user_id(ticket.member),
        "ticket_number": ticket.number,
        "reason": reason,
        "at": now,
    }


def _user_id(member: str) -> int | None:
    """Return the user id that a member of the line is, or whose number it was; None for anything that never was one."""
    found = _MEMBER.fullmatch(member)
    return int(found[1]) if found else None


def _is_given_up(member: str) -> bool:
    """Whether the member is a number that its user gave up for a lower one (see restore_ticket.lua)."""
    return ":" in member and _MEMBER.fullmatch(member) is not None


_MEMBER = re.compile(r"(0|[1-9]\d{0,17})(:\d{1,16})?", re.ASCII)
"""An id as we write it (007 beside 7 would be one user twice), or an id with a number."""
