"""The files for Excel: who won, who stands in standby, who got nothing, who was refused, which coupons were used.

They name people, so each of them leaves a row in the log of operators before its first byte.

A file is written while it is sent, some rows at a time, so a million rows take no more memory than a thousand. Its rows
stand in the order of the numbers. Each page of them is a transaction of its own that begins behind the last row: no
connection and no snapshot is held while somebody's download is slow. So nobody is in a file twice and nobody is
forgotten; what happens to somebody while the file is made (a use, a revocation) is in it or not.
"""

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import chain, islice
from types import MappingProxyType
from typing import Any, NamedTuple

from flask import Flask, current_app
from flask_babel import LazyString
from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Engine, Row, func, select, true
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import aliased

from webapp.accounts.names import names_of
from webapp.line.line import Line
from webapp.line.places import having_places, places_of
from webapp.line.results import REVOKED
from webapp.log import record
from webapp.log.reading import Filter
from webapp.log.reading import pages as log_pages
from webapp.models import DRAFT, Coupon, CouponIssue, LineEvent, Member, User
from webapp.sale.claims import line_status
from webapp.sale.codes import grouped
from webapp.sale.coupons import coupon_by_id
from webapp.sale.eligibility import IDS, holders_among, rejected_among
from webapp.sale.held import state_of_issue
from webapp.sale.reasons import REASONS
from webapp.sale.records import pages_by_number, patiently
from webapp.sale.waves import waves_of
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.values.sheets import AsItIs, korean, write_table

PAGE = 1000
"""Rows of a transaction. A web process answers others between two of them, so it is some 10 ms."""
NOT_DECIDED = ("rejected", "lost")
"""The events of a line after which somebody has no coupon."""
PERSON = (_("E-mail"), _("Name"), _("Member key"))
WORDS: dict[str, LazyString] = {
    "usable": _("Not used yet"),
    "used": _("Used"),
    "expired": _("Not used in time"),
    "waiting": _("Waits in line"),
    "standby": _("Stands in standby"),
    "rejected": _("Rejected"),
    "revoked": _("The coupon was taken back"),
    "lost": _("The place was lost"),
    "command": _("the command line"),
    "job": _("a job of FirstCome"),
    "deleted": _("a deleted account"),
}
Cells = tuple[object, ...]
Operator = aliased(User)


class NotLogged(Exception):
    """The log could not be written, so there is no file."""


class Fact(NamedTuple):
    """Why a number has no coupon: `what` is waiting, standby, rejected, revoked or lost; the last three have a time."""

    number: int
    user_id: int
    what: str
    reason: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Source:
    """Where the rows of a file come from, and the words in the reader's language.

    It outlives the request that asked for the file, so it holds what is found by a request elsewhere.
    """

    coupon: Coupon
    words: dict[str, str]
    engine: Engine
    line: Line
    app: Flask


@dataclass(frozen=True)
class Export:
    """A file: its headings, and its rows."""

    heads: tuple[LazyString, ...]
    rows: Callable[[Source], Iterator[Cells]]
    asks_the_line: bool = False


def export(
    coupon_id: int,
    what: str,
    more_words: Mapping[str, LazyString] = MappingProxyType({}),
    *,
    by: int | None = None,
) -> Iterator[str]:
    """Return the pieces of a file, a CSV for Excel with headings in the present language.

    `more_words` are those of the log: "verb pause" or "field status" to what is said for it, else it stands as it is.
    `by` is the operator, None for a command. That the file was made stands in the log before this returns, and a repeat
    is one more row; a rehearsal's file names nobody, and leaves none. Raises LookupError for an unknown coupon,
    NotLogged when the row cannot be written, redis.RedisError and Refused(busy) where the line is asked and no file can
    begin. The pieces raise SQLAlchemyError, redis.RedisError and Refused(busy): what was read until then is no whole
    file.
    """
    coupon, kind = coupon_by_id(coupon_id), EXPORTS[what]
    if coupon is None:
        raise LookupError(coupon_id)
    if kind.asks_the_line and coupon.status != DRAFT:
        line_status(coupon.id)  # a line that is not open knows of nobody for sure
    _write_down(coupon, what, by)
    # What is translated when it is read would cost as much as the rows.
    words: dict[str, str] = {name: AsItIs(text) for name, text in {**WORDS, **more_words}.items()}
    words |= {f"reason {name}": str(text) for name, text in REASONS.items()}
    heads = tuple(str(head) for head in kind.heads)
    return write_table(chain([heads], kind.rows(source_of(coupon, words))))


def _write_down(coupon: Coupon, what: str, by: int | None) -> None:
    if coupon.rehearsal:
        return
    try:
        with db.engine.begin() as connection:
            record(connection, "export", by=by, coupon=coupon.id, after={"file": what})
    except SQLAlchemyError as error:
        raise NotLogged from error


