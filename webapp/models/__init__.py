"""The tables. One import gives all of them, so that the metadata is complete."""

from webapp.models.accounts import NAME_LENGTH, OPERATOR, USER, EndedSession, User
from webapp.models.columns import NEVER_REUSED, EmailAddress, Id, Identifier, UTCDateTime, utcnow
from webapp.models.coupons import (
    AUDIENCES,
    CLOSED,
    DRAFT,
    EVERYBODY,
    GRADES,
    GRADES_LENGTH,
    LIST,
    LIVE,
    PAUSED,
    STATUSES,
    TITLE_LENGTH,
    Coupon,
    CouponRow,
)
from webapp.models.events import LineEvent
from webapp.models.issues import REASON_LENGTH, CouponIssue, Revocation, UndoneUse
from webapp.models.submissions import Submission
from webapp.models.uploads import ListedPerson, Member, StagedMember, Upload, UploadFault

__all__ = [
    "AUDIENCES",
    "CLOSED",
    "DRAFT",
    "EVERYBODY",
    "GRADES",
    "GRADES_LENGTH",
    "LIST",
    "LIVE",
    "NAME_LENGTH",
    "NEVER_REUSED",
    "OPERATOR",
    "PAUSED",
    "REASON_LENGTH",
    "STATUSES",
    "TITLE_LENGTH",
    "USER",
    "Coupon",
    "CouponIssue",
    "CouponRow",
    "EmailAddress",
    "EndedSession",
    "Id",
    "Identifier",
    "LineEvent",
    "ListedPerson",
    "Member",
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
