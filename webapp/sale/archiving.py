"""The archive: what is over, or was never published, leaves the lists, and nothing of it is lost."""

from flask_babel import lazy_gettext as _
from sqlalchemy import update

from webapp.models import CLOSED, DRAFT, Coupon, CouponRow, utcnow
from webapp.sale.coupons import InvalidField
from webapp.sale.locking import locked_coupon


def archive(coupon_id: int, *, by: int | None) -> None:
    """Take a coupon out of the lists, under its lock; people who hold it keep it, and nobody can change it.

    `by` is the operator, None for a command. A repeat changes nothing. Raises LookupError for an unknown coupon, and
    InvalidField for one that people can still get.
    """
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise LookupError(coupon_id)
        if not can_be_archived(lock.coupon):
            raise InvalidField("status", _("People can still get this coupon. Close it first."))
        now = {"archived_at": lock.coupon.archived_at or utcnow()}
        lock.connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(**now))
        lock.commit()


def unarchive(coupon_id: int, *, by: int | None) -> None:
    """Put a coupon into the lists again, as it was; a repeat changes nothing. Raises LookupError."""
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise LookupError(coupon_id)
        lock.connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(archived_at=None))
        lock.commit()


def can_be_archived(coupon: Coupon | CouponRow) -> bool:
    """Whether nobody can get the coupon: it is a draft, it was closed, or its period is over."""
    return coupon.status in (DRAFT, CLOSED) or bool(coupon.issue_end_at <= utcnow())
