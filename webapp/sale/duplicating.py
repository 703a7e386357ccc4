"""A campaign once more: a draft with everything that another coupon says, and a new period."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, literal, select
from sqlalchemy.exc import IntegrityError

from webapp.models import DRAFT, Coupon, CouponRow, CouponText
from webapp.sale.coupons import FIELDS, new_row
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.submissions import Sent, raise_if_sent_before, record

OWN = frozenset(
    {
        *("id", "created_at", "archived_at", "status", "rehearsal"),
        *("issue_start_at", "issue_end_at", "valid_until"),
        *("campaign_id", "one_per_campaign", "rolls_over", "rolled_in", "rolled_out"),
        *("issued_quantity", "epoch", "epoch_mark", "revision", "last_number", "audience_after"),
    }
)
"""The columns that a duplicate has of its own. It takes all others, also those that are added later."""


def duplicate_coupon(
    coupon_id: int, *, opens_at: datetime, closes_at: datetime, by: int | None, sent: Sent | None = None
) -> int:
    """Make a draft that says and gives what the coupon does, and return its id. The coupon stays as it is.

    A coupon that is valid for so long after its end makes a duplicate that is so, too. `by` is the operator, None for a
    command. Raises LookupError for an unknown coupon, InvalidField for a period that is none, and SentBefore when the
    form that was `sent` has made a duplicate already: nothing is made then.
    """
    try:
        with locked_coupon(coupon_id) as lock:
            if lock.coupon is None:
                raise LookupError(coupon_id)
            made = insert_copy(lock, _values(lock.coupon, opens_at, closes_at))
            if sent:
                record(lock.connection, sent, made)
            lock.commit()
    except IntegrityError:
        if sent:
            raise_if_sent_before(sent)
        raise
    return made


def _values(coupon: CouponRow, opens_at: datetime, closes_at: datetime) -> dict[str, Any]:
    until = coupon.valid_until
    return draft_like(
        coupon,
        issue_start_at=opens_at,
        issue_end_at=closes_at,
        valid_until=until and closes_at + (until - coupon.issue_end_at),
    )


def draft_like(coupon: CouponRow, **own: Any) -> dict[str, Any]:
    """Return the columns of a draft like the coupon, but for what is its own. Raises InvalidField."""
    taken = {name: value for name, value in coupon._mapping.items() if name not in OWN}
    judged = {name: value for name, value in (taken | own).items() if name in FIELDS}
    return taken | new_row(judged | {"status": DRAFT})


def insert_copy(lock: CouponLock, values: dict[str, Any]) -> int:
    """Insert a row with the texts of the locked coupon, and return its id."""
    made = int(lock.connection.execute(insert(Coupon).values(**values)).lastrowid)
    for copy in COPIES:
        copy(lock.connection, lock.coupon.id, made)
    return made


def _copy_texts(connection: Connection, coupon_id: int, made: int) -> None:
    names = [column.name for column in CouponText.__table__.columns if column.name != "coupon_id"]
    theirs = select(literal(made), *(getattr(CouponText, name) for name in names))
    rows = theirs.where(CouponText.coupon_id == coupon_id)
    connection.execute(insert(CouponText).from_select(["coupon_id", *names], rows))


COPIES: tuple[Callable[[Connection, int, int], None], ...] = (_copy_texts,)
"""What a duplicate takes besides its row: each copies rows of one table from a coupon to the one that was made."""
