"""What is promised of a pause: it says the same in both stores, and resuming gives back what it took, if asked to."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.simulation.reading import Books, Row, Seen

if TYPE_CHECKING:
    from tests.simulation.actors import Actor

EXTENDS = "and extends it"
"""What an operator does who resumes and gives the time back, as the history says it."""


def of_a_pause(
    actor: "Actor | None", had: Books, books: Books, *, since_ms: int, now_ms: int
) -> Iterator[str]:
    """Judge a change of SQL by who has had the lock since then: a pause begins once, and its end is fair."""
    was, row = had.row, books.row
    if was.status == row.status == "paused" and row.paused_at != was.paused_at:
        yield "a pause that goes on begins anew"
    if was.status == "paused" and row.status == "live":
        asked = actor is not None and EXTENDS in actor.name
        moved = ms_of(row.ends_at) - ms_of(was.ends_at)
        least, most = (taken_ms(was, at) if asked else 0 for at in (since_ms, now_ms))
        if not least - 1 <= moved <= most + 1:
            yield f"a pause took {most} ms of the period, and the end moves by {moved} ms"


def taken_ms(row: Row, until_ms: int) -> int:
    """Return what a pause has taken of the period until then."""
    return 0 if row.paused_at is None else max(0, until_ms - max(ms_of(row.paused_at), ms_of(row.opens_at)))


def as_told(seen: Seen, books: Books) -> Iterator[str]:
    """A gate that has heard of the last change says what the pause says, and nothing without one."""
    if not seen.trusted or int(seen.gate["revision"]) != books.row.revision:
        return
    told = json.loads(seen.gate["pause"] or "null")
    row = books.row
    promised = row.promised_at and ms_of(row.promised_at)
    due = (
        [row.pause_template, promised]
        if row.status == "paused" and (row.pause_template or promised)
        else None
    )
    if (told and [told[0], told[-1]]) != due:
        yield f"the pause says {due}, and the line has heard {told}"


def ms_of(moment: Any) -> int:
    """Return a time in ms as the database gives it: SQLite in a text, MariaDB as a time."""
    read = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return round(read.replace(tzinfo=UTC).timestamp() * 1000)
