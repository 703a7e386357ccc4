"""Waves: several coupons that are one campaign, each with a quota, a period and a line of its own.

Every row of a campaign names the first wave. They are made of a draft and go live together.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import ColumnElement, Connection, delete, or_, select, update

from webapp.log import record
from webapp.models import (
    DRAFT,
    LIVE,
    Coupon,
    CouponIssue,
    CouponRow,
    CouponText,
    Upload,
    utcnow,
)
from webapp.models.uploads import WITHDRAWN
from webapp.sale.audience import counts_for
from webapp.sale.coupons import InvalidField, korean_time, refuse_archived
from webapp.sale.duplicating import COPIES, draft_like, insert_copy
from webapp.sale.list_copies import copied_list
from webapp.sale.lists import forget_withdrawn
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.publishing import publish
from webapp.sale.records import most_issued
from webapp.stores.sql import db
from webapp.values.amounts import MOST
from webapp.values.moments import write_moment

MOST_WAVES = 60
MEANWHILE = _("Somebody has changed the waves meanwhile. Look at them once more.")


@dataclass(frozen=True)
class Place:
    """Which wave of how many a coupon is, and the one that comes next."""

    number: int
    count: int
    one_each: bool
    next_id: int | None
    next_opens_at: datetime | None

    @property
    def next_has_opened(self) -> bool:
        return self.next_opens_at is not None and self.next_opens_at <= utcnow()


@dataclass(frozen=True)
class Campaign:
    """A coupon, or the waves that are one campaign, as a list shows it."""

    first: Coupon
    waves: Sequence[Coupon | CouponRow]

    @property
    def current(self) -> Coupon | CouponRow:
        """Return the wave that is open or comes next, or the last one when all are over."""
        return next((wave for wave in self.waves if wave.issue_end_at > utcnow()), self.waves[-1])

    @property
    def issued(self) -> int:
        return sum(wave.issued_quantity for wave in self.waves)

    @property
    def quota(self) -> int | None:
        """Return the quota of all waves, whatever codes there are; a pool is the quota of a wave without one."""
        quotas = [
            most_issued(wave) if wave.total_quantity is None else wave.total_quantity for wave in self.waves
        ]
        return None if None in quotas else sum(quota or 0 for quota in quotas)


def total_of(waves: Sequence[Coupon | CouponRow]) -> int | None:
    """Return how many coupons all waves give; None when one has no end."""
    quotas = [most_issued(wave) for wave in waves]
    return None if None in quotas else sum(quota or 0 for quota in quotas)


def waves_of(coupon: Coupon | CouponRow) -> list[CouponRow]:
    """Return the rows of all waves of the coupon's campaign, the first to open first; of a lone coupon its own row."""
    with db.engine.connect() as connection:
        return _rows(connection, coupon.campaign_id or coupon.id)


def place_of(coupon: Coupon) -> Place | None:
    """Return which wave the coupon is; None, and no question to SQL, when it has no waves."""
    return None if coupon.campaign_id is None else place_among(coupon.id, waves_of(coupon))


def places_of(coupons: Iterable[Coupon]) -> dict[int, Place]:
    """Return which wave each of these coupons is, by id, in one query; none for those that have no waves."""
    of = {coupon.id: coupon.campaign_id for coupon in coupons if coupon.campaign_id is not None}
    if not of:
        return {}
    with db.engine.connect() as connection:
        rows = _ordered(connection, Coupon.campaign_id.in_(of.values()))
    return {
        coupon_id: place_among(coupon_id, [row for row in rows if row.campaign_id == campaign_id])
        for coupon_id, campaign_id in of.items()
    }


def place_among(coupon_id: int, waves: Sequence[CouponRow]) -> Place:
    at = [wave.id for wave in waves].index(coupon_id)
    following = waves[at + 1] if at + 1 < len(waves) else None
    return Place(
        number=at + 1,
        count=len(waves),
        one_each=waves[at].one_per_campaign,
        next_id=following and following.id,
        next_opens_at=following and following.issue_start_at,
    )


def campaigns_of(coupons: Sequence[Coupon]) -> list[Campaign]:
    """Return the campaigns that begin with these coupons, in their order, in one query."""
    with db.engine.connect() as connection:
        rows = _ordered(connection, Coupon.campaign_id.in_([coupon.id for coupon in coupons]))
    waves: dict[int, list[Coupon | CouponRow]] = {}
    for row in rows:
        waves.setdefault(row.campaign_id, []).append(row)
    return [Campaign(coupon, waves.get(coupon.id, [coupon])) for coupon in coupons]


