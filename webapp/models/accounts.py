"""The table of accounts."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import NEVER_REUSED, EmailAddress, Id, Identifier, UTCDateTime, utcnow
from webapp.stores.sql import Base
from webapp.values.emails import EMAIL_LENGTH

NAME_LENGTH = 100
USER, OPERATOR = "user", "operator"


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'operator')", name="role"),
        Index("ix_users_blocked_at", "blocked_at"),
        Index("ix_users_changed_at", "changed_at"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    email: Mapped[str] = mapped_column(EmailAddress(EMAIL_LENGTH), unique=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    password_hash: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(Identifier(10), default=USER)
    # A session carries the session epoch in which it began; raising it here ends all sessions of the account.
    session_epoch: Mapped[int] = mapped_column(default=0)
    blocked_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    rehearsal: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    # When the address, the member key or the grade last changed: they decide on whose lists the account is.
    changed_at: Mapped[datetime | None] = mapped_column(UTCDateTime, default=utcnow)

    @property
    def is_operator(self) -> bool:
        return self.role == OPERATOR


class EndedSession(Base):
    """The end of a user's sessions: those of an earlier session epoch are over. A row outlives every cookie."""

    __tablename__ = "ended_sessions"
    __table_args__ = (Index("ix_ended_sessions_ended_at", "ended_at"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # No foreign key: the account may be deleted, and its sessions have ended then too.
    user_id: Mapped[int] = mapped_column(BigInteger)
    session_epoch: Mapped[int]
    ended_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
