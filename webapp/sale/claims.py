"""The claim, the polls and receipts: Redis answers. SQL does where no epoch is open, or results have gone."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import redis
from flask import Flask, current_app
from redis.exceptions import OutOfMemoryError
from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError

from webapp.line.line import Line
from webapp.line.together import Together
from webapp.line.types import Claimed, Gate, Reply, Restored, Standing
from webapp.models import PAUSED, LineEvent, utcnow
from webapp.sale.bells import ring
from webapp.sale.epochs import proved_grace_ms, wait_for_gate
from webapp.sale.outcomes import LineStatus, Refused, Ticket, state_of, ticket_from
from webapp.sale.pause_message import read_gate_text
from webapp.sale.receipts import Refusal
from webapp.sale.records import known_results
from webapp.sale.setting_aside import set_aside, set_user_aside
from webapp.stores.malformed import is_malformed
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

Found = TypeVar("Found", Claimed, Standing, Restored)


def init_app(app: Flask) -> None:
    """Have the clicks of this process travel together, and the polls."""
    app.extensions["clicks"] = Together(lambda coupon_id, users: Line(line_redis(), coupon_id).claims(users))
    app.extensions["polls"] = Together(
        lambda coupon_id, users: Line(line_redis(), coupon_id).standings(users)
    )


def claim(coupon_id: int, user_id: int) -> Ticket:
    """Give the user a ticket, in one round trip to Redis and none to SQL; a repeat returns the same ticket.

    Raises Refused(not_open, closed, sold_out, not_eligible, other_wave, not_found, busy); redis.RedisError when Redis
    does not answer. A line whose list of members Redis has lost is busy until the sweeper has written it anew.
    """
    clicks: Together[Claimed] = current_app.extensions["clicks"]
    claimed = _asked(coupon_id, user_id, lambda: clicks.ask(coupon_id, user_id))
    if claimed.ring:
        ring(coupon_id)
    if claimed.reply is Reply.NOT_OPEN:
        raise Refused("not_open", retry_ms=int(claimed.result) - claimed.now_ms)
    if claimed.reply is Reply.FULL:
        raise OutOfMemoryError("only the reserve of memory is left")
    if claimed.reply in _WITHOUT_RECEIPT:
        raise Refused(_WITHOUT_RECEIPT[claimed.reply])
    if claimed.reply in _REFUSALS:
        code = _REFUSALS[claimed.reply]
        raise Refused(code, refusal=_refusal(code, coupon_id, user_id, claimed))
    return ticket_from(claimed)


def standing(coupon_id: int, user_id: int) -> Ticket:
    """Return where the user stands, by Redis. Raises Refused(not_found, busy), redis.RedisError."""
    polls: Together[Standing] = current_app.extensions["polls"]
    return ticket_from(_asked(coupon_id, user_id, lambda: polls.ask(coupon_id, user_id)))


def restore(coupon_id: int, user_id: int, *, number: int, epoch: int) -> Ticket:
    """Give a place back that Redis lost, for a receipt whose signature was checked; a repeat changes nothing.

    A user with a result gets that instead, and so does one with a ticket of a lower number. The state is lost when the
    number is not free any more. A receipt that is ahead of the counter proves that Redis lost data: a new epoch begins
    above it. Raises Refused(not_found, busy), redis.RedisError.
    """
    line = Line(line_redis(), coupon_id)
    found = _asked(coupon_id, user_id, lambda: line.restore(user_id, number=number, epoch=epoch))
    if found.grace_ms:
        _await_the_others(line, number, found)
    if found.reply is Reply.NO_TICKET:
        _record_lost(coupon_id, user_id, number, epoch)
        return Ticket("lost", found.epoch)
    return ticket_from(found)


def _await_the_others(line: Line, number: int, found: Restored) -> None:
    """Have admission wait as long as pages may pause in a line of the length that this receipt proves."""
    enough_ms = proved_grace_ms(number, found.now_serving, sold_out=found.reply is Reply.STANDBY)
    if enough_ms > found.grace_ms:
        line.await_receipts(enough_ms)


def _asked(coupon_id: int, user_id: int, ask: Callable[[], Found]) -> Found:
    """Ask the line; where it has no gate, or none to be trusted, have one made and ask once more.

    Malformed data are set aside first.
    """
    try:
        found = ask()
    except (ValueError, TypeError, redis.ResponseError) as error:
        if not is_malformed(error):
            raise
        set_aside(coupon_id)  # it may find nothing, where another process was the first to
        found = ask()
    if not found.readable:
        set_user_aside(coupon_id, user_id, found)
        found = ask()
    if found.reply is Reply.NO_GATE:
        wait_for_gate(coupon_id)
        found = ask()
        if found.reply is Reply.NO_GATE:
            raise Refused("busy")
    return _from_sql(coupon_id, user_id, found) if found.reply is Reply.PAST else found


def _from_sql(coupon_id: int, user_id: int, found: Found) -> Found:
    """Answer for a line that ended so long ago that its results have left Redis."""
    with db.engine.connect() as connection:
        result = known_results(connection, coupon_id, user_id).get(str(user_id))
    if result is not None:
        return replace(found, reply=Reply.DECIDED, result=result)
    return replace(found, reply=Reply.CLOSED if isinstance(found, Claimed) else Reply.NO_TICKET)


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


def line_status(coupon_id: int) -> LineStatus:
    """Return the public numbers of the line, from Redis. Raises Refused(not_found, busy), redis.RedisError."""
    gate = _open_gate(coupon_id)
    policy = gate.policy
    return LineStatus(
        state=state_of(policy, now_ms=gate.now_ms),
        now_serving=gate.now_serving,
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
        in_standby=gate.in_standby,
        standby_limit=policy.standby_limit,
        pause=read_gate_text(policy.pause) if policy.status == PAUSED else None,
    )


def _open_gate(coupon_id: int) -> Gate:
    """Return the gate, which is made where it is missing or of the past."""
    line = Line(line_redis(), coupon_id)
    gate = line.gate()
    if gate is None or not gate.opened:
        wait_for_gate(coupon_id)
        gate = line.gate()
    if gate is None or not gate.opened:
        raise Refused("busy")
    return gate


def arrival(coupon_id: int, number: int) -> int | None:
    """Return when a number was given, in ms since 1970, a tenth of a second exact; None when that is not known.

    Raises redis.RedisError.
    """
    return Line(line_redis(), coupon_id).arrival(number)


def _refusal(code: str, coupon_id: int, user_id: int, claimed: Claimed) -> Refusal:
    known = (int(fact) if fact else None for fact in claimed.result.split(":"))
    return Refusal(code, coupon_id, user_id, claimed.now_ms, *known)


_WITHOUT_RECEIPT = {
    Reply.NOT_ELIGIBLE: "not_eligible",
    Reply.NO_LIST: "busy",
    Reply.OTHER_WAVE: "other_wave",
}
_REFUSALS = {Reply.CLOSED: "closed", Reply.SOLD_OUT: "sold_out"}
