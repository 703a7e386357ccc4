"""Going live: a draft is published when no check blocks and every warning was confirmed; waves go live together."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from webapp.models import DRAFT, Coupon, CouponRow
from webapp.sale.coupons import TERMS, change_coupon, coupon_by_id
from webapp.sale.levels import Finding, blocking, warnings
from webapp.sale.prospects import Prospect, Rush
from webapp.sale.readiness import findings
from webapp.sale.waves import publish_waves, told, waves_of
from webapp.values.moments import write_moment

log = logging.getLogger(__name__)


class NotReady(Exception):
    """A check blocks, or a warning was not confirmed: the draft stays one. `found` is what all checks found."""

    def __init__(self, found: list[Finding]) -> None:
        super().__init__([finding.check for finding in found])
        self.found = found


class ChangedMeanwhile(Exception):
    """The draft is not any more as the operator saw it: name of a field → the text of then and the text of now."""

    def __init__(self, changes: dict[str, tuple[str, str]]) -> None:
        super().__init__(sorted(changes))
        self.changes = changes


def check(coupon_id: int, rush: Rush | None = None) -> list[Finding]:
    """Return what each check finds of a coupon. Nothing is changed. Raises LookupError for an unknown coupon."""
    coupon = coupon_by_id(coupon_id)
    if coupon is None:
        raise LookupError(coupon_id)
    return findings(Prospect(coupon, rush or Rush()))


def go_live(
    coupon_id: int,
    *,
    by: int | None,
    seen: Mapping[str, str] | None = None,
    confirmed: Collection[str] | None = None,
    rush: Rush | None = None,
) -> bool:
    """Publish a draft when nothing blocks, and return whether it was one: a coupon that is live already stays so.

    `by` is the operator, None for a command. `seen` are the terms as the operator saw them (`seen_of`); `confirmed`
    the warnings that were confirmed, None for all. Raises LookupError; NotReady and ChangedMeanwhile, and nothing is
    changed; and what `coupons.change_coupon` raises: after its commit redis.RedisError and Refused(busy) leave the
    coupon live, and the sweeper tells the line.
    """
    coupon = coupon_by_id(coupon_id)
    if coupon is None:
        raise LookupError(coupon_id)
    was_draft, waves = coupon.status == DRAFT, waves_of(coupon)
    if was_draft:
        _raise_if_changed(coupon, seen, told(waves))
        found = findings(Prospect(coupon, rush or Rush()))
        left = [each for each in warnings(found) if confirmed is not None and each.check not in confirmed]
        if blocking(found) or left:
            raise NotReady(found)
    # What was checked is what goes live: another operator may have changed it since.
    if was_draft and coupon.campaign_id is not None:
        publish_waves(coupon_id, by=by, look=lambda rows: _raise_if_any_changed(rows, waves))
    else:
        checked = terms_of(coupon) if was_draft else None
        change_coupon(coupon_id, by=by, step="publish", look=lambda row: _raise_if_changed(row, checked))
    if was_draft:
        log.info("coupon %s went live by %s", coupon_id, "a command" if by is None else f"user {by}")
    return was_draft


def seen_of(coupon: Coupon | CouponRow, waves: list[CouponRow]) -> dict[str, str]:
    """Return the terms of a coupon, and the waves of its campaign, as an operator sees them before it goes live."""
    return terms_of(coupon) | {"waves": told(waves)}


def terms_of(coupon: Coupon | CouponRow) -> dict[str, str]:
    """Return the terms of a coupon as texts that can be compared; a term that is not set is empty."""
    return {name: _text(getattr(coupon, name)) for name in (*TERMS, "pool_left")}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (
        f"{value:,}" if isinstance(value, int) else value if isinstance(value, str) else write_moment(value)
    )


def _raise_if_any_changed(rows: list[CouponRow], checked: list[CouponRow]) -> None:
    """Compare all waves with those that were checked."""
    then = {wave.id: terms_of(wave) | {"waves": told(checked)} for wave in checked}
    now = told(sorted(rows, key=lambda row: (row.issue_start_at, row.id)))
    for row in rows:
        _raise_if_changed(row, then.get(row.id, {}), now)


def _raise_if_changed(coupon: Coupon | CouponRow, seen: Mapping[str, str] | None, waves: str = "") -> None:
    if coupon.status != DRAFT or seen is None:
        return
    now = terms_of(coupon) | {"waves": waves}
    changes = {name: (seen.get(name, ""), text) for name, text in now.items() if seen.get(name, "") != text}
    if changes:
        raise ChangedMeanwhile(changes)
