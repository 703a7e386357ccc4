"""The log of operators: every decision, who made it, and what was before and after."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import Identifier, UTCDateTime
from webapp.models.issues import REASON_LENGTH
from webapp.stores.sql import Base

VERB_LENGTH, ORIGIN_LENGTH, ADDRESS_LENGTH, HASH_LENGTH = 40, 10, 45, 64
CONSOLE, COMMAND, JOB = "console", "command", "job"


class LogEntry(Base):
    """One decision. A trigger of the database refuses to change a row or to delete one.

    Accounts and coupons are named by their ids, without foreign keys: a row stays as it is when an account is erased.
    `hash` covers the row and the hash of the row before, so that a row that was altered all the same is found.
    """

    __tablename__ = "log_entries"
    __table_args__ = (
        CheckConstraint("origin IN ('console', 'command', 'job')", name="origin"),
        Index("ix_log_entries_coupon_id", "coupon_id"),
        Index("ix_log_entries_actor_id", "actor_id"),
        Index("ix_log_entries_user_id", "user_id"),
        Index("ix_log_entries_verb", "verb"),
        Index("ix_log_entries_at", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UTCDateTime)
    actor_id: Mapped[int | None] = mapped_column(BigInteger)
    """The account of the operator; None for a command and for a job."""
    origin: Mapped[str] = mapped_column(Identifier(ORIGIN_LENGTH))
    address: Mapped[str | None] = mapped_column(String(ADDRESS_LENGTH))
    """The network address that the console was asked from."""
    verb: Mapped[str] = mapped_column(Identifier(VERB_LENGTH))
    coupon_id: Mapped[int | None] = mapped_column(BigInteger)
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    """The account that the decision is about."""
    before: Mapped[str | None] = mapped_column(Text)
    after: Mapped[str | None] = mapped_column(Text)
    """What was and what is, as JSON objects."""
    reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    hash: Mapped[str] = mapped_column(Identifier(HASH_LENGTH))


class LogHead(Base):
    """The one row that says how many entries there are. Whoever writes an entry holds its lock until the commit."""

    __tablename__ = "log_head"
    __table_args__ = (CheckConstraint("id = 1", name="one"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entries: Mapped[int] = mapped_column(BigInteger)
