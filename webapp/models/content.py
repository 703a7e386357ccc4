"""The tables of what a campaign says and shows: long texts in each language, and pictures."""

from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import Id, Identifier, UTCDateTime, utcnow
from webapp.stores.sql import Base

PLACE_LENGTH = 200
"""The most characters of where a coupon can be used, and of whom to ask."""
PICTURE_NAME_LENGTH = 32
Jpeg = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")


class CouponText(Base):
    """What the page says in one language; for an empty text the other language's is shown. Titles are in `coupons`."""

    __tablename__ = "coupon_texts"

    coupon_id: Mapped[int] = mapped_column(Id, ForeignKey("coupons.id"), primary_key=True)
    language: Mapped[str] = mapped_column(Identifier(2), primary_key=True)
    description: Mapped[str] = mapped_column(Text, default="")
    terms: Mapped[str] = mapped_column(Text, default="")
    place: Mapped[str] = mapped_column(String(PLACE_LENGTH), default="")
    contact: Mapped[str] = mapped_column(String(PLACE_LENGTH), default="")


class Picture(Base):
    """A picture in two sizes, as JPEG. Its name is a hash of both and the size of the large one; coupons share it."""

    __tablename__ = "pictures"

    name: Mapped[str] = mapped_column(Identifier(PICTURE_NAME_LENGTH), primary_key=True)
    small: Mapped[bytes] = mapped_column(Jpeg)
    large: Mapped[bytes] = mapped_column(Jpeg)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
