"""Rehearsals: an operator asks for one of a campaign's own settings; the sweeper has it played beside the real thing.

The job invents a coupon with the same settings, and people; the campaign itself is only read. One is played at a time.
"""

import json
import secrets
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError

from webapp.log import record
from webapp.models import DRAFT, Coupon, CouponRow, utcnow
from webapp.models.rehearsals import ASKED, BROKEN, RUNNING, Rehearsal
from webapp.sale import benefit
from webapp.sale.coupons import InvalidField, coupon_by_id, korean_time
from webapp.sale.records import most_issued
from webapp.sale.submissions import Sent, raise_if_sent_before
from webapp.sale.submissions import record as record_sent
from webapp.stores.sql import db

SETTINGS = ("total_quantity", "benefit", *benefit.NOTHING, "min_available_amount", "standby_limit")
"""The settings of a campaign that its rehearsal has too; it opens at once, with a title of its own."""
PEOPLE, MOST_PEOPLE, MOST_SECONDS = 2000, 20_000, 60
STARTED_WITHIN = timedelta(seconds=60)
"""A rehearsal that nobody has started by then is not started any more: a real drop may have opened meanwhile."""
SILENT = timedelta(seconds=60)
"""So long after its last sign of life the process of a rehearsal counts as dead."""
NEAR = timedelta(minutes=10)
"""So long before and after the start of a real drop a rehearsal is asked about."""


