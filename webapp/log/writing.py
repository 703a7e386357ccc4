"""Writing the log: one row for each decision, in the transaction that decides, chained to the row before."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from flask import has_request_context, request
from sqlalchemy import Connection, Row, insert, select, update

from webapp.log.verbs import VERBS
from webapp.models import utcnow
from webapp.models.log import ADDRESS_LENGTH, COMMAND, CONSOLE, LogEntry, LogHead

LONGEST_TEXT = 500
"""A text of more characters is kept as its length and its digest: terms of a coupon may fill pages."""
SEALED = (
    "id",
    "at",
    "actor_id",
    "origin",
    "address",
    "verb",
    "coupon_id",
    "user_id",
    "before",
    "after",
    "reason",
)
"""The columns that the hash of a row covers, in this order."""
FIRST = ""
"""Stands for the hash before the first row."""
ONE_MORE = update(LogHead).values(entries=LogHead.entries + 1)
"""Takes the lock of the end of the log. These two statements are built once, because every decision waits for them."""
END = select(LogHead.entries, LogEntry.hash).outerjoin(LogEntry, LogEntry.id == LogHead.entries - 1)
"""The number of the next entry, and the hash of the one before it."""

_process = COMMAND


def this_process_is(origin: str) -> None:
    """Say what writes outside of requests in this process: a command, unless a job says so."""
    global _process
    _process = origin


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A decision: `verb`, `by` whom (None for a command or a job), about which coupon and which account.

    `before` and `after` hold plain JSON values or times, and no words that name a person: accounts are told by id.
    """

    verb: str
    by: int | None
    coupon: int | None = None
    user: int | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    reason: str | None = None


def record(connection: Connection, verb: str, *, by: int | None, **facts: Any) -> None:
    """Write an entry of that verb, with the facts that `Entry` names, as `write` does."""
    write(connection, Entry(verb=verb, by=by, **facts))


def write(connection: Connection, entry: Entry) -> None:
    """Write an entry into the transaction of its decision. Call it last: it holds the end of the log until the commit.

    Raises ValueError for a verb that is none of VERBS, and SQLAlchemyError: the decision must not be committed then. A
    repeat writes another entry.
    """
    if entry.verb not in VERBS:
        raise ValueError(entry.verb)
    connection.execute(ONE_MORE)
    number, before = connection.execute(END).one()
    row = {"id": number, "at": utcnow(), **_origin(), **_facts(entry)}
    connection.execute(insert(LogEntry), row | {"hash": hash_of(row, before or FIRST)})


def hash_of(row: Mapping[str, Any] | Row[Any], before: str) -> str:
    """Return the hash of a row, whose predecessor has the hash `before`."""
    cells = row if isinstance(row, Mapping) else row._mapping
    return sha256(json.dumps([before, *(_plain(cells[name]) for name in SEALED)]).encode()).hexdigest()


def _origin() -> dict[str, Any]:
    if has_request_context():
        return {"origin": CONSOLE, "address": (request.remote_addr or "")[:ADDRESS_LENGTH] or None}
    return {"origin": _process, "address": None}


def _facts(entry: Entry) -> dict[str, Any]:
    facts = {"actor_id": entry.by, "verb": entry.verb, "coupon_id": entry.coupon, "user_id": entry.user}
    values = {"before": _json(entry.before), "after": _json(entry.after)}
    return facts | values | {"reason": entry.reason or None}


def _json(values: Mapping[str, Any] | None) -> str | None:
    if not values:
        return None
    return json.dumps(
        {name: _short(value) for name, value in values.items()}, default=_plain, ensure_ascii=False
    )


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return {"characters": len(value), "sha256": sha256(value.encode()).hexdigest()}
    return value


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
