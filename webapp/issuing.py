"""The verbs: claim, standing, serving, admit, publish, reconcile. They know the line and SQL, and no HTTP.

The order of the two stores is the same everywhere: SQL commits first, Redis is told after. A crash between the two
leaves Redis behind, never ahead, and the next run finds the rows and tells it again.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import redis
from flask import Flask, current_app
from sqlalchemy import Connection, Select, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from webapp import line as lines
from webapp.codes import new_codes
from webapp.extensions import FAILED_JOB_TTL_S, JOB_TIMEOUT_S, bell_queue, db, line_redis
from webapp.line import Answer, Gate, Head, Line, Policy, Settled, Waiting, raw
from webapp.malformed import count_aside, going_on, is_malformed
from webapp.models import (
    CLOSED,
    DRAFT,
    LIVE,
    PAUSED,
    Coupon,
    CouponIssue,
    LineEvent,
    Revocation,
    User,
    utcnow,
)
from webapp.receipts import Refusal
from webapp.swallowed import swallow

log = logging.getLogger(__name__)
Found = TypeVar("Found", lines.Claimed, lines.Standing)

ADMISSION_JOB = "jobs.admission.admit"
BATCH = 2000
"""Tickets a transaction: as many as one call of Redis takes from Lua. Smaller ones: `make bench ARGS=admission`."""
GATHER_S = 0.04
"""Pause after a batch that was not full: tickets that come one by one share a transaction."""
ADMISSION_S = 5.0
"""How long one admission job may keep on; then it rings for the next."""
COLLISIONS = 5
"""How often one batch is tried when a constraint refuses it (a user deleted in that instant, a code drawn twice)."""
EPOCH_STEP = 1_000_000
"""After Redis lost data, new numbers start at the next multiple above all that SQL knows. Numbers that were given
but never reached SQL lie between the two, so their receipts cannot collide with a new ticket."""
GRACE_MS = 4000
"""How long admission waits in a new epoch for open pages to present their receipts, and twice as long while they keep
coming. Who comes later still gets the old number back, and goes first from then on."""
NEXT_RECEIPT_MS = 2500
"""How long after one receipt the next may come: with up to 2,000 people waiting a page asks at least every 2.4 s."""
READ = 5000
"""Rows that are read at a time where there may be any number of them."""
SEEDERS, MOST_SEEDINGS = 4, 100
"""Gates that a process makes at a time, and how many more may wait for that."""
REVOKED = "revoked: "
"""What the reason of a rejection begins with, when the coupon was issued and taken back."""
TOLD_AGAIN = timedelta(minutes=10)

_seeders = ThreadPoolExecutor(SEEDERS, thread_name_prefix="seeder")
_seedings: dict[tuple[Flask, int], Future[None]] = {}
_starting = threading.Lock()


class Refused(Exception):
    """No ticket, and why: `code` is one of not_open, closed, sold_out, no_ticket, not_found, busy.

    A claim that came too late brings the `refusal`, to be signed.
    """

    def __init__(self, code: str, *, retry_ms: int | None = None, refusal: Refusal | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_ms = retry_ms
        self.refusal = refusal


@dataclass(frozen=True)
class Ticket:
    """Where a user stands: state is none, waiting, issued, sold_out, rejected or lost.

    `ahead` are the people before them in the line; `missed_by` is their place in standby, 1 for whoever is next.
    """

    state: str
    epoch: int
    number: int | None = None
    ahead: int | None = None
    code: str | None = None
    reason: str | None = None
    missed_by: int | None = None


@dataclass(frozen=True)
class Serving:
    """What everybody may know of a line: state is scheduled, open, paused, sold_out or closed; times in epoch ms."""

    state: str
    serving: int
    last: int
    issued: int
    quota: int | None
    epoch: int
    now_ms: int
    opens_at_ms: int
    closes_at_ms: int
    sold_out_at_ms: int | None
    waiting: int
    floor: int


@dataclass(frozen=True)
class Admitted:
    issued: int
    rejected: int
    batches: int


def claim(coupon_id: int, user_id: int) -> Ticket:
    """Give the user a ticket, in one round trip to Redis and none to SQL; a repeat returns the same ticket.

    Raises Refused(not_open, closed, sold_out, not_found, busy); redis.RedisError when Redis does not answer.
    """
    line = Line(line_redis(), coupon_id)
    claimed = _asked(coupon_id, user_id, lambda: line.claim(user_id))
    if claimed.ring:
        ring(coupon_id)
    if claimed.answer is Answer.NOT_OPEN:
        raise Refused("not_open", retry_ms=int(claimed.result) - claimed.now_ms)
    if claimed.answer in _REFUSALS:
        code = _REFUSALS[claimed.answer]
        raise Refused(code, refusal=_refusal(code, coupon_id, user_id, claimed))
    return _ticket(claimed)


def standing(coupon_id: int, user_id: int) -> Ticket:
    """Return where the user stands, from Redis alone. Raises Refused(not_found, busy), redis.RedisError."""
    line = Line(line_redis(), coupon_id)
    return _ticket(_asked(coupon_id, user_id, lambda: line.standing(user_id)))


def restore(coupon_id: int, user_id: int, *, number: int, epoch: int) -> Ticket:
    """Give a place back that Redis lost, for a receipt whose signature was checked; a repeat changes nothing.

    Whoever has a ticket or a result gets that instead. The state is lost when the number is not free any more. A
    receipt that is ahead of the counter tells that Redis lost data; a new epoch begins then, above it. Raises
    Refused(not_found, busy), redis.RedisError.
    """
    line = Line(line_redis(), coupon_id)
    found = _asked(
        coupon_id,
        user_id,
        lambda: line.restore(user_id, number=number, epoch=epoch, next_ms=NEXT_RECEIPT_MS),
    )
    if found.answer is Answer.NO_TICKET:
        _record_lost(coupon_id, user_id, number, epoch)
        return Ticket("lost", found.epoch)
    return _ticket(found)


def _asked(coupon_id: int, user_id: int, ask: Callable[[], Found]) -> Found:
    """Ask the line; where it has no gate, or none to be trusted, have one made and ask once more.

    What cannot be read is set aside first.
    """
    try:
        found = ask()
    except (ValueError, TypeError, redis.ResponseError) as error:
        if not is_malformed(error):
            raise
        set_aside(coupon_id)  # it may find nothing, where another process was the first to
        found = ask()
    if not found.readable:
        _set_user_aside(coupon_id, user_id, found)
        found = ask()
    if found.answer is Answer.NO_GATE:
        have_seeded(coupon_id)
        found = ask()
        if found.answer is Answer.NO_GATE:
            raise Refused("busy")
    return found


def set_aside(coupon_id: int) -> int:
    """Set aside what in a line's keys is none of our writing, and return how many things that was.

    A gate that cannot be read is one of them: it is missing then. Raises redis.RedisError.
    """
    found = Line(line_redis(), coupon_id).set_aside()
    count_aside("key of a line", found, coupon_id=coupon_id)
    return found


def _set_user_aside(coupon_id: int, user_id: int, found: lines.Claimed | lines.Standing) -> None:
    """Set aside one user's place or result that cannot be read; what SQL knows takes the place of a result."""
    line = Line(line_redis(), coupon_id)
    if found.answer is not Answer.DECIDED:
        _set_members_aside(line, coupon_id, [str(user_id)])
        return
    with db.engine.connect() as connection:
        known = _known_results(connection, coupon_id, user_id)
    line.set_result_aside(user_id, known.get(str(user_id), ""))
    count_aside("result", coupon_id=coupon_id)


