"""What operators decide: create a coupon and change it. Every rule of a coupon's fields is here."""

from datetime import datetime
from typing import Any

from flask_babel import lazy_gettext as _
from sqlalchemy import insert, select, update

from webapp.extensions import db
from webapp.issuing import locked_coupon, publish
from webapp.models import CLOSED, DRAFT, LIVE, PAUSED, STATUSES, Coupon

TITLE_LENGTH = 100
MOST = 1_000_000_000_000
"""The largest quantity or amount that is taken for meant."""
NEXT = {
    DRAFT: {DRAFT, LIVE},
    LIVE: {LIVE, PAUSED, CLOSED},
    PAUSED: {PAUSED, LIVE, CLOSED},
    CLOSED: {CLOSED, LIVE},
}
"""What a status may become: no step hides a published coupon again, or reopens a closed one but on purpose."""

FIELDS = frozenset(
    [
        "title",
        "total_quantity",
        "discount_amount",
        "min_available_amount",
        "issue_start_at",
        "issue_end_at",
        "valid_until",
        "status",
    ]
)


class PolicyError(ValueError):
    """A field that breaks a rule; the message is for people, in their language."""

    def __init__(self, field: str, message: Any) -> None:
        super().__init__(message)
        self.field = field

    def __str__(self) -> str:
        return str(self.args[0])


def create_coupon(*, rehearsal: bool = False, **fields: Any) -> int:
    """Create a coupon, open its line in Redis unless it is a draft, and return its id.

    Fields: title, issue_start_at, issue_end_at (aware datetimes); total_quantity (None = unlimited), discount_amount,
    min_available_amount (won), valid_until, status. Raises PolicyError and creates nothing when one breaks a rule.
    redis.RedisError after the commit leaves the coupon created, to be published by the sweeper; whoever needs its
    id then creates a draft first.
    """
    values = _with_defaults(fields)
    _validate(values, issued=0)
    with db.engine.begin() as connection:
        coupon_id = int(connection.execute(insert(Coupon).values(**values, rehearsal=rehearsal)).lastrowid)
    publish(coupon_id)
    return coupon_id


def change_coupon(coupon_id: int, **fields: Any) -> None:
    """Change fields of a coupon under its row lock, commit, and rewrite its gate.

    Raises LookupError for an unknown coupon, PolicyError when a field breaks a rule (also: a quota below what is
    issued already); then nothing is changed. A repeat changes nothing. When Redis does not answer after the commit,
    redis.RedisError is raised and the change stands: the sweeper writes the gate within seconds.
    """
    if unknown := fields.keys() - FIELDS:
        raise TypeError(f"unknown fields {sorted(unknown)}")
    with locked_coupon(coupon_id) as (connection, coupon):
        if coupon is None:
            raise LookupError(coupon_id)
        values = {name: getattr(coupon, name) for name in FIELDS} | fields
        _validate(values, issued=coupon.issued_quantity)
        if values["status"] not in NEXT[coupon.status]:
            raise PolicyError(
                "status", _("The coupon's status has changed meanwhile; this step is not possible now.")
            )
        connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(**values))
        connection.commit()
    publish(coupon_id)


def coupon_by_id(coupon_id: int) -> Coupon | None:
    """Return the coupon, detached: no SQL connection waits while Redis is asked, or the line made anew."""
    coupon = db.session.scalar(select(Coupon).where(Coupon.id == coupon_id))
    db.session.close()
    return coupon


def _with_defaults(fields: dict[str, Any]) -> dict[str, Any]:
    defaults = {
        "total_quantity": None,
        "discount_amount": 0,
        "min_available_amount": 0,
        "valid_until": None,
        "status": LIVE,
    }
    if unknown := fields.keys() - FIELDS:
        raise TypeError(f"unknown fields {sorted(unknown)}")
    return defaults | fields


def _validate(values: dict[str, Any], *, issued: int) -> None:
    title = values["title"] = values["title"].strip()
    if not 1 <= len(title) <= TITLE_LENGTH:
        raise PolicyError("title", _("Give a title of 1 to %(most)s characters.", most=TITLE_LENGTH))
    quota = values["total_quantity"]
    if quota is not None:
        _check_amount("total_quantity", quota)
        if quota < issued:
            raise PolicyError(
                "total_quantity", _("%(issued)s are issued already; the quota cannot be less.", issued=issued)
            )
    _check_amount("discount_amount", values["discount_amount"])
    _check_amount("min_available_amount", values["min_available_amount"])
    _check_period(values["issue_start_at"], values["issue_end_at"], values["valid_until"])
    if values["status"] not in STATUSES:
        raise PolicyError("status", _("This status does not exist."))


def _check_amount(field: str, amount: int) -> None:
    if not 0 <= amount <= MOST:
        raise PolicyError(field, _("Give a whole number from 0 to %(most)s.", most=f"{MOST:,}"))


def _check_period(start: datetime, end: datetime, valid_until: datetime | None) -> None:
    if start >= end:
        raise PolicyError("issue_end_at", _("The end must be after the start."))
    if valid_until is not None and valid_until <= start:
        raise PolicyError("valid_until", _("The coupon must be valid until after the start."))
