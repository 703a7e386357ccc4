"""The archive: what is over, or was never published, leaves the lists, and nothing of it is lost."""

from flask_babel import lazy_gettext as _
from sqlalchemy import update

from webapp.log import record
from webapp.models import CLOSED, DRAFT, Coupon, CouponRow, utcnow
from webapp.sale.coupons import InvalidField
from webapp.sale.waves import locked_waves


def archive(coupon_id: int, *, by: int | None) -> None:
    """Take a coupon out of the lists, with all waves of its campaign, under their locks.

    People who hold it keep it, and nobody can change it. `by` is the operator, None for a command. A repeat changes
    nothing. Raises LookupError for an unknown coupon, and InvalidField for one that people can still get.
    """
    with locked_waves(coupon_id) as (lock, rows):
        if not all(map(can_be_archived, rows)):
            raise InvalidField("status", _("People can still get this coupon. Close it first."))
        ids = [row.id for row in rows if row.archived_at is None]
        lock.connection.execute(update(Coupon).where(Coupon.id.in_(ids)).values(archived_at=utcnow()))
        if ids:
            record(lock.connection, "archive", by=by, coupon=lock.coupon.id, after={"coupons": ids})
        lock.commit()


def unarchive(coupon_id: int, *, by: int | None) -> None:
    """Put a coupon into the lists again, as it was, with all waves of its campaign. A repeat changes nothing.

    `by` is the operator, None for a command. Raises LookupError.
    """
    with locked_waves(coupon_id) as (lock, rows):
        ids = [row.id for row in rows if row.archived_at is not None]
        lock.connection.execute(update(Coupon).where(Coupon.id.in_(ids)).values(archived_at=None))
        if ids:
            record(lock.connection, "unarchive", by=by, coupon=lock.coupon.id, after={"coupons": ids})
        lock.commit()


def can_be_archived(coupon: Coupon | CouponRow) -> bool:
    """Whether nobody can get the coupon: it is a draft, it was closed, or its period is over."""
    return coupon.status in (DRAFT, CLOSED) or bool(coupon.issue_end_at <= utcnow())
