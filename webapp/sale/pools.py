"""Decisions of operators about a coupon's pool of codes of its own. SQL commits first, and Redis is told afterwards."""

from dataclasses import dataclass
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import Connection, Row, func, select, update

from webapp.accounts.roles import CHANGE, RIGHTS
from webapp.log import record
from webapp.models import DRAFT, Coupon, CouponIssue, CouponRow, PoolCode, Revocation, Upload, utcnow
from webapp.models.uploads import CHECKED, COUNTED, WITHDRAWN
from webapp.proposals.rule import Deed, second_person
from webapp.sale import publishing, two_people, uploads
from webapp.sale.coupons import InvalidField, refuse_archived
from webapp.sale.drawing import CODES
from webapp.sale.lists import NotCounted
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.pool_file import forget_withdrawn
from webapp.stores.sql import db

MEANWHILE = _("Somebody has changed the codes of this coupon meanwhile. Look at them once more.")
"""Two operators at once: the second sees what the first has changed, and decides anew."""
OURS_GIVEN = _(
    "Coupons with codes of ours are given out already. Make a duplicate, and give it codes of your own."
)


@dataclass(frozen=True)
class Pool:
    """What a coupon's pool has: the codes in all, and those that nobody has been given."""

    codes: int
    left: int
    short: int
    """How many coupons of the quota have no code."""

    @property
    def given(self) -> int:
        return self.codes - self.left


def pool_of(coupon: Coupon | CouponRow) -> Pool | None:
    """Return the figures of the coupon's pool; None when we draw its codes."""
    if coupon.pool_left is None:
        return None
    with db.engine.connect() as connection:
        codes = connection.scalar(select(func.sum(Upload.good)).where(*_counts_for(coupon.id)))
    return Pool(int(codes or 0), coupon.pool_left, missing_codes(coupon))


def missing_codes(coupon: Coupon | CouponRow) -> int:
    """Return how many coupons of the quota have no code; 0 without a pool, and where the pool is the quota."""
    if coupon.pool_left is None or coupon.total_quantity is None:
        return 0
    return max(0, int(coupon.total_quantity - coupon.issued_quantity - coupon.pool_left))


def files_of(coupon_id: int) -> list[Row[Any]]:
    """Return the files that make the pool, in the order in which their codes are given."""
    with db.engine.connect() as connection:
        return list(connection.execute(select(Upload).where(*_counts_for(coupon_id)).order_by(Upload.id)))


def told(files: list[Row[Any]]) -> str:
    """Return the files of a pool as a text that can be compared: what another operator changes, changes it."""
    return f"{len(files)} {files[-1].id if files else 0}"


def is_untouched(coupon: Coupon | CouponRow, upload: Upload | Row[Any]) -> bool:
    """Whether no code of the file was given: then it can be taken out again."""
    return bool(coupon.pool_upload_id < upload.id)


def lengths_of(upload_id: int) -> tuple[int, int]:
    """Return the lengths of the shortest and of the longest code of a file."""
    sizes = select(func.min(func.length(PoolCode.code)), func.max(func.length(PoolCode.code)))
    with db.engine.connect() as connection:
        shortest, longest = connection.execute(sizes.where(PoolCode.upload_id == upload_id)).one()
    return shortest or 0, longest or 0


def count_codes(
    upload_id: int, *, by: int | None, seen: str | None = None, confirms: int | None = None
) -> None:
    """Put the codes of a checked file into the pool, behind those that are in it. They count at once.

    Who stands in standby for lack of codes is served. A repeat changes nothing. `seen` are the files of the pool as
    the operator saw them (`told`), and `confirms` is the id of the proposal that this confirms. Raises Waits, and
    changes nothing, when another operator has to confirm it; NotCounted, and InvalidField where a rule refuses it:
    nothing is changed; redis.RedisError or Refused after the commit: the change stands, and the sweeper tells Redis.
    """
    upload = _codes_in(upload_id)
    with locked_coupon(upload.coupon_id or 0) as lock:
        state = lock.connection.scalar(select(Upload.state).where(Upload.id == upload_id))
        if lock.coupon is None or state not in (CHECKED, COUNTED):
            raise NotCounted(upload_id)
        if state == COUNTED and confirms is None:
            return
        _refuse(lock, upload, seen)
        both = _second_operator(lock, upload, by, confirms)
        counted = {"state": COUNTED, "counted_by": by, "counted_at": utcnow()}
        mine = update(Upload).where(Upload.id == upload_id, Upload.state == CHECKED)
        if not lock.connection.execute(mine.values(**counted)).rowcount:
            raise NotCounted(upload_id)  # whoever forgets old files was first
        _change(lock, (lock.coupon.pool_left or 0) + upload.good)
        _log(lock, "count codes", upload, by, **both)
        lock.commit()
    publishing.publish(upload.coupon_id or 0)


