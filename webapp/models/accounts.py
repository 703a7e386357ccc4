"""The table of accounts."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, String, false
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import NEVER_REUSED, EmailAddress, Id, Identifier, UTCDateTime, utcnow
from webapp.stores.sql import Base
from webapp.values.emails import EMAIL_LENGTH

NAME_LENGTH = 100
USER, OWNER, OPERATOR, TILL, VIEWER = "user", "owner", "operator", "till", "viewer"
"""The roles of an account: USER is none, a claimer."""
ROLES = (OWNER, OPERATOR, TILL, VIEWER)
LABEL_LENGTH = 100


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'owner', 'operator', 'till', 'viewer')", name="role"),
        Index("ix_users_blocked_at", "blocked_at"),
        Index("ix_users_changed_at", "changed_at"),
        Index("ix_users_name", "name"),
        Index("ix_users_role", "role"),
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


class EndedSession(Base):
    """The end of a user's sessions: those of an earlier session epoch are over. A row outlives every cookie."""

    __tablename__ = "ended_sessions"
    __table_args__ = (Index("ix_ended_sessions_ended_at", "ended_at"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # No foreign key: the account may be deleted, and its sessions have ended then too.
    user_id: Mapped[int] = mapped_column(BigInteger)
    session_epoch: Mapped[int]
    ended_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)


class Invitation(Base):
    """A link that gives whoever takes it a role, once. The key of the link is stored as a hash alone.

    While it is `proposed` it waits for another owner, and opens nothing. No foreign keys: the accounts that it names
    may be deleted.
    """

    __tablename__ = "invitations"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    key_hash: Mapped[str] = mapped_column(Identifier(64), unique=True)
    role: Mapped[str] = mapped_column(Identifier(10))
    # For whom it is, in the words of who made it; empty once it is taken or withdrawn.
    label: Mapped[str] = mapped_column(String(LABEL_LENGTH))
    proposed: Mapped[bool] = mapped_column(default=False, server_default=false())
    made_by: Mapped[int | None] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)
    taken_by: Mapped[int | None] = mapped_column(BigInteger)
    taken_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    withdrawn_by: Mapped[int | None] = mapped_column(BigInteger)
    withdrawn_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