def wave_held(coupon: Coupon, user_id: int) -> int | None:
    """Return the id of another wave of which the user holds one, where a campaign gives one each; else None."""
    if not coupon.one_per_campaign:
        return None
    held = select(CouponIssue.coupon_id).where(
        CouponIssue.campaign_id == coupon.campaign_id, CouponIssue.user_id == user_id
    )
    with db.engine.connect() as connection:
        return connection.scalar(held.where(CouponIssue.coupon_id != coupon.id))


def told(waves: Sequence[CouponRow]) -> str:
    """Return the waves as a text that can be compared: what another operator changes, changes it."""
    if len(waves) < 2:
        return ""
    options = [name for name in ("one_per_campaign", "rolls_over") if getattr(waves[0], name)]
    each = [f"{write_moment(wave.issue_start_at)} {wave.total_quantity}" for wave in waves]
    return ", ".join([*each, *options])


def make_waves(
    coupon_id: int,
    times: Sequence[datetime],
    *,
    quota: int,
    one_each: bool = True,
    rolls_over: bool = False,
    by: int | None,
    seen: str | None = None,
) -> list[int]:
    """Make a draft a campaign of waves, one that opens at each of the times, and return their ids, the first first.

    A wave is open until the next one opens, the last one until the campaign closes. The first is the draft itself; the
    others say and give what it does, and whom it is for. Made again, the waves are changed; those that are too many go
    to the archive, on their own. One time makes it a coupon without waves again. A repeat changes nothing. With
    `one_each` nobody gets more than one over all waves. `by` is the operator, None for a command; `seen` are the waves
    as the operator saw them (`told`). Raises LookupError for an unknown coupon, and InvalidField: nothing is changed.
    """
    times = sorted(times)
    model = _model(coupon_id, times, quota, seen)
    with copied_list(model, len(times) - 1, by=by) as copies, locked_waves(coupon_id) as (lock, rows):
        _refuse(rows, times, quota, seen)
        first, ends = rows[0], [*times[1:], _end(rows)]
        options = {
            "campaign_id": first.id if len(times) > 1 else None,
            "one_per_campaign": one_each and len(times) > 1,
            "rolls_over": rolls_over and len(times) > 1,
            "total_quantity": quota,
        }
        ids = [row.id for row in rows]
        _withdraw_lists(lock.connection, ids[1 : len(times)])
        for at, (opens_at, closes_at) in enumerate(zip(times, ends, strict=True)):
            period = {"issue_start_at": opens_at, "issue_end_at": closes_at, "valid_until": first.valid_until}
            values = draft_like(first, **period, total_quantity=quota) | options
            ids[at : at + 1] = [_write(lock, ids[at] if at < len(ids) else None, values)]
            if at > 0:
                copies.give(lock, ids[at])
        _detach(lock.connection, ids[len(times) :])
        made = {"coupons": ids[: len(times)], "quota": quota, "one_each": one_each, "rolls_over": rolls_over}
        made["times"] = [time.isoformat() for time in times]
        before = {"waves": told(sorted(rows, key=lambda row: (row.issue_start_at, row.id)))}
        record(lock.connection, "make waves", by=by, coupon=first.id, before=before, after=made)
        lock.commit()
    for wave_id in ids[1 : len(times)]:
        forget_withdrawn(wave_id)
    return ids[: len(times)]


def publish_waves(coupon_id: int, *, by: int | None, look: Callable[[list[CouponRow]], None]) -> None:
    """Make all waves of a campaign live in one transaction, and tell their lines; a repeat changes nothing.

    `by` is the operator, None for a command. `look` is given the locked rows first; when it raises, nothing is changed.
    Raises LookupError, InvalidField; after
    the commit redis.RedisError and Refused(busy): the waves are live, and the sweeper tells their lines.
    """
    with locked_waves(coupon_id) as (lock, rows):
        look(rows)
        for row in rows:
            refuse_archived(row)
        drafts = [row.id for row in rows if row.status == DRAFT]
        lock.connection.execute(update(Coupon).where(Coupon.id.in_(drafts)).values(status=LIVE))
        if drafts:
            facts = {"before": {"status": DRAFT}, "after": {"status": LIVE, "coupons": drafts}}
            record(lock.connection, "publish", by=by, coupon=lock.coupon.id, **facts)
        lock.commit()
    for wave_id in drafts:
        publish(wave_id)