def _set_members_aside(line: Line, coupon_id: int, members: list[str]) -> None:
    if members:
        line.set_members_aside(members)
        count_aside("member of a line", len(members), coupon_id=coupon_id)


def _record_lost(coupon_id: int, user_id: int, number: int, epoch: int) -> None:
    """Write down, once, that a place could not be given back, for the operator who will be asked about it."""
    lost = {
        "coupon_id": coupon_id,
        "user_id": user_id,
        "ticket_number": number,
        "epoch": epoch,
        "kind": "lost",
        "reason": "the number was not free any more",
    }
    same = [getattr(LineEvent, name) == value for name, value in lost.items()]
    try:
        with db.engine.begin() as connection:
            if connection.scalar(select(LineEvent.id).where(*same).limit(1)) is None:
                connection.execute(insert(LineEvent).values(**lost, at=utcnow()))
    except SQLAlchemyError as error:
        swallow("lost place not recorded", error, "its owner is told, and asks again", coupon_id=coupon_id)


def serving(coupon_id: int) -> Serving:
    """Return the public numbers of the line, from Redis alone. Raises Refused(not_found, busy), redis.RedisError."""
    line = Line(line_redis(), coupon_id)
    gate = line.gate()
    if gate is None:
        have_seeded(coupon_id)
        gate = line.gate()
    if gate is None:
        raise Refused("busy")
    policy = gate.policy
    return Serving(
        state=_state(gate),
        serving=gate.serving,
        last=gate.last,
        issued=policy.issued,
        quota=policy.quota,
        epoch=gate.epoch,
        now_ms=gate.now_ms,
        opens_at_ms=policy.opens_at_ms,
        closes_at_ms=policy.closes_at_ms,
        sold_out_at_ms=gate.sold_out_at_ms,
        waiting=gate.waiting,
        floor=gate.floor,
    )


