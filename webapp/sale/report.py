"""The report of a sale: how many came and when, in which order, how long they waited, what was used and what it cost.

A small sale is counted while the page is asked for. One with more than AT_ONCE coupons and people turned away is
counted once after its end, and whenever somebody asks; what was counted is kept (`sale_reports`), so the page takes as
long for a million.
"""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, and_, case, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from werkzeug.utils import import_string

from webapp.log.reading import Filter, latest
from webapp.models import AMOUNT, DRAFT, Coupon, LineEvent, SaleReport, utcnow
from webapp.sale.benefit import most_worth
from webapp.sale.coupons import coupon_by_id
from webapp.sale.figures import Figures, count
from webapp.sale.records import state_at
from webapp.stores.sql import db

AT_ONCE = 1000
"""Coupons and people turned away that a page counts itself, in a tenth of a second."""
SETTLED = timedelta(minutes=1)
"""So long after the end the line has been served, and the report is made."""
LATELY = timedelta(days=30)
"""The line forgets arrivals so long after the end; older sales are counted when somebody asks."""
MOST_INCIDENTS = 100
INCIDENTS = frozenset({"pause", "resume", "close", "change quota"})
"""The verbs that a report tells."""
OF_THE_SALE = frozenset({"status", "total_quantity", "issue_end_at", "standby_limit"})
"""And the fields: a change of any is told, too."""


class Incident(NamedTuple):
    """Something that happened to the line, by the reason of its event, or that an operator did to it, by the verb.

    `entry` is the row of the log, None for what happened by itself.
    """

    at: datetime
    what: str
    entry: Row[Any] | None = None


class Report(NamedTuple):
    """What there is to tell of a sale. `figures` are None where nobody has counted a large one yet."""

    coupon: Coupon
    figures: Figures | None
    incidents: list[Incident]
    wanted: bool

    @property
    def came(self) -> int | None:
        """How many people got a number; None when somebody cannot be counted now."""
        if self.figures is None:
            return None
        of = self.figures
        parts = (of.issued, of.rejected, of.revoked, of.lost, of.waiting, of.in_standby)
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    @property
    def sold_out_after_s(self) -> float | None:
        if self.figures is None or self.figures.sold_out_at is None:
            return None
        return max(0.0, self.figures.sold_out_at - self.coupon.issue_start_at.timestamp())

    @property
    def expired(self) -> int | None:
        """How many coupons can be used no more; None as long as they can be used."""
        until = self.coupon.valid_until
        if self.figures is None or until is None or until > utcnow():
            return None
        return self.figures.issued - self.figures.used

    @property
    def cost(self) -> int | None:
        """What the used coupons have cost, in won, or with a percentage the most; None where nobody can say."""
        worth = most_worth(self.coupon)
        return None if self.figures is None or worth is None else worth * self.figures.used

    @property
    def cost_is_exact(self) -> bool:
        return bool(self.coupon.benefit == AMOUNT)


def report_of(coupon_id: int) -> Report:
    """Return the report as far as it is known now. Raises LookupError, SQLAlchemyError."""
    coupon = coupon_by_id(coupon_id)
    if coupon is None:
        raise LookupError(coupon_id)
    kept, wanted = _kept(coupon_id)
    if is_small(coupon):
        figures: Figures | None = count(coupon)
        if figures and kept:
            figures.remember(kept)
    else:
        figures = kept
    return Report(coupon, figures, _incidents(coupon), wanted)


def is_small(coupon: Coupon) -> bool:
    """Return whether a page may count the sale itself: few coupons, and few people whom it turned away."""
    left = AT_ONCE - coupon.issued_quantity
    if left < 0:
        return False
    events = select(LineEvent.id).where(LineEvent.coupon_id == coupon.id).limit(left + 1)
    with db.engine.connect() as connection:
        return int(connection.scalar(select(func.count()).select_from(events.subquery())) or 0) <= left


def want(coupon_id: int) -> None:
    """Have the sweeper count and audit a coupon, within seconds; a repeat while it does so changes nothing."""
    _write(coupon_id, wanted_at=utcnow())


