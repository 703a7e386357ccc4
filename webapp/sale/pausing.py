"""Pausing with words for the people who wait, and resuming with an end that is later by the pause."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import redis
from flask_babel import lazy_gettext as _

from webapp.models import PAUSE_LENGTH, PAUSED, Coupon, CouponRow, utcnow
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.pause_message import TEMPLATES, PauseMessage
from webapp.values.texts import one_line

LATEST = timedelta(days=1)
"""So far ahead a time can be promised; a later one is a slip of the pen."""
OVER_ALREADY = _("It is not paused any more. Nothing was changed; the period was not extended.")
EXTENDED_TOO_FAR = _(
    "Extended, it would close after it can be used. Change until when it is valid first, or resume without extending."
)

Look = Callable[[CouponRow], None]


def pause(
    coupon_id: int,
    message: PauseMessage | None = None,
    *,
    by: int | None = None,
    look: Look = lambda row: None,
) -> None:
    """Pause a coupon, with a message for everybody. Of a paused one the message is changed; a repeat changes nothing.

    None leaves the message that stands, if there is one. A pause waits for nothing: a message that breaks a rule
    raises InvalidField, and the coupon is paused all the same; its cause is that of a gate that could not be written.
    Raises as `change_coupon` does, too.
    """
    fields = {} if message is None else _clean(message).fields()
    wrong = _wrong(fields)
    try:
        change_coupon(coupon_id, by=by, step="pause", look=look, **({} if wrong else fields))
    except (redis.RedisError, Refused) as error:
        if wrong is None:
            raise
        raise wrong from error
    if wrong:
        raise wrong


def resume(
    coupon_id: int, *, by: int | None = None, extend: bool = False, look: Look = lambda row: None
) -> None:
    """Resume a coupon; with `extend` its period ends later by what the pause took of it.

    Raises InvalidField, and then nothing is changed: of two who extend the second finds it resumed, so that no pause
    counts twice. Raises as `change_coupon` does, too. Without `extend` a repeat changes nothing.
    """
    change_coupon(coupon_id, by=by, step="resume", look=look, also=_extended if extend else None)


def taken_by_pause(coupon: Coupon | CouponRow, now: datetime) -> timedelta:
    """Return how much of its period the pause has taken until now; 0 where nobody knows since when it is paused."""
    if coupon.status != PAUSED or coupon.paused_at is None:
        return timedelta()
    return max(timedelta(), now - max(coupon.paused_at, coupon.issue_start_at))


def _extended(coupon: CouponRow) -> dict[str, Any]:
    if coupon.status != PAUSED:
        raise InvalidField("status", OVER_ALREADY)
    end = coupon.issue_end_at + taken_by_pause(coupon, utcnow())
    if coupon.valid_until is not None and coupon.valid_until < end:
        raise InvalidField("extend", EXTENDED_TOO_FAR)
    return {"issue_end_at": end}


def _clean(message: PauseMessage) -> PauseMessage:
    return message._replace(ko=one_line(message.ko), en=one_line(message.en))


def _wrong(fields: dict[str, Any]) -> InvalidField | None:
    """Return the rule that these fields of a message break, if they break one."""
    for name in ("pause_ko", "pause_en"):
        if len(fields.get(name, "")) > PAUSE_LENGTH:
            return InvalidField(name, _("Write %(most)s characters at most.", most=PAUSE_LENGTH))
    if fields.get("pause_template") and fields["pause_template"] not in TEMPLATES:
        return InvalidField("pause_template", _("This message does not exist."))
    promised, now = fields.get("promised_at"), utcnow()
    if promised is not None and not now < promised <= now + LATEST:
        return InvalidField("promised_at", _("Promise a time to come, within a day."))
    return None
