"""The table of events of a line: skipped numbers, lost places, new epochs."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import Id, Identifier, UTCDateTime, utcnow
from webapp.stores.sql import Base


class LineEvent(Base):
    """The reason why a number was skipped, or a change of epoch. Operators read it when a user asks."""

    __tablename__ = "line_events"
    __table_args__ = (
        CheckConstraint("kind IN ('rejected', 'already', 'lost', 'epoch')", name="kind"),
        Index("ix_line_events_coupon_id_ticket_number", "coupon_id", "ticket_number"),
        Index("ix_line_events_user_id", "user_id"),
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    coupon_id: Mapped[int] = mapped_column(ForeignKey("coupons.id"))
    epoch: Mapped[int]
    kind: Mapped[str] = mapped_column(Identifier(10))
    # No foreign key: the event stays when the account is deleted.
    user_id: Mapped[int | None] = mapped_column(BigInteger)
    ticket_number: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(100))
    at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