def keep(coupon_id: int) -> Figures:
    """Count a coupon, audit it, and keep what was found; a repeat counts anew.

    A large sale is audited only after its end, because the audit holds the coupon's lock. Raises LookupError,
    SQLAlchemyError, redis.RedisError.
    """
    coupon, began = coupon_by_id(coupon_id), utcnow()
    if coupon is None:
        raise LookupError(coupon_id)
    figures = count(coupon)
    if coupon.status != DRAFT and (is_small(coupon) or state_at(coupon, began) == "closed"):
        # By name, so that web processes do not carry the audit.
        checks = import_string("webapp.sale.audit.run")(coupon_id).checks
        figures.audit, figures.audited_at = [check.name for check in checks if not check.ok], time.time()
    if before := _kept(coupon_id)[0]:
        figures.remember(before)
    # Who asked meanwhile wants what happened meanwhile.
    still_wanted = case((SaleReport.wanted_at > began, SaleReport.wanted_at), else_=None)
    _write(coupon_id, figures=json.dumps(figures.as_json()), counted_at=began, wanted_at=still_wanted)
    return figures


def next_to_count(*, also_ended: bool = True) -> int | None:
    """Return a coupon that somebody wants counted; else one that has ended, or expired, since it was counted."""
    wanted = select(SaleReport.coupon_id).where(SaleReport.wanted_at.is_not(None))
    with db.engine.connect() as connection:
        first = connection.scalar(wanted.order_by(SaleReport.wanted_at).limit(1))
        return connection.scalar(_ended()) if first is None and also_ended else first


def _ended() -> Select[int]:
    now = utcnow()
    lately = (now - LATELY, now - SETTLED)
    stale = or_(SaleReport.counted_at.is_(None), SaleReport.counted_at < Coupon.issue_end_at)
    ended = and_(Coupon.issue_end_at.between(*lately), stale)
    expired = and_(Coupon.valid_until.between(*lately), SaleReport.counted_at < Coupon.valid_until)
    of_people = (Coupon.status != DRAFT, Coupon.rehearsal.is_(False))
    joined = select(Coupon.id).outerjoin(SaleReport, SaleReport.coupon_id == Coupon.id)
    return joined.where(*of_people, or_(ended, expired)).order_by(Coupon.id.desc()).limit(1)


def sweep_reports(*, also_ended: bool = True) -> None:
    """Count what is to be counted next. Raises SQLAlchemyError, redis.RedisError."""
    coupon_id = next_to_count(also_ended=also_ended)
    try:
        if coupon_id is not None:
            keep(coupon_id)
    except LookupError:
        with db.engine.begin() as connection:
            connection.execute(delete(SaleReport).where(SaleReport.coupon_id == coupon_id))


def _kept(coupon_id: int) -> tuple[Figures | None, bool]:
    """Return what was counted before, and whether somebody waits for it to be counted anew."""
    with db.engine.connect() as connection:
        kept = select(SaleReport.figures, SaleReport.wanted_at).where(SaleReport.coupon_id == coupon_id)
        row = connection.execute(kept).one_or_none()
    if row is None:
        return None, False
    return Figures.from_json(json.loads(row.figures)) if row.figures else None, row.wanted_at is not None


def _write(coupon_id: int, **values: object) -> None:
    """Write the row of a coupon; two processes that make it at once write one."""
    with suppress(IntegrityError), db.engine.begin() as connection:
        known = connection.scalar(select(SaleReport.coupon_id).where(SaleReport.coupon_id == coupon_id))
        if known is None:
            connection.execute(insert(SaleReport).values(coupon_id=coupon_id))
    with db.engine.begin() as connection:
        row = update(SaleReport).where(SaleReport.coupon_id == coupon_id)
        connection.execute(row.values(**values))


def _incidents(coupon: Coupon) -> list[Incident]:
    """Return when the line began anew, and what operators did to the sale, in order; the latest MOST_INCIDENTS each."""
    decided = latest(Filter(coupons=(coupon.id,)), most=MOST_INCIDENTS)
    found = [Incident(row.at, row.verb, row) for row in decided if _is_incident(row)]
    return sorted([*found, *_epochs(coupon)], key=lambda incident: incident.at)


def _is_incident(entry: Row[Any]) -> bool:
    changed = json.loads(entry.after or "{}").keys() if entry.verb == "change coupon" else set()
    return entry.verb in INCIDENTS or bool(changed & OF_THE_SALE)


def _epochs(coupon: Coupon) -> list[Incident]:
    """Return each time that the line began anew; with a first epoch alone there is none, and nothing is asked."""
    if coupon.epoch <= 1:
        return []
    began = select(LineEvent.at, LineEvent.reason).where(
        LineEvent.coupon_id == coupon.id, LineEvent.kind == "epoch"
    )
    with db.engine.connect() as connection:
        rows = connection.execute(began.order_by(LineEvent.id.desc()).limit(MOST_INCIDENTS))
        return [Incident(at, reason) for at, reason in rows]


def instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