def arrival(coupon_id: int, number: int) -> int | None:
    """Return when a number was given, in epoch ms, a tenth of a second exact; None when that is not known any more.

    Raises redis.RedisError.
    """
    return Line(line_redis(), coupon_id).arrival(number)


def ring(coupon_id: int) -> None:
    """Enqueue one admission job with a fresh id.

    An error is swallowed and counted: the ticket is already in line, and the sweeper rings within seconds.
    """
    try:
        with going_on(bell_queue()):
            _enqueue(coupon_id)
            return
        _enqueue(coupon_id)
    except redis.RedisError as error:
        swallow("bell not enqueued", error, "the sweeper rings within seconds", coupon_id=coupon_id)


def _enqueue(coupon_id: int) -> None:
    bell_queue().enqueue(
        ADMISSION_JOB,
        coupon_id,
        job_timeout=JOB_TIMEOUT_S,
        result_ttl=0,
        failure_ttl=FAILED_JOB_TTL_S,
        description="admit the line of one coupon",
    )


def ring_if_waiting(coupon_id: int) -> bool:
    """Ring when somebody waits and nobody has rung; return whether this call did."""
    rings = Line(line_redis(), coupon_id).ring()
    if rings:
        ring(coupon_id)
    return rings


def admit(coupon_id: int) -> Admitted:
    """Decide the waiting tickets in order, batch by batch, until the line is empty or ADMISSION_S has passed.

    Safe to run any number of times, in any number of workers: the coupon's row is the lock, and the head of the line
    is read under it. Raises SQLAlchemyError or redis.RedisError; what was committed by then stays, and nothing else.
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


def publish(coupon_id: int) -> None:
    """Tell Redis what SQL says of the coupon's policy: call it after the commit of every change.

    Raises redis.RedisError; the change stands then, and the sweeper publishes it within seconds.
    """
    with db.engine.connect() as connection:
        coupon = connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one()
    publish_row(coupon)


def publish_row(coupon: Any) -> bool:
    """Write a row of `coupons` to its gate, seed a missing gate, and return whether this call rang for the admission.

    Safe at any moment: an older row cannot overwrite a newer one. Raises Refused(not_found) when the row is gone,
    SQLAlchemyError, redis.RedisError.
    """
    if coupon.status == DRAFT:
        return False
    set_aside(coupon.id)
    if not Line(line_redis(), coupon.id).write_gate(policy_of(coupon)):
        seed(coupon.id)
    return coupon.status != PAUSED and ring_if_waiting(coupon.id)


def settle_issue(coupon: Any, issue: Any) -> None:
    """Settle one committed issue, under the lock: a ticket whose row goes away would else be issued once more.

    A repeat changes nothing. Raises redis.RedisError.
    """
    settled = Settled(str(issue.user_id), issue.ticket_number, _issued(issue.ticket_number, issue.code))
    # The gate is left to who publishes: this revision is not committed yet.
    policy = replace(policy_of(coupon), revision=coupon.revision - 1)
    Line(line_redis(), coupon.id).settle(policy, [settled])


def tell_revoked(revocation: Any) -> None:
    """Tell Redis of a row of `revocations`: who held the coupon is told that it was taken back, and why.

    A repeat changes nothing. Raises redis.RedisError.
    """
    number = revocation.ticket_number
    Line(line_redis(), revocation.coupon_id).take_back(
        revocation.user_id,
        _issued(number, revocation.code),
        _rejected(number, revoked_reason(revocation.reason)),
    )


def tell_lately_revoked() -> None:
    """Tell Redis once more of what was revoked lately: it may have been away, or a worker late with its batch."""
    with db.engine.connect() as connection:
        lately = select(Revocation).where(Revocation.revoked_at > utcnow() - TOLD_AGAIN)
        for revocation in connection.execute(lately).all():
            try:
                tell_revoked(revocation)
            except redis.ResponseError as error:
                if not is_malformed(error):
                    raise
                swallow(
                    "revocation not told", error, "the sweep sets aside what is malformed, the next one tells"
                )


def revoked_reason(reason: str) -> str:
    return f"{REVOKED}{reason}"


def is_revoked(ticket: Ticket | None) -> bool:
    """Whether the ticket had won a coupon that was taken back."""
    return ticket is not None and (ticket.reason or "").startswith(REVOKED)


def reconcile(coupon_id: int) -> None:
    """Rebuild in Redis what SQL knows, the gate and the results, and take away what SQL contradicts.

    Safe at any moment, also during a sale; a repeat changes nothing. A gate that is ahead of SQL (SQL came back with
    older data), or whose counter is behind it, ends with its epoch. A place in line that Redis lost is no fact of SQL:
    its owner's receipt brings it back. Raises Refused(not_found), SQLAlchemyError, redis.RedisError.
    """
    line = Line(line_redis(), coupon_id)
    set_aside(coupon_id)
    with locked_coupon(coupon_id) as (connection, coupon):
        if coupon is None or coupon.status == DRAFT:
            raise Refused("not_found")
        line.rebuild_results(_known_results(connection, coupon_id))
        gate = line.gate()
        if gate is not None and not _fits(gate, coupon, _highest_number(connection, coupon_id)):
            line.distrust()
        connection.commit()
    publish(coupon_id)
    line.to_standby()


def _fits(gate: Gate, coupon: Any, decided: int) -> bool:
    """Whether the gate can be a copy of the row, and its counter gave every number that SQL decided."""
    return gate.epoch == coupon.epoch and gate.policy.revision <= coupon.revision and gate.last >= decided


def have_seeded(coupon_id: int) -> None:
    """Have the missing gate made beside this request, which waits for it up to SEEDING_WAIT_S, however slow SQL is.

    All who ask a process for the same gate wait for one making of it. Raises Refused(busy) when the wait was in vain,
    and the gate is made all the same; and what `seed` raises.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    with _starting:
        seeding = _seedings.get((app, coupon_id))
        if seeding is None:
            if len(_seedings) >= MOST_SEEDINGS:
                raise Refused("busy", retry_ms=1000)
            seeding = _seedings[app, coupon_id] = _seeders.submit(_seed_beside, app, coupon_id)
    try:
        seeding.result(timeout=app.config["SEEDING_WAIT_S"])
    except TimeoutError:
        raise Refused("busy", retry_ms=1000) from None


