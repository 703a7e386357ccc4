"""The tables. One import gives all of them, so that the metadata is complete."""

from webapp.models.accounts import NAME_LENGTH, OPERATOR, USER, EndedSession, User
from webapp.models.columns import NEVER_REUSED, EmailAddress, Id, Identifier, UTCDateTime, utcnow
from webapp.models.content import PLACE_LENGTH, CouponText, Picture
from webapp.models.coupons import (
    AMOUNT,
    AUDIENCES,
    BENEFIT_LENGTH,
    CLOSED,
    DRAFT,
    EVERYBODY,
    GIFT,
    GRADES,
    GRADES_LENGTH,
    LIST,
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
from webapp.models.uploads import ListedPerson, Member, StagedMember, Upload, UploadFault

__all__ = [
    "AMOUNT",
    "AUDIENCES",
    "BENEFIT_LENGTH",
    "CLOSED",
    "DRAFT",
    "EVERYBODY",
    "GIFT",
    "GRADES",
    "GRADES_LENGTH",
    "LIST",
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
    "ListedPerson",
    "Member",
    "Picture",
    "Rehearsal",
    "Revocation",
    "StagedMember",
    "Submission",
    "UTCDateTime",
    "UndoneUse",
    "Upload",
    "UploadFault",
    "User",
    "utcnow",
]
