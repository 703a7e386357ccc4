"""When a coupon was paused, as the rows of the log tell it: the row of the coupon knows its last pause alone."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select

from webapp.models.log import LogEntry
from webapp.stores.sql import db

ENDS = ("resume", "close")
"""The verbs that end a pause."""


class Pause(NamedTuple):
    """A pause and who decided it, by account, None for a command. `until` is None while it lasts, `end` one of ENDS."""

    since: datetime
    by: int | None = None
    until: datetime | None = None
    end: str = ""
    ended_by: int | None = None

    def meets(self, since: datetime, until: datetime) -> bool:
        """Whether the sale was paused at any time between the two."""
        return self.since < until and (self.until is None or since < self.until)


def pauses_of(coupon_ids: Collection[int]) -> dict[int, list[Pause]]:
    """Return the pauses of each coupon in order, with the one that lasts. Raises SQLAlchemyError.

    A message that was put in place of another begins no pause. What was paused before there was a log is not known.
    """
    told = select(LogEntry.coupon_id, LogEntry.verb, LogEntry.at, LogEntry.actor_id).where(
        LogEntry.coupon_id.in_(coupon_ids), LogEntry.verb.in_(("pause", *ENDS))
    )
    found: dict[Any, list[Pause]] = {}
    with db.engine.connect() as connection:
        for coupon_id, verb, at, by in connection.execute(told.order_by(LogEntry.id)):
            _tell(found.setdefault(coupon_id, []), verb, at, by)
    return found


def pauses_between(coupon_id: int, since: datetime, until: datetime) -> list[Pause]:
    """Return the pauses of a coupon that fell between the two times, whole. Raises SQLAlchemyError."""
    return among(pauses_of([coupon_id]).get(coupon_id, []), since, until)


def among(pauses: Iterable[Pause], since: datetime, until: datetime) -> list[Pause]:
    return [pause for pause in pauses if pause.meets(since, until)]


def _tell(pauses: list[Pause], verb: str, at: datetime, by: int | None) -> None:
    lasts = bool(pauses) and pauses[-1].until is None
    if verb == "pause" and not lasts:
        pauses.append(Pause(at, by))
    elif verb in ENDS and lasts:
        pauses[-1] = pauses[-1]._replace(until=at, end=verb, ended_by=by)
