"""The tables. One import gives all of them, so that the metadata is complete."""

from webapp.models.accounts import NAME_LENGTH, OPERATOR, USER, EndedSession, User
from webapp.models.columns import NEVER_REUSED, EmailAddress, Id, Identifier, UTCDateTime, utcnow
from webapp.models.content import PLACE_LENGTH, CouponText, Picture
from webapp.models.coupons import (
    AMOUNT,
    BENEFIT_LENGTH,
    CLOSED,
    DRAFT,
    GIFT,
    LIVE,
    PAUSED,
    PERCENT,
    STATUSES,
    TITLE_LENGTH,
    WORDS,
    Coupon,
    CouponRow,
)
from webapp.models.events import LineEvent
from webapp.models.issues import REASON_LENGTH, CouponIssue, Revocation, UndoneUse
from webapp.models.rehearsals import Rehearsal
from webapp.models.submissions import Submission

__all__ = [
    "AMOUNT",
    "BENEFIT_LENGTH",
    "CLOSED",
    "DRAFT",
    "GIFT",
    "LIVE",
    "NAME_LENGTH",
    "NEVER_REUSED",
    "OPERATOR",
    "PAUSED",
    "PERCENT",
    "PLACE_LENGTH",
    "REASON_LENGTH",
    "STATUSES",
    "TITLE_LENGTH",
    "USER",
    "WORDS",
    "Coupon",
    "CouponIssue",
    "CouponRow",
    "CouponText",
    "EmailAddress",
    "EndedSession",
    "Id",
    "Identifier",
    "LineEvent",
    "Picture",
    "Rehearsal",
    "Revocation",
    "Submission",
    "UTCDateTime",
    "UndoneUse",
    "User",
    "utcnow",
]
