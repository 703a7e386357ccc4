"""Reading the log: by coupon, person, verb and day; and the proof that nobody has altered it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, or_, select

from webapp.log.writing import FIRST, hash_of
from webapp.models.log import LogEntry, LogHead
from webapp.stores.sql import db

BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What is asked of the log; None asks for all. A person counts as who decided and as whom it was about."""

    coupons: tuple[int, ...] | None = None
    person: int | None = None
    actor: int | None = None
    verb: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def where(self) -> list[Any]:
        ways = self.ways()
        return ways[0] if len(ways) == 1 else [or_(*(and_(*way) for way in ways))]

    def ways(self) -> list[list[Any]]:
        """Return the conditions, for a person in two ways: one query for both would read all rows of either index."""
        rest = list(self._rest())
        if self.person is None:
            return [rest]
        return [[column == self.person, *rest] for column in (LogEntry.actor_id, LogEntry.user_id)]

    def _rest(self) -> Iterator[Any]:
        if self.coupons is not None:
            yield LogEntry.coupon_id.in_(self.coupons)
        if self.actor is not None:
            yield LogEntry.actor_id == self.actor
        if self.verb is not None:
            yield LogEntry.verb == self.verb
        if self.since is not None:
            yield LogEntry.at >= self.since
        if self.until is not None:
            yield LogEntry.at < self.until


def latest(asked: Filter, *, most: int, below: int | None = None) -> list[Row[Any]]:
    """Return the newest entries, `most` at most, of those with a number `below`. Raises SQLAlchemyError."""
    bounds = [] if below is None else [LogEntry.id < below]
    newest = select(LogEntry.__table__).order_by(LogEntry.id.desc()).limit(most)
    with db.engine.connect() as connection:
        found = {
            row.id: row for way in asked.ways() for row in connection.execute(newest.where(*way, *bounds))
        }
    return [found[number] for number in sorted(found, reverse=True)[:most]]


def pages(asked: Filter) -> Iterator[list[Row[Any]]]:
    """Yield the entries some at a time, the oldest first; no transaction is open while the caller looks at them."""
    last = 0
    while rows := _following(asked, last):
        yield rows
        last = rows[-1].id


def _following(asked: Filter, last: int) -> list[Row[Any]]:
    following = select(LogEntry.__table__).where(*asked.where(), LogEntry.id > last)
    with db.engine.connect() as connection:
        return list(connection.execute(following.order_by(LogEntry.id).limit(BATCH)))


@dataclass(frozen=True)
class Chain:
    """What a reading of the whole log has found: how many entries, and the first one that is not as it was written."""

    entries: int
    broken_at: int | None
    hash: str
    """That of the last entry. Whoever notes it down elsewhere knows later that nothing before it was altered."""


def chain() -> Chain:
    """Read the log from its beginning, and compare each row with its hash. Raises SQLAlchemyError.

    Entries that are written meanwhile are read too, or not.
    """
    with db.engine.connect() as connection:
        told = connection.scalar(select(LogHead.entries)) or 0
    last, before = 0, FIRST
    for row in itertools.chain.from_iterable(pages(Filter())):
        if row.id != last + 1 or row.hash != hash_of(row, before):
            return Chain(told, last + 1, before)
        last, before = row.id, row.hash
    return Chain(max(told, last), last + 1 if last < told else None, before)
