"""The tables of issues, of uses that were undone, and of issues that were revoked."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import Id, Identifier, UTCDateTime, utcnow
from webapp.stores.sql import Base

CODE_LENGTH = 40
"""The most characters of a code. With four bytes each its length still fits one byte, so the column grows in place."""
REASON_LENGTH = 90
"""The most characters of a reason for a revocation or for undoing a use."""


class CouponIssue(Base):
    """One coupon given to one user. Results in Redis and all pages are copies of this row."""

    __tablename__ = "coupon_issues"
    __table_args__ = (
        # The last guard of one coupon a person: it holds also if the code is wrong.
        UniqueConstraint("coupon_id", "user_id"),
        UniqueConstraint("code"),
        Index("ix_coupon_issues_coupon_id_ticket_number", "coupon_id", "ticket_number"),
        # And of one a person over all waves of a campaign: campaign_id is None where each wave may give one. The user
        # stands first, so that it finds what somebody holds, too: each index more slows the admission down.
        Index("uq_coupon_issues_user_id_campaign_id", "user_id", "campaign_id", unique=True),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupons.id"))
    campaign_id: Mapped[int | None] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    ticket_number: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int]
    code: Mapped[str] = mapped_column(Identifier(CODE_LENGTH))
    issued_at: Mapped[datetime] = mapped_column(UTCDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # The operator at the till, None for the command line. No foreign key: the account may be deleted.
    used_by: Mapped[int | None] = mapped_column(BigInteger)
    # The token of the till's form, by which its second click is known to be the same use.
    used_click: Mapped[str | None] = mapped_column(String(32))


class UndoneUse(Base):
    """A use of a code that an operator has undone: both operators, both times, and the reason."""

    __tablename__ = "undone_uses"
    __table_args__ = (Index("ix_undone_uses_code", "code"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # No foreign key: its check would wait for the coupon's row, and deadlock with a revocation of the same code.
    coupon_id: Mapped[int] = mapped_column(BigInteger)
    code: Mapped[str] = mapped_column(Identifier(CODE_LENGTH))
    used_at: Mapped[datetime] = mapped_column(UTCDateTime)
    used_by: Mapped[int | None] = mapped_column(BigInteger)
    undone_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    undone_by: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(REASON_LENGTH))


class Revocation(Base):
    """An issue that an operator has revoked: the row as it was, the operator and the reason."""

    __tablename__ = "revocations"
    __table_args__ = (
        UniqueConstraint("code"),
        Index("ix_revocations_revoked_at", "revoked_at"),
        Index("ix_revocations_user_id", "user_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupons.id"))
    # The id that the issue had, for pages that were opened with it; None in rows from before this column.
    issue_id: Mapped[int | None] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    ticket_number: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int]
    code: Mapped[str] = mapped_column(Identifier(CODE_LENGTH))
    issued_at: Mapped[datetime] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    revoked_by: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(REASON_LENGTH))
