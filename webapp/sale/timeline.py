"""What happened to somebody, coupon by coupon: the facts of SQL, and those of the lines where they stand."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import redis
from sqlalchemy import Connection, Row, select

from webapp.line.keys import RESULTS_KEPT_MS
from webapp.line.line import Line
from webapp.line.results import REVOKED
from webapp.line.types import Gate, Reply
from webapp.line.watching import shown
from webapp.models import Coupon, CouponIssue, LineEvent, Revocation, UndoneUse, User, utcnow
from webapp.sale.finding import newest_coupons
from webapp.sale.held import state_of_issue
from webapp.sale.outcomes import Ticket, is_revoked, state_of, ticket_from
from webapp.sale.pause_history import Pause, among, pauses_of
from webapp.sale.records import last_issued, state_at
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

HOLDS = ("usable", "used", "expired")
DECISIONS = ("issued", "rejected", "lost")
KEPT = timedelta(milliseconds=RESULTS_KEPT_MS)
"""For how long after a decision a note that somebody was shown it is kept for sure."""
PLACES = (Reply.WAITING, Reply.STANDBY, Reply.DECIDED)
"""The answers of a line that knows the person."""


class Event(NamedTuple):
    """Something that happened: `kind` is arrived, issued, shown, used, undone, revoked, rejected, already or lost, or a
    pause, resume or close that fell while the person waited.

    `by` is the operator who did it, None where it was the system or a command.
    """

    at: datetime
    kind: str
    number: int | None = None
    reason: str | None = None
    by: int | None = None


@dataclass(kw_only=True)
class Chapter:
    """What happened to one person at one coupon.

    `verdict` is usable, used, expired or revoked for somebody who has or had the coupon; else rejected, waiting,
    standby, lost, or nothing. `ahead` counts those before them in the line, or in standby. `line` is the state of the
    coupon, and the facts of its line where Redis has them: when the coupons had gone, and which number got the last.
    `shown` says whether a page has told them what was decided: yes; perhaps before (an earlier note may be lost); no
    (none is known of); unknown (a note would not be there any more); "" where nothing was decided.
    """

    coupon: Any = None  # a row of `coupons`
    verdict: str = "nothing"
    number: int | None = None
    epoch: int | None = None
    code: str | None = None
    reason: str | None = None
    ahead: int | None = None
    state: str = ""
    sold_out_at: datetime | None = None
    last_issued: int | None = None
    last_arrived_at: datetime | None = None
    line_answers: bool = True
    shown: str = ""
    events: list[Event] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return self.verdict in HOLDS


def timeline(user_id: int, coupon_id: int | None = None) -> list[Chapter]:
    """Return a chapter for each coupon that knows the account, the newest first; also one of the coupon that is named.

    Only the newest coupons' lines are asked (`finding.LINES`); SQL knows the decisions of all. Raises SQLAlchemyError.
    """
    with db.engine.connect() as connection:
        known = _of_sql(connection, user_id)
        ids = {*known, *newest_coupons(connection)} | ({coupon_id} if coupon_id else set())
        rows = connection.execute(select(Coupon).where(Coupon.id.in_(ids)).order_by(Coupon.id.desc())).all()
        lasts = {
            row.id: last_issued(connection, row.id) for row in rows if row.id in known or row.id == coupon_id
        }
    chapters = [known.get(row.id) or Chapter(coupon=row) for row in rows]
    for chapter, row in zip(chapters, rows, strict=True):
        chapter.coupon, chapter.last_issued = row, lasts.get(row.id)
    _ask_the_lines(chapters, user_id, of_interest=lasts.keys())
    _tell_pauses(chapters)
    for chapter in chapters:
        if _decided_at(chapter) is not None:
            chapter.shown = chapter.shown or "unknown"
        chapter.state = chapter.state or state_at(chapter.coupon, utcnow())
        chapter.events.sort(key=lambda event: event.at)
    return [
        each for each in chapters if each.verdict != "nothing" or each.events or each.coupon.id == coupon_id
    ]


def person(user_id: int) -> User | None:
    """Return the account, or None when it was deleted."""
    found = db.session.scalar(select(User).where(User.id == user_id))
    db.session.close()
    return found


def _of_sql(connection: Connection, user_id: int) -> dict[int, Chapter]:
    """Return what SQL decided, by coupon id; what happened last gives the verdict."""
    chapters: dict[int, Chapter] = {}
    steps = (
        (_told_of_event, connection.execute(select(LineEvent).where(LineEvent.user_id == user_id))),
        (_told_of_revocation, connection.execute(select(Revocation).where(Revocation.user_id == user_id))),
        (_told_of_issue, connection.execute(_issues().where(CouponIssue.user_id == user_id))),
    )
    for tell, rows in steps:
        for row in rows:
            tell(chapters.setdefault(row.coupon_id, Chapter()), row)
    codes = {chapter.code: chapter for chapter in chapters.values() if chapter.code}
    for undone in connection.execute(select(UndoneUse).where(UndoneUse.code.in_(codes))):
        codes[undone.code].events += [
            Event(undone.used_at, "used", by=undone.used_by),
            Event(undone.undone_at, "undone", reason=undone.reason, by=undone.undone_by),
        ]
    return chapters


def _issues() -> Any:
    return select(CouponIssue, Coupon.valid_until).join_from(
        CouponIssue, Coupon, Coupon.id == CouponIssue.coupon_id
    )


def _told_of_event(chapter: Chapter, event: Row[Any]) -> None:
    if event.kind == "epoch" or event.reason.startswith(REVOKED):
        return  # the row of `revocations` says more of it
    chapter.events.append(Event(event.at, event.kind, event.ticket_number, event.reason))
    if event.kind != "already":
        chapter.verdict, chapter.number, chapter.epoch = event.kind, event.ticket_number, event.epoch
        chapter.reason = event.reason


def _told_of_revocation(chapter: Chapter, row: Row[Any]) -> None:
    _told_of_number(chapter, row)
    chapter.verdict, chapter.reason = "revoked", row.reason
    chapter.events.append(Event(row.revoked_at, "revoked", reason=row.reason, by=row.revoked_by))


def _told_of_issue(chapter: Chapter, row: Row[Any]) -> None:
    _told_of_number(chapter, row)
    chapter.verdict = state_of_issue(used_at=row.used_at, valid_until=row.valid_until, revoked_at=None)
    chapter.reason = None
    if row.used_at is not None:
        chapter.events.append(Event(row.used_at, "used", by=row.used_by))


def _told_of_number(chapter: Chapter, row: Row[Any]) -> None:
    chapter.number, chapter.epoch, chapter.code = row.ticket_number, row.epoch, row.code
    chapter.events.append(Event(row.issued_at, "issued", row.ticket_number))


def _ask_the_lines(chapters: Iterable[Chapter], user_id: int, *, of_interest: Container[int]) -> None:
    """Ask one line after the other; a Redis that is away is asked once, because each would wait as long for it."""
    away = False
    for chapter in chapters:
        try:
            if not away:
                _ask_the_line(chapter, user_id, wanted=chapter.coupon.id in of_interest)
        except (redis.RedisError, ValueError) as error:
            swallow("line not asked", error, "the page shows what SQL knows")
            away = isinstance(error, redis.ConnectionError | redis.TimeoutError)
            chapter.line_answers = False
        chapter.line_answers = chapter.line_answers and not away


def _ask_the_line(chapter: Chapter, user_id: int, *, wanted: bool) -> None:
    """Add what Redis alone knows; of a line that does not know them, and is not wanted, nothing.

    Looking changes nothing, and begins no epoch.
    """
    line = Line(line_redis(), chapter.coupon.id)
    standing = line.standing(user_id)
    ticket = ticket_from(standing) if standing.reply in PLACES else None
    if ticket is None and not wanted:
        return
    gate = line.gate()
    if gate is not None and gate.opened:
        _place(chapter, ticket, gate)
        _tell_shown(chapter, line, user_id, epoch=gate.epoch)
    if chapter.number is not None:
        chapter.events += _arrived(line, chapter.number)
    if chapter.last_issued is not None:
        chapter.last_arrived_at = _instant(line.arrival(chapter.last_issued))


def _place(chapter: Chapter, ticket: Ticket | None, gate: Gate) -> None:
    chapter.state = state_of(gate.policy, now_ms=gate.now_ms)
    chapter.sold_out_at = _instant(gate.sold_out_at_ms)
    if ticket is None or chapter.holds or chapter.verdict in ("revoked", "rejected"):
        return  # SQL has decided, whatever Redis has heard of
    if ticket.state in ("waiting", "sold_out"):
        chapter.verdict = "waiting" if ticket.state == "waiting" else "standby"
        chapter.number, chapter.epoch = ticket.number, ticket.epoch
        chapter.ahead = ticket.ahead if ticket.state == "waiting" else (ticket.missed_by or 1) - 1
    elif ticket.state == "rejected" and not is_revoked(ticket):
        chapter.verdict, chapter.number, chapter.reason = "rejected", ticket.number, ticket.reason


def _tell_shown(chapter: Chapter, line: Line, user_id: int, *, epoch: int) -> None:
    """Add when a page first told them what was decided. What was noted before an epoch began may be lost."""
    decided_at = _decided_at(chapter)
    if decided_at is None:
        return
    note = shown(line, user_id)
    if note is not None:
        chapter.shown = "yes" if note.epoch == chapter.epoch else "perhaps before"
        chapter.events.append(Event(datetime.fromtimestamp(note.at_ms / 1000, UTC), "shown"))
    elif epoch == chapter.epoch and utcnow() < decided_at + KEPT:
        chapter.shown = "no"


def _decided_at(chapter: Chapter) -> datetime | None:
    return min((each.at for each in chapter.events if each.kind in ("issued", "rejected")), default=None)


def _arrived(line: Line, number: int) -> Iterator[Event]:
    at = _instant(line.arrival(number))
    if at is not None:
        yield Event(at, "arrived", number)


def _tell_pauses(chapters: Iterable[Chapter]) -> None:
    """Add the pauses that fell between a person's number and what became of it; without its time nobody knows them."""
    waits = {chapter.coupon.id: (chapter, wait) for chapter in chapters if (wait := _wait(chapter.events))}
    pauses = pauses_of(waits.keys()) if waits else {}
    for coupon_id, (chapter, wait) in waits.items():
        for pause in among(pauses.get(coupon_id, []), *wait):
            chapter.events += _paused(pause)


def _wait(events: Iterable[Event]) -> tuple[datetime, datetime] | None:
    """Return from when until when somebody waited: until now, if nothing is decided."""
    decided = min((each.at for each in events if each.kind in DECISIONS), default=utcnow())
    return next(((each.at, decided) for each in events if each.kind == "arrived"), None)


def _paused(pause: Pause) -> Iterator[Event]:
    yield Event(pause.since, "pause", by=pause.by)
    if pause.until is not None:
        yield Event(pause.until, pause.end, by=pause.ended_by)


def _instant(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
