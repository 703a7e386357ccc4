"""Epochs: where Redis has no gate of a line, or lost it, an epoch is begun from SQL and opened."""

import logging
import secrets
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import redis
from flask import Flask, current_app
from sqlalchemy import insert, update
from sqlalchemy.exc import SQLAlchemyError

from webapp.line.line import Line
from webapp.line.types import Gate
from webapp.models import DRAFT, Coupon, LineEvent, utcnow
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.pauses import grace_ms
from webapp.sale.records import highest_number, known_results, last_issued, policy_of
from webapp.sale.setting_aside import set_aside
from webapp.stores.script_redis import line_redis
from webapp.stores.swallowed import swallow

log = logging.getLogger(__name__)
EPOCH_STEP = 1_000_000
"""After Redis lost data, the counter starts at the next multiple above all that SQL and Redis know. Numbers
that were given but never reached SQL lie between the two, so their receipts cannot collide with a new ticket."""
GRACE_MS = 4000
"""How long admission waits in a new epoch for open pages to present their receipts; a receipt that proves a line whose
pages pause longer has it wait as long as those (`pauses.grace_ms`). Who comes later still gets the old number back, and
goes first from then on."""
MARKS = 10**15
"""How many marks there are for the beginnings of epochs."""
GATE_MAKERS, MOST_GATES_UNDER_WAY = 4, 100
"""Gates that a process makes at a time, and how many it may have under way, those that wait included."""

_gate_makers = ThreadPoolExecutor(GATE_MAKERS, thread_name_prefix="gate maker")
_under_way: dict[tuple[Flask, int], Future[None]] = {}
_starting = threading.Lock()


def proved_grace_ms(number: int, now_serving: int, *, sold_out: bool) -> int:
    """Return how long admission waits for receipts where one has proved that its number waited, or was in standby.

    Nobody leaves a line but in order, so whoever stood between the last decided number and this one waited too.
    """
    before_its_epoch = number // EPOCH_STEP * EPOCH_STEP if EPOCH_STEP else 0
    return grace_ms(max(0, number - max(now_serving, before_its_epoch)), sold_out=sold_out)


def longest_grace_ms(numbers: Iterable[int], gate: Gate) -> int:
    """Return how long admission may wait at most, from the opening of the epoch, where these numbers wait."""
    restored = (number for number in numbers if number <= gate.floor)
    proved = (proved_grace_ms(number, gate.now_serving, sold_out=True) for number in restored)
    return max(GRACE_MS, *proved, 0)


def wait_for_gate(coupon_id: int) -> None:
    """Have the missing gate made beside this request, which waits for it up to GATE_WAIT_S, however slow SQL is.

    All requests of a process for the same gate wait for one making of it. Raises Refused(busy) when the wait was too
    short, and the gate is made all the same. Raises the errors of `ensure_open` too.
    """
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    with _starting:
        making = _under_way.get((app, coupon_id))
        if making is None:
            if len(_under_way) >= MOST_GATES_UNDER_WAY:
                raise Refused("busy", retry_ms=1000)
            making = _under_way[app, coupon_id] = _gate_makers.submit(_make_gate_beside, app, coupon_id)
    try:
        making.result(timeout=app.config["GATE_WAIT_S"])
    except TimeoutError:
        raise Refused("busy", retry_ms=1000) from None


def _make_gate_beside(app: Flask, coupon_id: int) -> None:
    try:
        with app.app_context():
            ensure_open(coupon_id)
    except (redis.RedisError, SQLAlchemyError) as error:
        # The request may have stopped waiting.
        swallow("gate not made", error, "whoever asks next has it made", coupon_id=coupon_id)
        raise
    finally:
        with _starting:
            del _under_way[app, coupon_id]


def ensure_open(coupon_id: int) -> None:
    """Begin an epoch from SQL and open it, or open one that was begun; nothing happens when one is open by then.

    The gate is written first and opened after the commit, so that no number is given in an epoch of which SQL does not
    know. A process that dies in between leaves a gate that gives none. The next caller opens it if its mark is the one
    that SQL knows, and begins anew otherwise: whoever lost the lock meanwhile may have written it, for an epoch that
    another has opened since.

    Raises Refused(not_found) for an unknown coupon or a draft, Refused(busy) when Redis fails over meanwhile;
    SQLAlchemyError, redis.RedisError.
    """
    line = Line(line_redis(), coupon_id)
    set_aside(coupon_id)
    if line.is_open():
        return
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None or lock.coupon.status == DRAFT:
            raise Refused("not_found")
        life, epoch, mark = line.life(), lock.coupon.epoch, lock.coupon.epoch_mark
        if life.opened:
            return
        if mark is None or life.mark != mark:
            epoch, mark = _begin_epoch(lock, line)
            lock.commit()
    line.open_epoch(mark, grace_ms=GRACE_MS if epoch > 1 else 0)


def _begin_epoch(lock: CouponLock, line: Line) -> tuple[int, int]:
    """Write the gate of a new epoch and its event; return its number and mark, for the caller to commit and open."""
    connection, coupon = lock.connection, lock.coupon
    survived, issued = line.gate(), last_issued(connection, coupon.id)
    decided = highest_number(connection, coupon.id)
    epoch: int = max(coupon.epoch, survived.epoch if survived and survived.was_opened else 0) + 1
    mark = secrets.randbelow(MARKS)
    floor = line.begin_epoch(
        policy_of(coupon),
        epoch=epoch,
        mark=mark,
        # Where SQL went back as well, only a receipt tells of the epochs since: all of their numbers are known, too.
        known=max(coupon.last_number, decided, (epoch - 1) * EPOCH_STEP - 1),
        serving=decided,
        last_issued=issued,
        step=EPOCH_STEP if epoch > 1 else 0,
    )
    if floor is None:
        # Another server took over since the gate was looked at, and there an epoch is open.
        raise Refused("busy", retry_ms=1000)
    # After the gate, whose mark is the proof that it is still there and ours: whatever is lost meanwhile, it is too.
    line.replace_results(coupon.revision, known_results(connection, coupon.id), mark=mark)
    values = {"epoch": epoch, "epoch_mark": mark, "last_number": floor}
    connection.execute(update(Coupon).where(Coupon.id == coupon.id).values(values))
    if epoch > 1:
        log.warning("coupon %s: epoch %s begins above number %s", coupon.id, epoch, floor)
        event = {"coupon_id": coupon.id, "epoch": epoch, "kind": "epoch", "ticket_number": floor}
        connection.execute(insert(LineEvent).values(**event, reason=_what_happened(survived), at=utcnow()))
    return epoch, mark


def _what_happened(survived: Gate | None) -> str:
    if survived is None:
        return "Redis lost the line"
    if survived.doubted:
        return "the gate did not fit SQL or a receipt"
    return "Redis started again, or an epoch was begun and not opened"
