"""Files that operators bring: read whole, checked line by line and kept beside what counts, until somebody decides.

Nothing of a file counts while it is read: its lines stand under the id of the upload. One short transaction makes them
count (`webapp.sale.lists`). A reading that broke off leaves lines that count for nothing, and that the next reading of
any file takes away.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, BinaryIO, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy import Row as FoundRow

from webapp.models import UploadFault, utcnow
from webapp.models.uploads import CHECKED, FAULT_LENGTH, FILE_NAME_LENGTH, READING, REFUSED, WITHDRAWN, Upload
from webapp.stores.sql import Base, db
from webapp.values.sheets import Row, Sheet, Unreadable
from webapp.values.texts import one_line

BATCH = 5000
"""Lines a transaction: SQLite has one writer at a time, and a claim's admission may be waiting."""
MOST_FAULTS = 100_000
"""Lines that are left out are kept up to this many, and counted beyond."""
SILENT = timedelta(minutes=2)
"""A reading that says nothing for so long has broken off."""
KEPT = timedelta(days=1)
"""How long lines are kept that do not count."""
DUPLICATE, COLUMNS = "duplicate", "columns"


class Entry(NamedTuple):
    """What a line names: the values of its row, the text by which a second one is a duplicate, and a warning or ""."""

    values: dict[str, Any]
    identity: str
    warning: str = ""


class Fault(NamedTuple):
    """Why a line is left out, and the text that it is about."""

    kind: str
    text: str


def keep_lines(connection: Connection, table: type[Base], rows: list[dict[str, Any]]) -> dict[int, Fault]:
    """Insert the good lines of a batch. Returns those that cannot be kept, by their lines: here there are none."""
    connection.execute(insert(table), rows)
    return {}


class Kind(NamedTuple):
    """A kind of upload: its columns by the names that people give them, and what becomes of a line."""

    name: str
    columns: Mapping[str, tuple[str, ...]]
    table: type[Base]
    read: Callable[[tuple[str, ...], int], Entry | Fault]
    judge: Callable[[int], Iterator[tuple[int, Fault]]] = lambda _upload_id: iter(())
    """Finds what only the whole of the lines can tell, by their numbers, and takes those lines away."""
    known: Callable[[int], int] = lambda _upload_id: 0
    """Counts the lines whose accounts exist."""
    make_room: Callable[[int | None], None] = lambda _coupon_id: None
    """Is called before a file of a coupon comes, and may refuse it with InvalidField."""
    clear: Callable[[], None] = lambda: None
    """Removes the lines of files that gave way, before a file is read."""
    keep: Callable[[Connection, type[Base], list[dict[str, Any]]], dict[int, Fault]] = keep_lines
    not_listed: frozenset[str] = frozenset()
    """The warnings that are counted, and not told line by line."""


class Counted(NamedTuple):
    good: int = 0
    duplicates: int = 0
    bad: int = 0
    warned: int = 0


def begin(kind: Kind, coupon_id: int | None, file_name: str, *, by: int | None) -> int:
    """Write down that a file comes, and return the id of the upload. Takes away what was left of files before.

    Raises InvalidField when its kind refuses a file now.
    """
    forget_old()
    kind.make_room(coupon_id)
    name = one_line(file_name.encode(errors="replace").decode())[-FILE_NAME_LENGTH:]
    values = {"kind": kind.name, "coupon_id": coupon_id, "file_name": name, "uploaded_by": by}
    with db.engine.begin() as connection:
        return int(connection.execute(insert(Upload).values(**values)).lastrowid)


def read(
    upload_id: int, kind: Kind, stream: BinaryIO, heard: Callable[[float], None] = lambda _share: None
) -> None:
    """Read a whole file; afterwards the upload is "checked", or "refused" with the reason. Nothing of it counts yet.

    `heard` is told now and then how much of the file was read, 0 to 1. Raises SQLAlchemyError: then it has broken off.
    """
    kind.clear()
    try:
        sheet = Sheet(stream)
        counted = _stage(upload_id, kind, sheet, heard)
        if not any(counted):
            raise Unreadable("no_rows")
    except Unreadable as error:
        _change(upload_id, state=REFUSED, why=error.why, line=error.line)
        _remove_lines(upload_id, kind.table)
        return
    counted = _judged(upload_id, kind, counted)
    state = CHECKED if counted.good else REFUSED
    why = None if counted.good else "nothing_good"
    cut = None if sheet.ends_with_a_line else "no_last_line_end"
    known = kind.known(upload_id)
    _change(upload_id, state=state, why=why or cut, percent=100, known=known, **counted._asdict())


def _stage(upload_id: int, kind: Kind, sheet: Sheet, heard: Callable[[float], None]) -> Counted:
    """Keep the good lines and the faults of a file, some thousands in each transaction."""
    seen: set[int] = set()
    good, faults, counted = [], [], Counted()
    for number, row in enumerate(sheet.rows(kind.columns), 1):
        found = _judge(row, kind, seen)
        if isinstance(found, Entry):
            good.append({"upload_id": upload_id} | found.values)
        if isinstance(found, Fault) or (found.warning and found.warning not in kind.not_listed):
            faults.append(_fault(upload_id, row.line, found))
        counted = _more(counted, found)
        if number % BATCH == 0:
            counted = _keep(upload_id, kind, good, faults, counted, sheet)
            heard(sheet.share)
            good, faults = [], []
    return _keep(upload_id, kind, good, faults, counted, sheet)


