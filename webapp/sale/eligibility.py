"""Eligibility at admission: the users who were decided already, and the rules that bar a user from every coupon.

Who may have this coupon, `webapp.sale.audience` says.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, select

from webapp.models import CouponIssue, CouponRow, LineEvent, User

IDS: Any = bindparam("ids", expanding=True, literal_execute=True)
"""User ids in an IN; they are integers, and written into the statement as they are."""

OTHER_WAVE = "has one of another wave"
"""The reason of a rejection, as `line_events` and the results keep it."""


@dataclass(frozen=True)
class Rule:
    """A reason not to give somebody a coupon, and the question to SQL that finds them among some user ids.

    `constraint` names the constraint of `coupon_issues` that refuses a row for such a user. A batch that is trusted
    does not ask for a rule that has one: without it the rule would be skipped in silence. So a new rule has none,
    unless a test of tests/sale/test_eligibility.py sees the database refuse the row.
    """

    reason: str
    found_among: Callable[[Connection, Collection[int]], Collection[int]]
    constraint: str | None = None


def _blocked(connection: Connection, ids: Collection[int]) -> Collection[int]:
    # The driver gets the statement as it is: SQLAlchemy takes longer to write it than the database to answer.
    among = ",".join(map(str, [0, *ids]))  # nobody is number 0, and the list is never empty
    held_back = f"SELECT id FROM users WHERE blocked_at IS NOT NULL AND id IN ({among})"
    return connection.exec_driver_sql(held_back).scalars().all()


def _deleted(connection: Connection, ids: Collection[int]) -> Collection[int]:
    known = select(User.id).where(User.id.in_(IDS))
    return set(ids) - set(connection.scalars(known, {"ids": list(ids)}))


RULES = (
    Rule("blocked", _blocked),
    Rule("deleted", _deleted, constraint="FOREIGN KEY (user_id)"),
)
"""In this order: the first rule that finds a user gives the reason."""


def barred_among(connection: Connection, ids: Collection[int], *, all_rules: bool) -> dict[int, str]:
    """Return the users whom a rule bars, with its reason, by user id.

    Without `all_rules` those that a constraint stands behind are left out.
    """
    asked = [rule for rule in RULES if all_rules or rule.constraint is None]
    barred: dict[int, str] = {}
    for rule in asked:
        for user_id in rule.found_among(connection, ids):
            barred.setdefault(user_id, rule.reason)
    return barred


def holders_among(connection: Connection, coupon_id: int, ids: Collection[int]) -> dict[int, tuple[int, str]]:
    """Return number and code of the users who hold the coupon already, by user id.

    The unique constraint on coupon and user stands behind it.
    """
    rows = connection.execute(
        select(CouponIssue.user_id, CouponIssue.ticket_number, CouponIssue.code).where(
            CouponIssue.coupon_id == coupon_id, CouponIssue.user_id.in_(IDS)
        ),
        {"ids": list(ids)},
    )
    return {user_id: (number, code) for user_id, number, code in rows}


def holders_elsewhere(connection: Connection, coupon: CouponRow, ids: Collection[int]) -> dict[int, str]:
    """Return the users who hold one of another wave of a campaign that gives one each, with the reason, by user id.

    The unique index on campaign and user stands behind it. A coupon without waves asks nothing.
    """
    if not coupon.one_per_campaign:
        return {}
    held = select(CouponIssue.user_id).where(
        CouponIssue.campaign_id == coupon.campaign_id,
        CouponIssue.user_id.in_(IDS),
        CouponIssue.coupon_id != coupon.id,
    )
    return dict.fromkeys(connection.scalars(held, {"ids": list(ids)}), OTHER_WAVE)


def rejected_among(
    connection: Connection, coupon_id: int, ids: Collection[int]
) -> dict[int, tuple[int, str]]:
    """Return number and reason of the users whom this coupon has rejected already, by user id.

    No constraint stands behind it, so every batch asks; whether there is any rejection is asked first, which is quick.
    """
    rejections = select(LineEvent.user_id, LineEvent.ticket_number, LineEvent.reason).where(
        LineEvent.coupon_id == coupon_id, LineEvent.kind == "rejected", LineEvent.user_id.is_not(None)
    )
    if connection.execute(rejections.limit(1)).one_or_none() is None:
        return {}
    among = rejections.where(LineEvent.user_id.in_(IDS)).order_by(LineEvent.id)
    rows: Any = connection.execute(among, {"ids": list(ids)})
    return {user_id: (number, reason) for user_id, number, reason in rows}
