"""The tables. Times are UTC with microseconds, money is integer won."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    UniqueConstraint,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine

from webapp.emails import EMAIL_LENGTH, normalised_email
from webapp.extensions import Base

Id = BigInteger().with_variant(Integer, "sqlite")
"""64 bits everywhere; SQLite numbers rows by itself only in a column called INTEGER."""

NEVER_REUSED = {"sqlite_autoincrement": True}
"""Without it SQLite gives the id of a deleted row again, and with it an old session or an old line."""

USER, OPERATOR = "user", "operator"
DRAFT, LIVE, PAUSED, CLOSED = "draft", "live", "paused", "closed"
REASON_LENGTH = 90
"""Of why a coupon or its use was taken back, in characters."""
STATUSES = (DRAFT, LIVE, PAUSED, CLOSED)


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC with microseconds on every database."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class Identifier(TypeDecorator[str]):
    """What names something: equal only when every character is. MySQL's own collations take é for e, and E too."""

    impl = String
    cache_ok = True

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            exact = mysql.VARCHAR(self.length, charset="utf8mb4", collation="utf8mb4_bin")
            return dialect.type_descriptor(exact)
        return self.impl_instance


class EmailAddress(Identifier):
    """An address in its one spelling, both where it is stored and where it is looked for."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else normalised_email(value)


def utcnow() -> datetime:
    return datetime.now(UTC)


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'operator')", name="role"),
        Index("ix_users_blocked_at", "blocked_at"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    email: Mapped[str] = mapped_column(EmailAddress(EMAIL_LENGTH), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(Identifier(10), default=USER)
    session_epoch: Mapped[int] = mapped_column(default=0)
    blocked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    rehearsal: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    @property
    def is_operator(self) -> bool:
        return self.role == OPERATOR


class EndedSession(Base):
    """Sessions of a user that ended: those of a session epoch before this one. Kept as long as a cookie lives."""

    __tablename__ = "ended_sessions"
    __table_args__ = (Index("ix_ended_sessions_ended_at", "ended_at"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # The account may be deleted: no foreign key.
    user_id: Mapped[int] = mapped_column(BigInteger)
    session_epoch: Mapped[int]
    ended_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)


class Coupon(Base):
    """The offer, and the truth about its policy.

    `revision` rises with every commit that concerns the coupon; raising it is also how the row is locked.
    `epoch` counts the lives of its line in Redis, `last_number` is the highest ticket number that SQL heard of.
    """

    __tablename__ = "coupons"
    __table_args__ = (
        CheckConstraint("total_quantity IS NULL OR issued_quantity <= total_quantity", name="quota"),
        CheckConstraint("total_quantity IS NULL OR total_quantity >= 0", name="total_quantity"),
        CheckConstraint("issued_quantity >= 0", name="issued_quantity"),
        CheckConstraint("issue_start_at < issue_end_at", name="period"),
        CheckConstraint("status IN ('draft', 'live', 'paused', 'closed')", name="status"),
        Index("ix_coupons_issue_end_at", "issue_end_at"),
        Index("ix_coupons_issue_start_at", "issue_start_at"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    title: Mapped[str] = mapped_column(String(100))
    type: Mapped[str] = mapped_column(Identifier(32), default="first_come_first_served")
    total_quantity: Mapped[int | None] = mapped_column(BigInteger)
    issued_quantity: Mapped[int] = mapped_column(BigInteger, default=0)
    discount_amount: Mapped[int] = mapped_column(BigInteger, default=0)
    min_available_amount: Mapped[int] = mapped_column(BigInteger, default=0)
    issue_start_at: Mapped[datetime] = mapped_column(UTCDateTime)
    issue_end_at: Mapped[datetime] = mapped_column(UTCDateTime)
    valid_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    status: Mapped[str] = mapped_column(Identifier(10), default=LIVE)
    rehearsal: Mapped[bool] = mapped_column(default=False)
    epoch: Mapped[int] = mapped_column(default=0)
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    last_number: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)

    @property
    def sold_out(self) -> bool:
        return self.total_quantity is not None and self.issued_quantity >= self.total_quantity


class CouponIssue(Base):
    """One coupon given to one user: the fact that everything else is a copy of."""

    __tablename__ = "coupon_issues"
    __table_args__ = (
        UniqueConstraint("coupon_id", "user_id"),
        UniqueConstraint("code"),
        Index("ix_coupon_issues_coupon_id_ticket_number", "coupon_id", "ticket_number"),
        Index("ix_coupon_issues_user_id", "user_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupons.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    ticket_number: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int]
    code: Mapped[str] = mapped_column(Identifier(16))
    issued_at: Mapped[datetime] = mapped_column(UTCDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # The operator at the till; no foreign key, as the account may be deleted. None: the command line.
    used_by: Mapped[int | None] = mapped_column(BigInteger)
    # What the till's form carried, so that its second click is known for the same use.
    used_click: Mapped[str | None] = mapped_column(String(32))


class UndoneUse(Base):
    """A use of a code that an operator took back: when and by whom it was made, by whom it was undone and why."""

    __tablename__ = "undone_uses"
    __table_args__ = (Index("ix_undone_uses_code", "code"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # No foreign key: its check would wait for the coupon's row, in a deadlock with whoever revokes the code.
    coupon_id: Mapped[int] = mapped_column(BigInteger)
    code: Mapped[str] = mapped_column(String(16))
    used_at: Mapped[datetime] = mapped_column(UTCDateTime)
    used_by: Mapped[int | None] = mapped_column(BigInteger)
    undone_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    undone_by: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(REASON_LENGTH))


class Revocation(Base):
    """An issue that an operator took back: its row as it was, by whom and why."""

    __tablename__ = "revocations"
    __table_args__ = (
        UniqueConstraint("code"),
        Index("ix_revocations_revoked_at", "revoked_at"),
        Index("ix_revocations_user_id", "user_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupons.id"))
    # The id that the issue had, for pages that were opened with it; None before this was kept.
    issue_id: Mapped[int | None] = mapped_column(BigInteger)
    user_id: Mapped[int] = mapped_column(BigInteger)
    ticket_number: Mapped[int] = mapped_column(BigInteger)
    epoch: Mapped[int]
    code: Mapped[str] = mapped_column(Identifier(16))
    issued_at: Mapped[datetime] = mapped_column(UTCDateTime)
    revoked_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    revoked_by: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(REASON_LENGTH))


class LineEvent(Base):
    """Why a number was skipped, and each change of epoch: what an operator reads when somebody asks."""

    __tablename__ = "line_events"
    __table_args__ = (
        CheckConstraint("kind IN ('rejected', 'already', 'lost', 'epoch')", name="kind"),
        Index("ix_line_events_coupon_id_ticket_number", "coupon_id", "ticket_number"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupons.id"))
    epoch: Mapped[int]
    kind: Mapped[str] = mapped_column(Identifier(10))
    # The user may be deleted, and is named here all the same: no foreign key.
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    ticket_number: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(100))
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)


class Submission(Base):
    """A form that made something: the token of its page, a digest of what was typed, and the id of what it made.

    That is a coupon or an account; no foreign key, as either may be deleted.
    """

    __tablename__ = "submissions"

    token: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    made_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
