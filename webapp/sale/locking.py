"""The lock of a coupon, as a value: a function that needs it takes it, and only `locked_coupon` gives it out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, select, update

from webapp.models import Coupon, CouponRow
from webapp.stores.sql import db

_KEY = object()


class NotLocked(RuntimeError):
    """Something needs a coupon's lock that is not held, or is held no more."""


class CouponLock:
    """The held lock of one coupon: its transaction, and its row as the last holder left it.

    `coupon` is None when there is no such coupon. The lock is held until `commit`, or until the block of
    `locked_coupon` ends; from then on `connection` and `coupon` raise NotLocked.
    """

    def __init__(self, connection: Connection, coupon: CouponRow | None, *, key: object = None) -> None:
        if key is not _KEY:
            raise NotLocked("only locked_coupon gives out the lock of a coupon")
        self._connection, self._coupon = connection, coupon
        self._held = True

    @property
    def connection(self) -> Connection:
        self._raise_unless_held()
        return self._connection

    @property
    def coupon(self) -> Any:
        self._raise_unless_held()
        return self._coupon

    def commit(self) -> None:
        """Commit what was done under the lock, and give it back."""
        self.connection.commit()
        self._held = False

    def give_back(self) -> None:
        self._held = False

    def _raise_unless_held(self) -> None:
        if not self._held:
            raise NotLocked("the lock of the coupon was given back")


@contextmanager
def locked_coupon(coupon_id: int) -> Iterator[CouponLock]:
    """Open a transaction that holds the coupon's row; roll it back unless the caller commits.

    Raising the revision is taking the lock: a row lock on MySQL, the write lock on SQLite. Everything that is read
    afterwards, in SQL or in Redis, is as the last holder left it, with the revision raised.
    """
    with db.engine.connect() as connection:
        connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(revision=Coupon.revision + 1))
        coupon = connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one_or_none()
        lock = CouponLock(connection, coupon, key=_KEY)
        try:
            yield lock
        finally:
            lock.give_back()