def _seed_beside(app: Flask, coupon_id: int) -> None:
    try:
        with app.app_context():
            seed(coupon_id)
    except (redis.RedisError, SQLAlchemyError) as error:
        # Whoever asked may have stopped waiting.
        swallow("gate not made", error, "whoever asks next has it made", coupon_id=coupon_id)
        raise
    finally:
        with _starting:
            del _seedings[app, coupon_id]


def seed(coupon_id: int) -> None:
    """Make the missing gate from SQL, in a new epoch; nothing happens when it exists by then.

    The gate is written first and opened after the commit, so that no number is given in an epoch of which SQL does not
    know. Whoever dies in between leaves a gate that gives none, and the next caller opens it, or begins anew.

    Raises Refused(not_found) for an unknown coupon or a draft; SQLAlchemyError, redis.RedisError.
    """
    line = Line(line_redis(), coupon_id)
    set_aside(coupon_id)
    if line.stands():
        return
    with locked_coupon(coupon_id) as (connection, coupon):
        if coupon is None or coupon.status == DRAFT:
            raise Refused("not_found")
        life, epoch = line.life(), coupon.epoch
        if life.opened:
            return
        if life.epoch != epoch:
            epoch = _begin_epoch(connection, line, coupon)
            connection.commit()
    line.open(epoch, grace_ms=GRACE_MS if epoch > 1 else 0)