def source_of(coupon: Coupon, words: dict[str, str]) -> Source:
    app: Any = current_app
    return Source(coupon, words, db.engine, Line(line_redis(), coupon.id), app._get_current_object())


def _winners(source: Source) -> Iterator[Cells]:
    words, until = source.words, source.coupon.valid_until
    unused = words[state_of_issue(used_at=None, valid_until=until, revoked_at=None)]
    for *who, code, issued_at, used_at in _issues(source, CouponIssue.issued_at, CouponIssue.used_at):
        state = words["used"] if used_at else unused
        yield *who, code, _korean(issued_at), state, used_at and _korean(used_at)


def _redemptions(source: Source) -> Iterator[Cells]:
    columns = (CouponIssue.used_at, CouponIssue.used_by, Operator.email)
    for *who, code, used_at, used_by, operator in _issues(source, *columns, only_used=True):
        by = operator or source.words["command" if used_by is None else "deleted"]
        yield *who, code, _korean(used_at), by


def _standby(source: Source) -> Iterator[Cells]:
    places = (fact for fact in _places(source) if fact.what == "standby")
    for place, (fact, person) in enumerate(_with_people(source, places), 1):
        yield place, fact.number, *person


def _refused(source: Source) -> Iterator[Cells]:
    return _told(source, decided_against(source, ("rejected",)))


def _losers(source: Source) -> Iterator[Cells]:
    """Yield everybody who had a number and has no coupon: SQL knows the decided ones, and the line all others."""
    facts = heapq.merge(decided_against(source, NOT_DECIDED), _places(source), key=lambda fact: fact.number)
    return _told(source, facts)


def _told(source: Source, facts: Iterable[Fact]) -> Iterator[Cells]:
    words = source.words
    for fact, person in _with_people(source, facts):
        reason = words.get(f"reason {fact.reason}", fact.reason)
        yield fact.number, *person, words[fact.what], reason, fact.at


def _log(source: Source) -> Iterator[Cells]:
    """Yield what operators decided about the coupon and the other waves of its campaign, the oldest first."""
    with source.app.app_context():
        pages = log_pages(Filter(coupons=tuple(wave.id for wave in waves_of(source.coupon))))
    while True:
        with source.app.app_context():
            page = next(pages, [])
            names = names_of(who for row in page for who in (row.actor_id, row.user_id))
        if not page:
            return
        for row in page:
            yield _decision(source, row, names)


def _decision(source: Source, row: Row[Any], names: dict[int, str]) -> Cells:
    words, deleted = source.words, source.words["deleted"]
    by = names.get(row.actor_id, deleted) if row.actor_id else words.get(row.origin, row.origin)
    about = names.get(row.user_id, deleted) if row.user_id else None
    verb = words.get(f"verb {row.verb}", row.verb)
    changes = (_values(source, row.before), _values(source, row.after))
    return row.id, row.at, by, row.address, verb, row.coupon_id, about, *changes, row.reason


def _values(source: Source, text: str | None) -> str:
    """Return what was, or is, of the fields that a decision has changed."""
    return "; ".join(
        f"{source.words.get(f'field {name}', name)}: {_value(name, value)}"
        for name, value in json.loads(text or "{}").items()
    )


