"""The table of reports: what was counted of a sale, kept."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import UTCDateTime
from webapp.stores.sql import Base


class SaleReport(Base):
    """What was counted of one coupon, as JSON, and when. `wanted_at`: somebody asked for it to be counted anew."""

    __tablename__ = "sale_reports"
    __table_args__ = (Index("ix_sale_reports_wanted_at", "wanted_at"),)

    # No foreign key: its check would wait for a coupon's row that others hold.
    coupon_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    counted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    wanted_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    figures: Mapped[str | None] = mapped_column(Text)
