"""The table of proposals: what one person has asked for, and another one decides."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import NEVER_REUSED, Id, Identifier, UTCDateTime, utcnow
from webapp.models.issues import REASON_LENGTH
from webapp.models.log import VERB_LENGTH
from webapp.stores.sql import Base

CONFIRMED, DECLINED, WITHDRAWN = "confirmed", "declined", "withdrawn"
"""What became of a proposal; one that nobody has decided is open until it expires."""


class Proposal(Base):
    """A deed that waits for a second person: its verb, as in the log, about a coupon or an account.

    `arguments` are a JSON object that names people by ids alone, and `seen` tells the state of the subject that was
    seen. `made_by` and `decided_by` are accounts, without foreign keys, because accounts can be deleted; a command has
    none. `done_at` is when a confirmed deed was done: in the transaction that confirms it, or later for a long list.
    """

    __tablename__ = "proposals"
    __table_args__ = (
        Index("ix_proposals_expires_at", "expires_at"),
        Index("ix_proposals_coupon_id", "coupon_id"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    verb: Mapped[str] = mapped_column(Identifier(VERB_LENGTH))
    coupon_id: Mapped[int | None] = mapped_column(BigInteger)
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    arguments: Mapped[str] = mapped_column(Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"))
    seen: Mapped[str] = mapped_column(Identifier(64))
    reason: Mapped[str | None] = mapped_column(String(REASON_LENGTH))
    made_by: Mapped[int | None] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    expires_at: Mapped[datetime] = mapped_column(UTCDateTime)
    decision: Mapped[str | None] = mapped_column(Identifier(10))
    decided_by: Mapped[int | None] = mapped_column(BigInteger)
    decided_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    done_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
