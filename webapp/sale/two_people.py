"""Which changes of a coupon two people decide, and what of a coupon both of them have to have seen."""

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from math import inf
from typing import Any

from webapp.accounts.roles import CHANGE, RIGHTS
from webapp.models import CLOSED, DRAFT, LIVE, PAUSED, Coupon, CouponRow, utcnow
from webapp.proposals.rule import WAITING, Deed, second_person
from webapp.sale.locking import CouponLock

MOVING = frozenset(
    {
        *("revision", "issued_quantity", "pool_left", "pool_upload_id", "pool_line"),
        *("epoch", "epoch_mark", "last_number"),
    }
)
"""The columns that a running sale moves by itself. A proposal that was bound to them could never be confirmed."""


def second_operator(
    lock: CouponLock,
    changed: Mapping[str, Any],
    asked: Mapping[str, Any],
    verb: str,
    *,
    by: int | None,
    confirms: int | None,
) -> dict[str, Any]:
    """Let a change of the locked coupon go on, or have it wait, as `webapp.proposals.rule.second_person` does.

    The proposal has the fields that were `asked` for; what follows from them follows again when it is confirmed.
    """
    coupon = lock.coupon
    if confirms is None and not needs_two(coupon, changed):
        return {}
    arguments = {name: value for name, value in changed.items() if name in asked}
    before = {name: getattr(coupon, name) for name in arguments}
    facts = {"coupon": coupon.id, "seen": seen_of(coupon), "arguments": arguments, "before": before}
    # A pause that raises the quota in one change does not wait as a pause, which never does.
    deed = Deed(verb=verb if verb in WAITING else "change coupon", roles=RIGHTS[CHANGE], **facts)
    return second_person(lock.connection, deed, by=by, confirms=confirms, commit=lock.commit)


def needs_two(coupon: Coupon | CouponRow, changed: Mapping[str, Any]) -> bool:
    """Whether a change gives more coupons than were decided, or ends a sale. A draft waits for nobody."""
    if coupon.status == DRAFT or coupon.rehearsal:
        return False
    return _gives_more(coupon, changed) or _ends(coupon, changed)


def pool_is_quota(coupon: Coupon | CouponRow) -> bool:
    """Whether more codes in its pool are more coupons than were decided."""
    gone_live = coupon.status != DRAFT and not coupon.rehearsal
    return gone_live and coupon.total_quantity is None and coupon.pool_left is not None


def seen_of(coupon: Coupon | CouponRow, *more: str) -> str:
    """Return a digest of everything that operators decide about a coupon: what one of them changes, changes it."""
    names = [column.name for column in Coupon.__table__.columns if column.name not in MOVING]
    told = [[name, getattr(coupon, name)] for name in names]
    return sha256(json.dumps([*told, *more], default=datetime.isoformat).encode()).hexdigest()


def _gives_more(coupon: Coupon | CouponRow, changed: Mapping[str, Any]) -> bool:
    now, then = (_decided(coupon, quota) for quota in (coupon.total_quantity, changed.get("total_quantity")))
    return "total_quantity" in changed and then > now


def _decided(coupon: Coupon | CouponRow, quota: int | None) -> float:
    """Return how many coupons a quota lets out: without one those of the pool, or without an end."""
    if quota is not None:
        return quota
    return inf if coupon.pool_left is None else coupon.issued_quantity + coupon.pool_left


def _ends(coupon: Coupon | CouponRow, changed: Mapping[str, Any]) -> bool:
    """Whether it closes the coupon, or has a sale that goes on or is to come end before it would."""
    if changed.get("status") == CLOSED:
        return True
    end, on_sale = coupon.issue_end_at, coupon.status in (LIVE, PAUSED)
    return bool(on_sale and utcnow() < end and changed.get("issue_end_at", end) < end)