def _value(name: str, value: Any) -> str:
    if isinstance(value, str) and (name.endswith("_at") or name == "valid_until"):
        return korean(datetime.fromisoformat(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


EXPORTS: dict[str, Export] = {
    "winners": Export(
        (
            _("Number"),
            *PERSON,
            _("Code"),
            _("Issued at (Korean time)"),
            _("State"),
            _("Used at (Korean time)"),
        ),
        _winners,
    ),
    "standby": Export((_("Place in standby"), _("Number"), *PERSON), _standby, asks_the_line=True),
    "losers": Export(
        (_("Number"), *PERSON, _("What happened"), _("Reason"), _("Decided at (Korean time)")),
        _losers,
        asks_the_line=True,
    ),
    "refused": Export(
        (_("Number"), *PERSON, _("What happened"), _("Reason"), _("Decided at (Korean time)")), _refused
    ),
    "redemptions": Export(
        (_("Number"), *PERSON, _("Code"), _("Used at (Korean time)"), _("Redeemed by")), _redemptions
    ),
    "log": Export(
        (
            _("No."),
            _("Decided at (Korean time)"),
            _("Who"),
            _("Network address"),
            _("Decision"),
            _("Coupon no."),
            _("About"),
            _("Before"),
            _("After"),
            _("Reason"),
        ),
        _log,
    ),
}
"""The files by the names of the option `--what`, in the order in which the console shows them."""
NAMES = {
    "winners": _("Winners"),
    "standby": _("Standby"),
    "losers": _("People without a coupon"),
    "refused": _("Rejected people"),
    "redemptions": _("Redemptions"),
    "log": _("Log"),
}
"""What the console and the log call them."""


def _issues(source: Source, *columns: Any, only_used: bool = False) -> Iterator[list[Any]]:
    """Yield number, address, name, member key and code as it is shown, then the columns; times are texts in UTC.

    A row comes as one text: the driver takes three times as long to read so many cells (`make bench ARGS=exports`).
    """
    who = (CouponIssue.ticket_number, User.email, User.name, Member.member_key, CouponIssue.code)
    query = (
        select(func.json_array(*who, *columns))
        .join_from(CouponIssue, User, User.id == CouponIssue.user_id)
        .outerjoin(Member, Member.email == User.email)
        .outerjoin(Operator, Operator.id == CouponIssue.used_by)
        .where(CouponIssue.used_at.is_not(None) if only_used else true())
    )
    drawn = source.coupon.pool_left is None
    for page in pages_by_number(source.engine, source.coupon.id, query, CouponIssue, PAGE):
        for row in json.loads(f"[{','.join(text for (text,) in page)}]"):
            if drawn:
                row[4] = grouped(row[4])
            yield row


@lru_cache(PAGE)
def _korean(text: str) -> AsItIs:
    """Return a time in UTC, as SQL writes it, as Korea's clock shows it; a batch of issues has one time."""
    return AsItIs(korean(datetime.fromisoformat(text).replace(tzinfo=UTC)))


def decided_against(source: Source, kinds: tuple[str, ...]) -> Iterator[Fact]:
    """Yield what has decided against somebody, once each: the last event, of those who have no coupon and no place."""
    columns = (LineEvent.id, LineEvent.kind, LineEvent.user_id, LineEvent.ticket_number)
    query = select(*columns, LineEvent.reason, LineEvent.at)
    for page in pages_by_number(source.engine, source.coupon.id, query, LineEvent, PAGE):
        told = [row for row in page if row.kind in kinds and row.user_id is not None]
        back = {row.user_id for row in told if row.kind == "lost"}
        # The line first: whoever is decided in between has an event or a coupon by then.
        back &= having_places(source.line, sorted(back))
        last = patiently(
            source.engine, partial(_last_events, source.coupon.id, [row.user_id for row in told])
        )
        yield from (_fact(row) for row in told if last.get(row.user_id) == row.id and row.user_id not in back)


def _last_events(coupon_id: int, ids: list[int], connection: Connection) -> dict[int, int]:
    """Return the id of the event that counts against each user, without those who hold the coupon.

    A rejection stands, whatever place is lost after it.
    """
    against = (LineEvent.coupon_id == coupon_id, LineEvent.kind.in_(NOT_DECIDED), LineEvent.user_id.in_(IDS))
    events = select(LineEvent.user_id, LineEvent.id).where(*against).order_by(LineEvent.kind, LineEvent.id)
    holders = holders_among(connection, coupon_id, ids)
    found: Any = connection.execute(events, {"ids": ids})
    return {user_id: event_id for user_id, event_id in found if user_id not in holders}


def _fact(row: Row[Any]) -> Fact:
    if row.reason.startswith(REVOKED):
        return Fact(row.ticket_number, row.user_id, "revoked", row.reason.removeprefix(REVOKED), row.at)
    return Fact(
        row.ticket_number, row.user_id, row.kind, row.reason if row.kind == "rejected" else "", row.at
    )


def _places(source: Source) -> Iterator[Fact]:
    """Yield who waits or stands in standby, without those whom SQL has decided and Redis has not heard of yet."""
    for places in places_of(source.line):
        ids = [place.user_id for place in places]
        decided = patiently(source.engine, partial(_decided_among, source.coupon.id, ids))
        for number, user_id, in_standby in places:
            if user_id not in decided:
                yield Fact(number, user_id, "standby" if in_standby else "waiting")


def _decided_among(coupon_id: int, ids: list[int], connection: Connection) -> set[int]:
    holders, rejected = (among(connection, coupon_id, ids) for among in (holders_among, rejected_among))
    return {*holders, *rejected}


def _with_people(source: Source, facts: Iterable[Fact]) -> Iterator[tuple[Fact, Cells]]:
    """Yield each fact with address, name and member key; all are empty where the account was deleted."""
    left = iter(facts)
    while page := list(islice(left, PAGE)):
        people = patiently(source.engine, partial(_people, [fact.user_id for fact in page]))
        for fact in page:
            yield fact, people.get(fact.user_id, (None, None, None))


def _people(ids: list[int], connection: Connection) -> dict[int, Cells]:
    query = select(User.id, User.email, User.name, Member.member_key).where(User.id.in_(IDS))
    found: Any = connection.execute(query.outerjoin(Member, Member.email == User.email), {"ids": ids})
    return {user_id: tuple(cells) for user_id, *cells in found}