def _judge(row: Row, kind: Kind, seen: set[int]) -> Entry | Fault:
    if row.columns > len(kind.columns):
        return Fault(COLUMNS, ",".join(row.cells))
    found = kind.read(row.cells, row.line)
    if isinstance(found, Fault):
        return found
    # 64 bits tell a million texts apart, and take a third of the memory of the texts.
    mark = hash(found.identity)
    if mark in seen:
        return Fault(DUPLICATE, found.identity)
    seen.add(mark)
    return found


def _more(counted: Counted, found: Entry | Fault) -> Counted:
    if isinstance(found, Entry):
        return counted._replace(good=counted.good + 1, warned=counted.warned + bool(found.warning))
    name = "duplicates" if found.kind.startswith(DUPLICATE) else "bad"
    return counted._replace(**{name: getattr(counted, name) + 1})


def _keep(
    upload_id: int,
    kind: Kind,
    good: list[dict[str, Any]],
    faults: list[dict[str, Any]],
    counted: Counted,
    sheet: Sheet,
) -> Counted:
    """Keep the lines of a batch in one transaction, and return what was counted by then."""
    kept = counted.bad + counted.duplicates + counted.warned <= MOST_FAULTS
    with db.engine.begin() as connection:
        refused = kind.keep(connection, kind.table, good) if good else {}
        for line, fault in refused.items():
            faults.append(_fault(upload_id, line, fault))
            counted = _more(counted, fault)._replace(good=counted.good - 1)
        if faults and kept:
            connection.execute(insert(UploadFault), faults)
        # All is read before the last steps: 90 of 100 leaves them something.
        values = {"percent": int(90 * sheet.share), "heard_at": utcnow(), **counted._asdict()}
        connection.execute(update(Upload).where(Upload.id == upload_id).values(**values))
    time.sleep(0)
    return counted


def _judged(upload_id: int, kind: Kind, counted: Counted) -> Counted:
    """Have the whole of the lines judged, and count what was found."""
    faults = [_fault(upload_id, line, fault) for line, fault in kind.judge(upload_id)]
    duplicates = sum(fault["kind"].startswith(DUPLICATE) for fault in faults)
    for start in range(0, min(len(faults), MOST_FAULTS), BATCH):
        with db.engine.begin() as connection:
            connection.execute(insert(UploadFault), faults[start : start + BATCH])
    return counted._replace(
        good=counted.good - len(faults),
        duplicates=counted.duplicates + duplicates,
        bad=counted.bad + len(faults) - duplicates,
    )


def _fault(upload_id: int, line: int, found: Entry | Fault) -> dict[str, Any]:
    kind, text = (found.warning, found.identity) if isinstance(found, Entry) else found
    return {"upload_id": upload_id, "line": line, "kind": kind, "text": one_line(text)[:FAULT_LENGTH]}


def _change(upload_id: int, **values: Any) -> None:
    with db.engine.begin() as connection:
        # A file that was silent for too long may have given way to another one.
        mine = update(Upload).where(Upload.id == upload_id, Upload.state == READING)
        connection.execute(mine.values(heard_at=utcnow(), **values))


def upload_by_id(upload_id: int) -> Upload | None:
    found = db.session.scalar(select(Upload).where(Upload.id == upload_id))
    db.session.close()
    return found


def has_broken_off(upload: Upload | FoundRow[Any]) -> bool:
    return bool(upload.state == READING and upload.heard_at < utcnow() - SILENT)


def faults_of(upload_id: int, most: int | None = None) -> Iterator[UploadFault]:
    """Yield the lines that are left out or worth a look, in the order of the file."""
    last = (0, 0)
    while most is None or most > 0:
        after = (UploadFault.line > last[0]) | ((UploadFault.line == last[0]) & (UploadFault.id > last[1]))
        query = select(UploadFault).where(UploadFault.upload_id == upload_id, after)
        rows = db.session.scalars(
            query.order_by(UploadFault.line, UploadFault.id).limit(min(BATCH, most or BATCH))
        ).all()
        db.session.close()
        yield from rows
        if len(rows) < BATCH:
            return
        last = rows[-1].line, rows[-1].id


def forget_old() -> None:
    """Take away the lines of uploads that broke off, were refused, or were not made to count within a day."""
    idle = Upload.state.in_((READING, CHECKED, REFUSED)) & (Upload.heard_at < utcnow() - KEPT)
    with db.engine.begin() as connection:
        old = connection.scalars(select(Upload.id).where(idle)).all()
        # Asked once more: one of them may have been made to count meanwhile.
        connection.execute(update(Upload).where(Upload.id.in_(old), idle).values(state=WITHDRAWN))
        withdrawn = select(Upload.id).where(Upload.id.in_(old), Upload.state == WITHDRAWN)
        gone = connection.scalars(withdrawn).all()
    for upload_id in gone:
        remove_lines(upload_id)


def remove_lines(upload_id: int) -> None:
    """Remove every line and fault of an upload, some thousands at a time. A repeat changes nothing."""
    tables: list[type[Base]] = [UploadFault, *(kind.table for kind in KINDS.values())]
    for table in tables:
        _remove_lines(upload_id, table)


def _remove_lines(upload_id: int, table: type[Base]) -> None:
    columns: Any = table.__table__.c
    key = next(column for column in table.__table__.primary_key if column.name != "upload_id")
    while True:
        with db.engine.begin() as connection:
            of = columns.upload_id == upload_id
            some = select(key).where(of).order_by(key).limit(BATCH).subquery()
            last = connection.scalar(select(func.max(some.c[0])))
            if last is None:
                return
            connection.execute(delete(table).where(of, key <= last))


KINDS: dict[str, Kind] = {}
"""Every kind of upload, by its name."""


def register(kind: Kind) -> Kind:
    KINDS[kind.name] = kind
    return kind
