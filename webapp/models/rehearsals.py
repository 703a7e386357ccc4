"""The table of rehearsals that operators asked for."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import Id, Identifier, UTCDateTime, utcnow
from webapp.stores.sql import Base

ASKED, RUNNING, PASSED, FAILED, STOPPED, BROKEN = "asked", "running", "passed", "failed", "stopped", "broken"
UNDER_WAY = (ASKED, RUNNING)


class Rehearsal(Base):
    """A rehearsal of one coupon: so many invented people within so many seconds, 0 for all at once.

    `slot` is 1 while it is under way and empty afterwards; it is unique, so an installation plays one at a time. `mark`
    names the invented coupon and people, `terms` is a digest of the settings that were rehearsed. `phase`, `done` and
    `total` say how far it is, `heard_at` when its process last said so. `report` is JSON.
    """

    __tablename__ = "rehearsals"
    __table_args__ = (Index("ix_rehearsals_coupon_id", "coupon_id"),)

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    coupon_id: Mapped[int] = mapped_column(BigInteger)
    people: Mapped[int]
    seconds: Mapped[int]
    terms: Mapped[str] = mapped_column(String(64))
    mark: Mapped[str] = mapped_column(Identifier(32))
    state: Mapped[str] = mapped_column(Identifier(10), default=ASKED)
    slot: Mapped[int | None] = mapped_column(default=1, unique=True)
    stop_asked: Mapped[bool] = mapped_column(default=False)
    phase: Mapped[str] = mapped_column(Identifier(10), default="")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    # The account may be deleted. Empty for a command.
    asked_by: Mapped[int | None] = mapped_column(BigInteger)
    asked_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    heard_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    ended_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    report: Mapped[str | None] = mapped_column(Text)

    @property
    def under_way(self) -> bool:
        return self.state in UNDER_WAY
