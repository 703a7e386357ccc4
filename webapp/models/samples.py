"""The table of samples: what a line looked like, second by second, while something happened there."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import Id, UTCDateTime
from webapp.stores.sql import Base


class LineSample(Base):
    """The figures of one line at one instant, by Redis's clock. `webapp.sale.history` says when a row is written.

    `number` counts the samples of the coupon. `came` is how many numbers were given in all, over all epochs, and
    `last_number` the last one. `refused` counts clicks that got no number, and `pages` those that polled, about.
    """

    __tablename__ = "line_samples"

    # No foreign key: its check would wait for a coupon's row that an admission holds.
    coupon_id: Mapped[int] = mapped_column(Id, primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(UTCDateTime)
    epoch: Mapped[int]
    last_number: Mapped[int] = mapped_column(BigInteger)
    came: Mapped[int] = mapped_column(BigInteger)
    issued: Mapped[int] = mapped_column(BigInteger)
    waiting: Mapped[int] = mapped_column(BigInteger)
    in_standby: Mapped[int] = mapped_column(BigInteger)
    refused: Mapped[int] = mapped_column(BigInteger)
    pages: Mapped[int] = mapped_column(BigInteger)
