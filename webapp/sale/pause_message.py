"""What a pause says: a message in both languages and a promised time, in the row of the coupon and in its gate."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from flask_babel import lazy_gettext as _

from webapp.models import PAUSED, Coupon, CouponRow, utcnow
from webapp.sale.benefit import Message

TEMPLATES: dict[str, Message] = {
    "payment": _("There is trouble with payments, and we are looking into it."),
    "error": _("We are looking at an error."),
    "crowd": _("More people came than we were ready for. We are making room."),
}
"""The messages that an operator chooses by a name."""


class PauseMessage(NamedTuple):
    """The name of a template, or words of an operator's own; the instant at which the sale is promised to go on.

    Own words go before a template. Where one language has none, those of the other are shown in it.
    """

    template: str = ""
    ko: str = ""
    en: str = ""
    promised_at: datetime | None = None

    def fields(self) -> dict[str, Any]:
        """Return the columns of `coupons` that hold it."""
        template = "" if self.ko or self.en else self.template
        return {
            "pause_template": template,
            "pause_ko": self.ko,
            "pause_en": self.en,
            "promised_at": self.promised_at,
        }


NOTHING = PauseMessage()


def message_of(coupon: Coupon | CouponRow) -> PauseMessage:
    return PauseMessage(coupon.pause_template, coupon.pause_ko, coupon.pause_en, coupon.promised_at)


def with_pause(coupon: CouponRow, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, with those of the pause that follow: since when it lasts; nothing of it once it is over."""
    status = fields.get("status", coupon.status)
    if status == PAUSED:
        return {**fields, **({} if coupon.status == PAUSED else {"paused_at": utcnow()})}
    return {**fields, **NOTHING.fields(), "paused_at": None}


def pause_seconds(coupon: CouponRow, changed: Mapping[str, Any]) -> dict[str, int]:
    """Return for the log how many seconds a pause has lasted that this change ends, by a name; else nothing."""
    if coupon.paused_at is None or changed.get("paused_at", coupon.paused_at) is not None:
        return {}
    return {"seconds": round((utcnow() - coupon.paused_at).total_seconds())}


def gate_text(coupon: Coupon | CouponRow) -> str:
    """Return what the gate keeps of it, "" for nothing; the row of a coupon that is not paused has nothing."""
    message = message_of(coupon)
    if message == NOTHING:
        return ""
    promised = message.promised_at and round(message.promised_at.timestamp() * 1000)
    return json.dumps([*message[:3], promised])


def read_gate_text(text: str) -> PauseMessage:
    """Return the message in a gate; NOTHING where there is none, or it cannot be read."""
    try:
        template, ko, en, promised = json.loads(text)
        until = None if promised is None else datetime.fromtimestamp(promised / 1000, UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return NOTHING
    words = (template, ko, en)
    return PauseMessage(*words, until) if all(isinstance(each, str) for each in words) else NOTHING