class UnderWay(Exception):
    """A rehearsal of this installation is under way, and another has to wait."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__(rehearsal.id)
        self.rehearsal = rehearsal


def settings_of(coupon: Coupon | CouponRow) -> dict[str, Any]:
    """Return the settings that a rehearsal takes. A pool counts as the quota that it is, and its codes stay in it."""
    return {name: getattr(coupon, name) for name in SETTINGS} | {"total_quantity": most_issued(coupon)}


def digest_of(coupon: Coupon | CouponRow) -> str:
    """Return a digest of the settings; a rehearsal with another one was of other settings."""
    return sha256(json.dumps(settings_of(coupon)).encode()).hexdigest()


def usual_people(coupon: Coupon) -> int:
    """Return how many people are enough to see the coupons go, within what a rehearsal may have."""
    quota = most_issued(coupon)
    return PEOPLE if quota is None else max(1, min(2 * quota, MOST_PEOPLE))


def ask(
    coupon_id: int,
    *,
    by: int | None,
    people: int | None = None,
    seconds: int = 0,
    although_near: bool = False,
    sent: Sent | None = None,
    state: str = ASKED,
) -> int:
    """Ask for a rehearsal, and return its id; the sweeper starts it within seconds.

    `by` is the operator, None for a command. Raises LookupError for an unknown coupon; InvalidField for sizes that
    cannot be, and near the start of a real drop unless `although_near`; UnderWay; SentBefore for a form that was sent.
    """
    coupon = coupon_by_id(coupon_id)
    if coupon is None:
        raise LookupError(coupon_id)
    people = usual_people(coupon) if people is None else people
    _check_sizes(people, seconds)
    if not although_near:
        _raise_if_near()
    row = {"coupon_id": coupon_id, "people": people, "seconds": seconds, "terms": digest_of(coupon)}
    row |= {"mark": f"rehearsal-{secrets.token_hex(6)}", "asked_by": by, "state": state}
    _end_late_ones()
    try:
        with db.engine.begin() as connection:
            rehearsal_id = int(connection.execute(insert(Rehearsal).values(**row)).lastrowid)
            if sent:
                record_sent(connection, sent, rehearsal_id)
            after = {"people": people, "seconds": seconds}
            record(connection, "ask for rehearsal", by=by, coupon=coupon_id, after=after)
    except IntegrityError:
        if sent:
            raise_if_sent_before(sent)
        if running := under_way():
            raise UnderWay(running) from None
        raise
    return rehearsal_id


def stop(coupon_id: int, *, by: int | None) -> bool:
    """Have the rehearsal of a coupon stop, and return whether there was one under way; a repeat changes nothing.

    `by` is the operator, None for a command. One that was not started ends at once.
    """
    of_coupon = (Rehearsal.coupon_id == coupon_id, Rehearsal.slot.is_not(None))
    going_on = update(Rehearsal).where(*of_coupon, Rehearsal.stop_asked.is_(False))
    with db.engine.begin() as connection:
        if connection.execute(going_on.values(stop_asked=True)).rowcount:
            record(connection, "stop rehearsal", by=by, coupon=coupon_id)
        return connection.scalar(select(Rehearsal.id).where(*of_coupon)) is not None


def latest(coupon_id: int, *, ended: bool = False) -> Rehearsal | None:
    """Return the rehearsal of the coupon that was asked for last, as it is now, or the last one that has `ended`."""
    of_coupon = select(Rehearsal).where(Rehearsal.coupon_id == coupon_id).order_by(Rehearsal.id.desc())
    return _detached((of_coupon.where(Rehearsal.ended_at.is_not(None)) if ended else of_coupon).limit(1))


def under_way() -> Rehearsal | None:
    return _detached(select(Rehearsal).where(Rehearsal.slot.is_not(None)))


def rehearsal_by_id(rehearsal_id: int) -> Rehearsal | None:
    return _detached(select(Rehearsal).where(Rehearsal.id == rehearsal_id))


def report_of(rehearsal: Rehearsal) -> dict[str, Any]:
    """Return what a rehearsal has found: `summary`, figures by name, and `lines`; empty without a report."""
    found: dict[str, Any] = json.loads(rehearsal.report or "{}")
    return found


# What the process of a rehearsal says


def take(rehearsal_id: int) -> bool:
    """Take a rehearsal that was asked for, and return whether it is ours: of any number of sweepers one gets it."""
    asked = (Rehearsal.id == rehearsal_id, Rehearsal.state == ASKED, Rehearsal.stop_asked.is_(False))
    return _write(asked, {"state": RUNNING, "heard_at": utcnow()})


def tell(rehearsal_id: int, phase: str, done: int, total: int) -> None:
    """Write down how far it is."""
    running = (Rehearsal.id == rehearsal_id, Rehearsal.state == RUNNING)
    _write(running, {"phase": phase, "done": done, "total": total, "heard_at": utcnow()})


def end(rehearsal_id: int, state: str, report: Mapping[str, Any] | None = None) -> bool:
    """End a rehearsal, with its report, and return whether it was under way; the first end stands."""
    running = (Rehearsal.id == rehearsal_id, Rehearsal.slot.is_not(None))
    text = None if report is None else json.dumps(report)
    return _write(running, {"state": state, "slot": None, "ended_at": utcnow(), "report": text})


def is_silent(rehearsal: Rehearsal) -> bool:
    """Whether the process of a running rehearsal has died, by its last sign of life."""
    return rehearsal.state == RUNNING and rehearsal.heard_at < utcnow() - SILENT


def is_late(rehearsal: Rehearsal) -> bool:
    return rehearsal.state == ASKED and rehearsal.asked_at < utcnow() - STARTED_WITHIN


def _end_late_ones() -> None:
    found = under_way()
    if found is not None and is_late(found):
        end(found.id, BROKEN, {"why": "not started"})


def _check_sizes(people: int, seconds: int) -> None:
    if not 1 <= people <= MOST_PEOPLE:
        raise InvalidField("people", _("Give a number from 1 to %(most)s.", most=f"{MOST_PEOPLE:,}"))
    if not 0 <= seconds <= MOST_SECONDS:
        raise InvalidField("seconds", _("Give a number from 0 to %(most)s.", most=MOST_SECONDS))


def _raise_if_near() -> None:
    now = utcnow()
    near = Coupon.issue_start_at.between(now - NEAR, now + NEAR)
    drops = select(Coupon.title, Coupon.issue_start_at).where(
        near, Coupon.status != DRAFT, Coupon.rehearsal.is_(False), Coupon.issue_end_at > now
    )
    with db.engine.connect() as connection:
        drop = connection.execute(drops.order_by(Coupon.issue_start_at).limit(1)).one_or_none()
    if drop is not None:
        start = korean_time(drop.issue_start_at)
        told = _("“%(title)s” opens at %(start)s: a rehearsal now slows it.", title=drop.title, start=start)
        raise InvalidField("near", told)


def _write(which: tuple[Any, ...], values: Mapping[str, Any]) -> bool:
    with db.engine.begin() as connection:
        return connection.execute(update(Rehearsal).where(*which).values(**values)).rowcount == 1


def _detached(query: Any) -> Rehearsal | None:
    # Another process writes these rows: what this session has read before is old.
    found: Rehearsal | None = db.session.scalar(query.execution_options(populate_existing=True))
    db.session.close()
    return found