@contextmanager
def locked_waves(coupon_id: int) -> Iterator[tuple[CouponLock, list[CouponRow]]]:
    """Hold the rows of all waves of the coupon's campaign, or its own row, as `locked_coupon` does; the oldest first.

    The first wave is locked before the others, so of two who want them all one waits. Raises LookupError.
    """
    with db.engine.connect() as connection:
        first = _first_of(connection, coupon_id)
    with locked_coupon(first) as lock:
        others = (Coupon.campaign_id == first, Coupon.id != first)
        lock.connection.execute(update(Coupon).where(*others).values(revision=Coupon.revision + 1))
        rows = sorted(_rows(lock.connection, first), key=lambda row: row.id)
        if coupon_id not in [row.id for row in rows]:
            raise InvalidField("times", MEANWHILE)
        yield lock, rows


def _first_of(connection: Connection, coupon_id: int) -> int:
    """Return the id of the first wave of a coupon's campaign, its own when it has no waves. Raises LookupError."""
    known = connection.execute(select(Coupon.campaign_id).where(Coupon.id == coupon_id)).one_or_none()
    if known is None:
        raise LookupError(coupon_id)
    first: int | None = known[0]
    return first or coupon_id


def _rows(connection: Connection, first: int) -> list[CouponRow]:
    return _ordered(connection, or_(Coupon.id == first, Coupon.campaign_id == first))


def _ordered(connection: Connection, of: ColumnElement[bool]) -> list[CouponRow]:
    return list(connection.execute(select(Coupon).where(of).order_by(Coupon.issue_start_at, Coupon.id)))


def _model(coupon_id: int, times: Sequence[datetime], quota: int, seen: str | None) -> CouponRow:
    """Return the row of the first wave, of which copies are made. Raises LookupError, InvalidField."""
    with db.engine.connect() as connection:
        rows = _rows(connection, _first_of(connection, coupon_id))
    _refuse(rows, times, quota, seen)
    return min(rows, key=lambda row: row.id)


def _end(rows: Sequence[CouponRow]) -> datetime:
    ends: list[datetime] = [row.issue_end_at for row in rows]
    return max(ends)


def _refuse(rows: Sequence[CouponRow], times: Sequence[datetime], quota: int, seen: str | None) -> None:
    for row in rows:
        refuse_archived(row)
    in_order = sorted(rows, key=lambda row: (row.issue_start_at, row.id))
    if any(row.status != DRAFT for row in rows):
        raise InvalidField(
            "times", _("It has gone live: its waves stay. Change each of them in its overview.")
        )
    if seen is not None and seen != told(in_order):
        raise InvalidField("times", MEANWHILE)
    if not 1 <= len(times) <= MOST_WAVES:
        raise InvalidField("times", _("Give 1 to %(most)s waves.", most=MOST_WAVES))
    if len(set(times)) < len(times):
        raise InvalidField("times", _("Two waves cannot open at the same time."))
    if times[0] <= utcnow():
        raise InvalidField("times", _("The first wave would open in the past."))
    if times[-1] >= _end(rows):
        raise InvalidField(
            "times",
            _(
                "The campaign closes at %(end)s, and the last wave would open at %(last)s. Move its end first.",
                end=korean_time(_end(rows)),
                last=korean_time(times[-1]),
            ),
        )
    if not 1 <= quota <= MOST:
        raise InvalidField("quota", _("Give a whole number from 1 to %(most)s.", most=f"{MOST:,}"))


def _write(lock: CouponLock, wave_id: int | None, values: dict[str, Any]) -> int:
    """Write a wave, a new one without an id, so that it says what the first one does; return its id."""
    connection, first = lock.connection, lock.coupon.id
    if wave_id is None:
        return insert_copy(lock, values)
    connection.execute(update(Coupon).where(Coupon.id == wave_id).values(**values))
    if wave_id != first:
        connection.execute(delete(CouponText).where(CouponText.coupon_id == wave_id))
        for copy in COPIES:
            copy(connection, first, wave_id)
    return wave_id


def _withdraw_lists(connection: Connection, ids: Sequence[int]) -> None:
    """Take away the lists of waves that are made again: each gets one of its own, as it has a line of its own."""
    for wave_id in ids:
        connection.execute(update(Upload).where(*counts_for(wave_id)).values(state=WITHDRAWN))


def _detach(connection: Connection, ids: Sequence[int]) -> None:
    """Put drafts that are no waves any more into the archive, as coupons of their own."""
    alone = {"campaign_id": None, "one_per_campaign": False, "rolls_over": False, "archived_at": utcnow()}
    connection.execute(update(Coupon).where(Coupon.id.in_(ids)).values(**alone))
