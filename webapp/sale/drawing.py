"""The codes of a batch: drawn by us, or the next ones of the coupon's pool, in the order in which they were uploaded.

A pool has one cursor, the last code that was given. It moves in the transaction that writes the issues, under the
coupon's lock: whoever dies has given all of them or none, and no code is given twice.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from webapp.models import CouponIssue, PoolCode, Revocation, Upload, UploadFault
from webapp.models.uploads import COUNTED
from webapp.sale.codes import new_codes
from webapp.sale.locking import CouponLock

log = logging.getLogger(__name__)
CODES = "codes"
"""The kind of an upload of codes."""
GIVEN = "given"
"""The fault of a code of the pool that somebody held already when its turn came."""


@dataclass(frozen=True)
class Drawn:
    """The codes for a batch in their order; of a pool also how many it has left with them."""

    codes: Sequence[str]
    left: int | None = None

    def taken(self, connection: Connection, count: int) -> dict[str, Any]:
        """Return the columns of the coupon after so many of them were given."""
        if self.left is None:
            return {}
        moved = _place_of(connection, self.codes[count - 1]) if count else {}
        return {"pool_left": self.left - count, **moved}


def draw(lock: CouponLock, count: int, *, trusting: bool) -> Drawn:
    """Return `count` codes, or the last ones of a pool. Without `trusting` those in use are set aside."""
    left = lock.coupon.pool_left
    if left is None:
        return Drawn(new_codes(count))
    codes = next_codes(lock, min(count, left))
    if len(codes) < min(count, left):
        # These are all that there are: with a count that is too high nobody would ever be sold out.
        log.error("coupon %s counts %s codes in its pool, and there are %s", lock.coupon.id, left, len(codes))
        left = len(codes)
    if not trusting:
        given = _set_aside(lock, codes)
        left, codes = left - len(given), [code for code in codes if code not in given]
    return Drawn(codes, left)


def next_codes(lock: CouponLock, count: int) -> list[str]:
    """Return the next codes of the pool, `count` at most: one range of its file, seldom of two.

    Nothing is read but the codes: a second column takes the driver as long again.
    """
    coupon, found = lock.coupon, list[str]()
    files = select(Upload.id).where(
        Upload.coupon_id == coupon.id,
        Upload.kind == CODES,
        Upload.state == COUNTED,
        Upload.id >= coupon.pool_upload_id,
    )
    for upload_id in lock.connection.scalars(files.order_by(Upload.id)).all():
        after = coupon.pool_line if upload_id == coupon.pool_upload_id else 0
        of_file = select(PoolCode.code).where(PoolCode.upload_id == upload_id)
        behind = of_file.where(PoolCode.line > after).order_by(PoolCode.line)
        if len(found) < count:
            found += lock.connection.scalars(behind.limit(count - len(found)))
    return found


def _place_of(connection: Connection, code: str) -> dict[str, int]:
    """Return where a code stands, as the columns of the cursor."""
    place = select(PoolCode.upload_id, PoolCode.line).where(PoolCode.code == code)
    upload_id, line = connection.execute(place).one()
    return {"pool_upload_id": upload_id, "pool_line": line}


def _set_aside(lock: CouponLock, codes: Sequence[str]) -> set[str]:
    """Take those out of the pool that somebody holds or held, leave a trace of each, and return them.

    A constraint has refused the batch; such a code would refuse every batch to come.
    """
    given: set[str] = set()
    for table in (CouponIssue, Revocation):
        given.update(lock.connection.scalars(select(table.code).where(table.code.in_(codes))))
    in_pool = PoolCode.code.in_(given)
    places = select(PoolCode.upload_id, PoolCode.line, PoolCode.code).where(in_pool)
    for upload_id, line, code in lock.connection.execute(places).all():
        log.warning("a code of the pool of coupon %s is in use: line %s", lock.coupon.id, line)
        trace = {"upload_id": upload_id, "line": line, "kind": GIVEN, "text": code}
        lock.connection.execute(insert(UploadFault).values(**trace))
        fewer = {"good": Upload.good - 1, "duplicates": Upload.duplicates + 1}
        lock.connection.execute(update(Upload).where(Upload.id == upload_id).values(**fewer))
    lock.connection.execute(delete(PoolCode).where(in_pool))
    return given
