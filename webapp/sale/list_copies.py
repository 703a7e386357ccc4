"""A list once more, for a duplicate and for each wave.

A list may name a million people, and nobody waits for them: they are copied some thousands a transaction, under
uploads that count for nothing, before anybody holds a lock. The transaction that makes a coupon makes them count. What
was given to nobody is taken away again, and by `webapp.sale.uploads` where a process has died.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, select, update

from webapp.models import LIST, CouponRow, ListedPerson, Upload, utcnow
from webapp.models.uploads import COUNTED, READING
from webapp.sale import uploads
from webapp.sale.audience import PEOPLE, counts_for
from webapp.sale.coupons import InvalidField
from webapp.sale.lists import MEANWHILE
from webapp.sale.locking import CouponLock
from webapp.stores.sql import db

COPY = "copy"
"""The kind of an upload whose people were copied and do not count."""
PAUSE_S = 0.01
"""Between two transactions: SQLite has one writer, and those of other processes ask every 3 ms whether it is gone."""


class ListCopies:
    """Copies of the list of one coupon, as it was at an audience version: each is the ids of its uploads."""

    def __init__(self, coupon: CouponRow, by: int | None) -> None:
        self.coupon, self.by = coupon, by
        self.copies: list[list[int]] = []

    def give(self, lock: CouponLock, coupon_id: int) -> None:
        """Give a copy to a coupon, in the transaction that holds the model.

        Raises InvalidField when somebody has changed the list since it was copied.
        """
        if lock.coupon.audience_version != self.coupon.audience_version:
            raise InvalidField("audience", MEANWHILE)
        if not self.copies:
            return
        counted = {"coupon_id": coupon_id, "kind": PEOPLE, "state": COUNTED, "counted_by": self.by}
        mine = update(Upload).where(Upload.id.in_(self.copies.pop()))
        lock.connection.execute(mine.values(**counted, counted_at=utcnow()))


@contextmanager
def copied_list(coupon: CouponRow, times: int = 1, *, by: int | None) -> Iterator[ListCopies]:
    """Copy the list of a coupon so many times, nothing for one that has none; what is not given is taken away."""
    copies, ids = ListCopies(coupon, by), list[int]()
    try:
        for _ in range(times if coupon.audience == LIST else 0):
            copies.copies.append(list(_copies(coupon.id, ids)))
        yield copies
    finally:
        _take_away(ids)


def _copies(coupon_id: int, ids: list[int]) -> Iterator[int]:
    with db.engine.connect() as connection:
        sources = connection.execute(select(Upload).where(*counts_for(coupon_id)).order_by(Upload.id)).all()
    for source in sources:
        names = ("coupon_id", "file_name", "why", "good", "known", "uploaded_by", "created_at")
        taken = {name: getattr(source, name) for name in names}
        with db.engine.begin() as connection:
            made = insert(Upload).values(**taken, kind=COPY, state=READING, percent=100)
            ids.append(int(connection.execute(made).lastrowid))
        copy_people(source.id, ids[-1])
        yield ids[-1]


def copy_people(source: int, made: int) -> None:
    """Copy the people of an upload to another one, some thousands a transaction."""
    last: str | None = ""
    while last is not None:
        with db.engine.begin() as connection:
            last = _copy_some(connection, source, made, last)
        time.sleep(PAUSE_S)


def _copy_some(connection: Connection, source: int, made: int, last: str) -> str | None:
    """Copy those that come next, and return the last of them; None when there are none."""
    left: Any = (ListedPerson.upload_id == source, ListedPerson.identifier > last)
    some = select(ListedPerson.identifier).where(*left).order_by(ListedPerson.identifier).limit(uploads.BATCH)
    end: str | None = connection.scalar(select(func.max(some.subquery().c.identifier)))
    if end is not None:
        people = select(literal(made), ListedPerson.identifier).where(*left, ListedPerson.identifier <= end)
        connection.execute(insert(ListedPerson).from_select(["upload_id", "identifier"], people))
    return end


def _take_away(ids: list[int]) -> None:
    idle = (Upload.id.in_(ids), Upload.kind == COPY)
    with db.engine.connect() as connection:
        left = connection.scalars(select(Upload.id).where(*idle)).all()
    for upload_id in left:
        uploads.remove_lines(upload_id)
    if left:
        with db.engine.begin() as connection:
            connection.execute(delete(Upload).where(*idle))