def withdraw_codes(upload_id: int, *, by: int | None, seen: str | None = None) -> None:
    """Take a file out of the pool again, if no code of it was given, or throw one away that was only checked.

    A draft without any file has its codes drawn by us again; a coupon that has gone live has none to give then. A
    repeat changes nothing. Raises as `count_codes` does.
    """
    upload = _codes_in(upload_id)
    with locked_coupon(upload.coupon_id or 0) as lock:
        state = lock.connection.scalar(select(Upload.state).where(Upload.id == upload_id))
        if lock.coupon is None:
            raise NotCounted(upload_id)
        if state == COUNTED:
            _refuse_if_changed(lock, seen)
            refuse_archived(lock.coupon)
            if not is_untouched(lock.coupon, upload):
                raise InvalidField(
                    "upload", _("Codes of this file are given out already: it stays in the pool.")
                )
        if state in (CHECKED, COUNTED):
            lock.connection.execute(update(Upload).where(Upload.id == upload_id).values(state=WITHDRAWN))
        if state == COUNTED:
            files = lock.connection.scalar(select(func.count()).where(*_counts_for(lock.coupon.id)))
            last = lock.coupon.status == DRAFT and not files
            _change(lock, None if last else lock.coupon.pool_left - upload.good)
            _log(lock, "withdraw codes", upload, by)
        lock.commit()
    publishing.publish(upload.coupon_id or 0)
    forget_withdrawn()


def _codes_in(upload_id: int) -> Upload:
    upload = uploads.upload_by_id(upload_id)
    if upload is None or upload.kind != CODES or upload.coupon_id is None:
        raise NotCounted(upload_id)
    return upload


def _counts_for(coupon_id: int) -> tuple[Any, ...]:
    return Upload.coupon_id == coupon_id, Upload.kind == CODES, Upload.state == COUNTED


def _change(lock: CouponLock, left: int | None) -> None:
    lock.connection.execute(update(Coupon).where(Coupon.id == lock.coupon.id).values(pool_left=left))


def seen_with_files(coupon: CouponRow, files: list[Row[Any]]) -> str:
    """Return a digest of what operators decide about a coupon and its pool."""
    return two_people.seen_of(coupon, told(files))


def _second_operator(
    lock: CouponLock, upload: Upload, by: int | None, confirms: int | None
) -> dict[str, Any]:
    """Let the codes of a file be counted, or have them wait, as `webapp.proposals.rule.second_person` does."""
    coupon = lock.coupon
    if confirms is None and not two_people.pool_is_quota(coupon):
        return {}
    files = list(lock.connection.execute(select(Upload).where(*_counts_for(coupon.id)).order_by(Upload.id)))
    facts = {"coupon": coupon.id, "arguments": {"upload": upload.id}, "seen": seen_with_files(coupon, files)}
    told_codes = {"upload": upload.id, "codes": upload.good}
    deed = Deed(verb="count codes", roles=RIGHTS[CHANGE], told=told_codes, **facts)
    return second_person(lock.connection, deed, by=by, confirms=confirms, commit=lock.commit)


def _log(lock: CouponLock, verb: str, upload: Upload, by: int | None, **both: Any) -> None:
    facts = {"upload": upload.id, "codes": upload.good, **both}
    record(lock.connection, verb, by=by, coupon=lock.coupon.id, after=facts)


def _refuse(lock: CouponLock, upload: Upload, seen: str | None) -> None:
    """Raises InvalidField when the file cannot join the pool."""
    coupon, connection = lock.coupon, lock.connection
    refuse_archived(coupon)
    _refuse_if_changed(lock, seen)
    newest = connection.scalar(select(func.max(Upload.id)).where(*_counts_for(coupon.id))) or 0
    if newest > upload.id:
        # The codes are given in the order of the files: what stands behind the last one given would never be.
        raise InvalidField("upload", _("A later file is in the pool already. Send this one once more."))
    if coupon.pool_left is None:
        _refuse_to_begin(lock, upload)


def has_given_ours(coupon: Coupon | CouponRow, connection: Connection | None = None) -> bool:
    """Whether somebody has, or had, a code of the coupon that we have drawn: then no pool can begin any more."""
    if coupon.pool_left is not None:
        return False
    if connection is None:
        with db.engine.connect() as own:
            return has_given_ours(coupon, own)
    mine = (select(table.id).where(table.coupon_id == coupon.id) for table in (CouponIssue, Revocation))
    return any(connection.scalar(each.limit(1)) is not None for each in mine)


def _refuse_to_begin(lock: CouponLock, upload: Upload) -> None:
    """A pool begins while no code of ours was given, and at once with enough of them where it has gone live."""
    coupon = lock.coupon
    if has_given_ours(coupon, lock.connection):
        raise InvalidField("upload", OURS_GIVEN)
    if coupon.status != DRAFT and (coupon.total_quantity or 0) > upload.good:
        raise InvalidField(
            "upload",
            _(
                "It has gone live with a quota of %(quota)s, and the file has %(good)s codes. Bring them all at"
                " once, or lower the quota first.",
                quota=f"{coupon.total_quantity:,}",
                good=f"{upload.good:,}",
            ),
        )


def _refuse_if_changed(lock: CouponLock, seen: str | None) -> None:
    if seen is None:
        return
    files = lock.connection.execute(
        select(Upload).where(*_counts_for(lock.coupon.id)).order_by(Upload.id)
    ).all()
    if told(list(files)) != seen:
        raise InvalidField("upload", MEANWHILE)