@contextmanager
def locked_coupon(coupon_id: int) -> Iterator[tuple[Connection, Any]]:
    """Open a transaction that holds the coupon's row; roll it back unless the caller commits.

    Raising the revision is taking the lock: a row lock on MySQL, the write lock on SQLite. Everything that is read
    afterwards, in SQL or in Redis, is as the last holder left it. The row is None when there is no such coupon.
    """
    with db.engine.connect() as connection:
        connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(revision=Coupon.revision + 1))
        yield connection, connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one_or_none()


def policy_of(coupon: Any, *, issued: int | None = None) -> Policy:
    """Return what the gate copies from a row of `coupons`."""
    return Policy(
        revision=coupon.revision,
        status=coupon.status,
        quota=coupon.total_quantity,
        issued=coupon.issued_quantity if issued is None else issued,
        opens_at_ms=_ms(coupon.issue_start_at),
        closes_at_ms=_ms(coupon.issue_end_at),
    )


@dataclass
class _Batch:
    """What one transaction decides: rows to insert, and the tickets to settle once they are committed.

    An issue is (user id, ticket number, code).
    """

    issues: list[tuple[int, int, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    full: bool = False
    left_over: bool = False


def _admit_batch(coupon_id: int, line: Line) -> _Batch | None:
    """Decide one batch. The first try trusts that all at the head are users without the coupon; a constraint tells."""
    for tries in range(COLLISIONS):
        try:
            return _try_batch(coupon_id, line, trusting=tries == 0)
        except IntegrityError as error:
            swallow("batch refused", error, "it is decided again", coupon_id=coupon_id)
            refusal = error
    raise refusal


def _try_batch(coupon_id: int, line: Line, *, trusting: bool) -> _Batch | None:
    with locked_coupon(coupon_id) as (connection, coupon):
        if coupon is None or coupon.status in (DRAFT, PAUSED):
            return None
        head = line.head(BATCH)
        if head is not None and (head.epoch, head.last) < (coupon.epoch, coupon.last_number):
            line.distrust()
            return None
        if head is None or not (head.tickets or head.malformed):
            return None
        batch = _decide(connection, coupon, head, trusting=trusting)
        issued = _write(connection, coupon, head, batch)
        connection.commit()
    line.settle(policy_of(coupon, issued=issued), batch.settled)
    _set_members_aside(line, coupon_id, batch.strangers)
    if batch.left_over:
        line.to_standby()
    return batch


def _decide(connection: Connection, coupon: Any, head: Head, *, trusting: bool) -> _Batch:
    """Go through the head in order: settle who has the coupon, reject who may not, issue up to the quota.

    `trusting` looks neither who has the coupon nor who was deleted, as long as all of the head are to be issued one:
    the constraints refuse it, and whoever is left over or blocked must be none of them.
    """
    users = [_user_id(ticket.member) for ticket in head.tickets]
    ids = [user_id for user_id in users if user_id is not None]
    remaining = BATCH if coupon.total_quantity is None else coupon.total_quantity - coupon.issued_quantity
    trusted = trusting and len(head.tickets) <= remaining
    barred = _barred(connection, ids, trusting=trusted)
    holders = {} if trusted and not barred else _holders(connection, coupon.id, ids)
    codes, now, batch = iter(new_codes(len(head.tickets))), utcnow(), _Batch(strangers=head.malformed)
    batch.full = len(head.tickets) + len(head.malformed) == BATCH
    for ticket, user_id in zip(head.tickets, users, strict=True):
        reason = None if user_id is None else barred.get(user_id)
        if user_id is not None and user_id in holders:
            held = holders[user_id]
            batch.settled.append(Settled(*ticket, _issued(*held)))
            if held[0] != ticket.number:
                batch.events.append(_event(coupon, head, ticket, "already", "has the coupon already", now))
        elif remaining <= 0:
            batch.left_over = True
            break
        elif user_id is None:
            batch.strangers.append(ticket.member)
            batch.settled.append(Settled(raw(ticket.member), ticket.number, ""))
            batch.events.append(_event(coupon, head, ticket, "rejected", "not a user", now))
        elif reason:
            batch.settled.append(Settled(*ticket, _rejected(ticket.number, reason)))
            batch.events.append(_event(coupon, head, ticket, "rejected", reason, now))
        else:
            code = next(codes)
            batch.settled.append(Settled(*ticket, _issued(ticket.number, code)))
            batch.issues.append((user_id, ticket.number, code))
            remaining -= 1
    return batch


def _holders(connection: Connection, coupon_id: int, ids: list[int]) -> dict[int, tuple[int, str]]:
    """Return number and code of those who have the coupon already, by user id."""
    rows = connection.execute(
        select(CouponIssue.user_id, CouponIssue.ticket_number, CouponIssue.code).where(
            CouponIssue.coupon_id == coupon_id, CouponIssue.user_id.in_(_IDS)
        ),
        {"ids": ids},
    )
    return {user_id: (number, code) for user_id, number, code in rows}


def _barred(connection: Connection, ids: list[int], *, trusting: bool) -> dict[int, str]:
    """Return who may not have the coupon and why, by user id.

    `trusting` does not look who was deleted: where everybody else is issued a coupon, the foreign key refuses them.
    The driver gets the first statement as it is: SQLAlchemy takes longer to write it than the database to answer.
    """
    among = ",".join(map(str, [0, *ids]))  # nobody is number 0, and the list is never empty
    held_back = f"SELECT id FROM users WHERE blocked_at IS NOT NULL AND id IN ({among})"
    blocked = connection.exec_driver_sql(held_back).scalars().all()
    known = select(User.id).where(User.id.in_(_IDS))
    gone = [] if trusting else set(ids) - set(connection.scalars(known, {"ids": ids}))
    return dict.fromkeys(blocked, "blocked") | dict.fromkeys(gone, "deleted")


def _write(connection: Connection, coupon: Any, head: Head, batch: _Batch) -> int:
    """Write the batch and return how many are issued now, all batches together."""
    issued = int(coupon.issued_quantity) + len(batch.issues)
    if batch.issues:
        connection.exec_driver_sql(_insert_issues(coupon.id, head.epoch, batch.issues))
    _write_events(connection, coupon.id, batch.events)
    connection.execute(
        update(Coupon)
        .where(Coupon.id == coupon.id)
        .values(
            issued_quantity=issued,
            last_number=max(coupon.last_number, head.last),
            epoch=max(coupon.epoch, head.epoch),
        )
    )
    return issued


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


def _insert_issues(coupon_id: int, epoch: int, issues: list[tuple[int, int, str]]) -> str:
    """Return one INSERT for all of them, with their values in it.

    They are integers and codes of our own alphabet, so there is nothing to escape; escaping them one by one takes the
    driver longer than the database needs to insert them.
    """
    now = f"{utcnow():%Y-%m-%d %H:%M:%S.%f}"
    rows = [
        f"({coupon_id:d},{user:d},{number:d},{epoch:d},'{code}','{now}')" for user, number, code in issues
    ]
    columns = "coupon_id, user_id, ticket_number, epoch, code, issued_at"
    return f"INSERT INTO coupon_issues ({columns}) VALUES {','.join(rows)}"


def _event(coupon: Any, head: Head, ticket: Waiting, kind: str, reason: str, now: Any) -> dict[str, Any]:
    return {
        "coupon_id": coupon.id,
        "epoch": head.epoch,
        "kind": kind,
        "user_id": _user_id(ticket.member),
        "ticket_number": ticket.number,
        "reason": reason,
        "at": now,
    }


def _begin_epoch(connection: Connection, line: Line, coupon: Any) -> int:
    """Seed the gate, write down that a life of the line begins, and return its number; the caller commits and opens."""
    survived, issued = line.gate(), _last_issued(connection, coupon.id)
    decided = _highest_number(connection, coupon.id)
    epoch: int = max(coupon.epoch, survived.epoch if survived and survived.opened else 0) + 1
    line.restore_results(_known_results(connection, coupon.id))
    floor = line.seed(
        policy_of(coupon),
        epoch=epoch,
        known=max(coupon.last_number, decided),
        serving=decided,
        last_issued=issued,
        step=EPOCH_STEP if epoch > 1 else 0,
    )
    connection.execute(update(Coupon).where(Coupon.id == coupon.id).values(epoch=epoch, last_number=floor))
    if epoch > 1:
        log.warning("coupon %s: epoch %s begins above number %s", coupon.id, epoch, floor)
        event = {"coupon_id": coupon.id, "epoch": epoch, "kind": "epoch", "ticket_number": floor}
        connection.execute(insert(LineEvent).values(**event, reason=_what_happened(survived), at=utcnow()))
    return epoch


def _what_happened(survived: Gate | None) -> str:
    if survived is None:
        return "Redis lost the line"
    if survived.doubted:
        return "the counter was behind SQL or a receipt"
    return "Redis started anew with older data"


def _highest_number(connection: Connection, coupon_id: int) -> int:
    """Return the highest ticket number that SQL has decided, 0 when there is none."""
    skipped = select(func.max(LineEvent.ticket_number)).where(
        LineEvent.coupon_id == coupon_id, LineEvent.kind.in_(("rejected", "already"))
    )
    return max(_last_issued(connection, coupon_id) or 0, connection.scalar(skipped) or 0)


def _last_issued(connection: Connection, coupon_id: int) -> int | None:
    return connection.scalar(
        select(func.max(CouponIssue.ticket_number)).where(CouponIssue.coupon_id == coupon_id)
    )


def _known_results(connection: Connection, coupon_id: int, user_id: int | None = None) -> dict[str, str]:
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
        results[str(holder)] = _rejected(number, reason)
    for holder, number, code in _in_steps(connection, issued, CouponIssue.user_id):
        results[str(holder)] = _issued(number, code)
    return results


def _in_steps(connection: Connection, query: Select[*tuple[Any, ...]], unique: Any) -> Iterator[Any]:
    """Yield the rows READ at a time, by their unique first column; in between a web process answers others."""
    last = 0
    while rows := connection.execute(query.where(unique > last).order_by(unique).limit(READ)).all():
        yield from rows
        last = rows[-1][0]
        time.sleep(0)


def _user_id(member: str) -> int | None:
    """Return the user id that a member of the line is, or None for anything that never was one."""
    return int(member) if _USER_ID.fullmatch(member) else None


def _ticket(found: lines.Claimed | lines.Standing) -> Ticket:
    if found.answer is Answer.WAITING:
        return Ticket("waiting", found.epoch, number=found.number, ahead=found.ahead)
    if found.answer is Answer.STANDBY:
        return Ticket("sold_out", found.epoch, number=found.number, missed_by=found.ahead + 1)
    if found.answer is Answer.NO_TICKET:
        return Ticket("none", found.epoch)
    outcome, number, detail = found.result.split(":", 2)
    if outcome == "issued":
        return Ticket("issued", found.epoch, number=int(number), code=detail)
    return Ticket("rejected", found.epoch, number=int(number), reason=detail)


def _state(gate: Gate) -> str:
    policy = gate.policy
    if policy.status == CLOSED or gate.now_ms >= policy.closes_at_ms:
        return "closed"
    if gate.now_ms < policy.opens_at_ms:
        return "scheduled"
    if gate.sold_out:
        return "sold_out"
    return "open" if policy.status == LIVE else "paused"


def _refusal(code: str, coupon_id: int, user_id: int, claimed: lines.Claimed) -> Refusal:
    known = (int(fact) if fact else None for fact in claimed.result.split(":"))
    return Refusal(code, coupon_id, user_id, claimed.now_ms, *known)


def _issued(number: int, code: str) -> str:
    return f"issued:{number}:{code}"


def _rejected(number: int | None, reason: str) -> str:
    return f"rejected:{number}:{reason}"


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


_IDS: Any = bindparam("ids", expanding=True, literal_execute=True)
"""User ids in an IN; they are integers, and written into the statement as they are."""
_USER_ID = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)
"""An id as we write it: 007 beside 7 would be one user twice."""
_REFUSALS = {Answer.CLOSED: "closed", Answer.SOLD_OUT: "sold_out"}
