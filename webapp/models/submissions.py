"""The table of forms that made something."""

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import UTCDateTime, utcnow
from webapp.stores.sql import Base


class Submission(Base):
    """A form that made a coupon or an account: the token of its page, a digest of its contents, and the id of either.

    `made_id` has no foreign key, because both can be deleted.
    """

    __tablename__ = "submissions"

    token: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    made_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
