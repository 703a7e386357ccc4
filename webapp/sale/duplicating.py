"""A campaign once more: a draft with everything that another coupon says, and a new period."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from webapp.log import record
from webapp.models import DRAFT, Coupon, CouponRow, CouponText
from webapp.sale.coupons import FIELDS, new_row
from webapp.sale.list_copies import copied_list
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.submissions import Sent, raise_if_sent_before
from webapp.sale.submissions import record as record_sent
from webapp.stores.sql import db

OWN = frozenset(
    {
        *("id", "created_at", "archived_at", "status", "rehearsal"),
        *("issue_start_at", "issue_end_at", "valid_until"),
        *("campaign_id", "one_per_campaign", "rolls_over", "rolled_in", "rolled_out"),
        *("paused_at", "promised_at", "pause_template", "pause_ko", "pause_en"),
        *("pool_left", "pool_upload_id", "pool_line"),
        *("issued_quantity", "epoch", "epoch_mark", "revision", "last_number", "audience_after"),
    }
)
"""The columns that a duplicate has of its own. It takes all others, also those that are added later."""


def duplicate_coupon(
    coupon_id: int, *, opens_at: datetime, closes_at: datetime, by: int | None, sent: Sent | None = None
) -> int:
    """Make a draft that says, gives and is for whom the coupon is, and return its id. The coupon stays as it is.

    Its list is copied before, while nobody waits, and is whole when the draft is there. A coupon that is valid for so
    long after its end makes a duplicate that is so, too. `by` is the operator, None for a command. Raises LookupError
    for an unknown coupon, InvalidField for a period that is none or a list that somebody has changed meanwhile, and
    SentBefore when the form that was `sent` has made a duplicate already: nothing is made then.
    """
    if sent:
        raise_if_sent_before(sent)
    with db.engine.connect() as connection:
        model = connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one_or_none()
    if model is None:
        raise LookupError(coupon_id)
    _values(model, opens_at, closes_at)  # what is no period is said before a list is copied
    try:
        with copied_list(model, by=by) as copies, locked_coupon(coupon_id) as lock:
            if lock.coupon is None:
                raise LookupError(coupon_id)
            made = insert_copy(lock, _values(lock.coupon, opens_at, closes_at))
            copies.give(lock, made)
            if sent:
                record_sent(lock.connection, sent, made)
            record(lock.connection, "duplicate coupon", by=by, coupon=made, after={"of": coupon_id})
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
    theirs = select(*(getattr(CouponText, name) for name in names)).where(CouponText.coupon_id == coupon_id)
    if rows := connection.execute(theirs).mappings().all():
        connection.execute(insert(CouponText), [{"coupon_id": made, **row} for row in rows])


COPIES: tuple[Callable[[Connection, int, int], None], ...] = (_copy_texts,)
"""What a duplicate takes besides its row and its list: each copies rows of one table to the one that was made."""
