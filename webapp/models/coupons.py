"""The table of coupons."""

from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import BigInteger, CheckConstraint, ColumnElement, Index, Row, String, and_, false, or_
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column

from webapp.models.columns import NEVER_REUSED, Id, Identifier, UTCDateTime, utcnow
from webapp.models.content import PICTURE_NAME_LENGTH
from webapp.stores.sql import Base

TITLE_LENGTH = 100
BENEFIT_LENGTH = 60
"""The most characters of what a gift is, or of a benefit in words."""
AMOUNT, PERCENT, GIFT, WORDS = "amount", "percent", "gift", "words"
"""The kinds of a benefit."""
DRAFT, LIVE, PAUSED, CLOSED = "draft", "live", "paused", "closed"
STATUSES = (DRAFT, LIVE, PAUSED, CLOSED)
EVERYBODY, LIST, GRADES = "everybody", "list", "grades"
AUDIENCES = (EVERYBODY, LIST, GRADES)
GRADES_LENGTH = 500
PAUSE_LENGTH = 200
"""The most characters of what a pause says."""


class Coupon(Base):
    """The offer, and the truth about its policy: status, quota and period.

    `revision` rises with every commit that concerns the coupon; raising it is also how the row is locked. `epoch`
    counts the epochs of its line in Redis; `epoch_mark` tells the beginning of this one from every other beginning that
    Redis may have heard of. `last_number` is the highest number of a ticket that SQL heard of.
    `standby_limit` is the most people in standby among whom a click still gets a place when the coupons are gone.
    `audience` says who may have it: everybody, who is on its list (the uploads that count), or who has one of its
    `grades` (with commas between). `audience_version` rises with every change of either.
    `campaign_id` is the id of the first wave, in all waves of a campaign; None in a coupon without waves. With
    `one_per_campaign` nobody gets more than one over all waves. With `rolls_over` what is left of a wave goes to the
    next: `rolled_out` is how many went, None until it is decided, and `rolled_in` how many came.
    `pool_left` counts the codes of its pool that nobody has been given; None in a coupon whose codes we draw. The last
    one that was given stands in line `pool_line` of upload `pool_upload_id`: all before it are given, none behind it.
    """

    __tablename__ = "coupons"
    __table_args__ = (
        # The last guard of the quota: it holds also if the code is wrong.
        CheckConstraint("total_quantity IS NULL OR issued_quantity <= total_quantity", name="quota"),
        CheckConstraint("total_quantity IS NULL OR total_quantity >= 0", name="total_quantity"),
        CheckConstraint("issued_quantity >= 0", name="issued_quantity"),
        CheckConstraint("pool_left >= 0", name="pool_left"),
        CheckConstraint("issue_start_at < issue_end_at", name="period"),
        CheckConstraint("status IN ('draft', 'live', 'paused', 'closed')", name="status"),
        Index("ix_coupons_issue_end_at", "issue_end_at"),
        Index("ix_coupons_issue_start_at", "issue_start_at"),
        Index("ix_coupons_campaign_id", "campaign_id"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    title: Mapped[str] = mapped_column(String(TITLE_LENGTH))
    # The title in English; empty, the other one is shown in both languages.
    title_en: Mapped[str] = mapped_column(String(TITLE_LENGTH), default="")
    type: Mapped[str] = mapped_column(Identifier(32), default="first_come_first_served")
    total_quantity: Mapped[int | None] = mapped_column(BigInteger)
    issued_quantity: Mapped[int] = mapped_column(BigInteger, default=0)
    # What it gives; `webapp.sale.benefit` says which of the fields below belong to which kind.
    benefit: Mapped[str] = mapped_column(Identifier(10), default=AMOUNT)
    discount_amount: Mapped[int] = mapped_column(BigInteger, default=0)
    discount_percent: Mapped[int] = mapped_column(default=0)
    # The most won that the percentage takes off; None for no cap.
    discount_cap: Mapped[int | None] = mapped_column(BigInteger)
    benefit_words: Mapped[str] = mapped_column(String(BENEFIT_LENGTH), default="")
    benefit_words_en: Mapped[str] = mapped_column(String(BENEFIT_LENGTH), default="")
    min_available_amount: Mapped[int] = mapped_column(BigInteger, default=0)
    standby_limit: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    issue_start_at: Mapped[datetime] = mapped_column(UTCDateTime)
    issue_end_at: Mapped[datetime] = mapped_column(UTCDateTime)
    valid_until: Mapped[datetime | None] = mapped_column(UTCDateTime)
    status: Mapped[str] = mapped_column(Identifier(10), default=LIVE)
    audience: Mapped[str] = mapped_column(Identifier(10), default=EVERYBODY)
    grades: Mapped[str] = mapped_column(String(GRADES_LENGTH), default="")
    audience_version: Mapped[int] = mapped_column(BigInteger, default=0)
    # The last issue before the audience changed: up to it the audit judges nobody by the present audience.
    audience_after: Mapped[int] = mapped_column(BigInteger, default=0)
    campaign_id: Mapped[int | None] = mapped_column(BigInteger)
    one_per_campaign: Mapped[bool] = mapped_column(default=False, server_default=false())
    rolls_over: Mapped[bool] = mapped_column(default=False, server_default=false())
    rolled_in: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    rolled_out: Mapped[int | None] = mapped_column(BigInteger)
    pool_left: Mapped[int | None] = mapped_column(BigInteger)
    pool_upload_id: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    pool_line: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    rehearsal: Mapped[bool] = mapped_column(default=False)
    # The name of a row of `pictures`. No foreign key: its check would wait for a coupon's row that others hold.
    picture: Mapped[str | None] = mapped_column(Identifier(PICTURE_NAME_LENGTH))
    epoch: Mapped[int] = mapped_column(default=0)
    epoch_mark: Mapped[int | None] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(BigInteger, default=0)
    last_number: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default=utcnow)
    # Out of the lists since then.
    archived_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    # What a pause says (`webapp.sale.pause_message`). Since when it lasts: None also in one from before this column.
    paused_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    promised_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    pause_template: Mapped[str] = mapped_column(Identifier(20), default="", server_default="")
    pause_ko: Mapped[str] = mapped_column(String(PAUSE_LENGTH), default="", server_default="")
    pause_en: Mapped[str] = mapped_column(String(PAUSE_LENGTH), default="", server_default="")

    @hybrid_property
    def sold_out(self) -> bool:
        most = most_of(self.total_quantity, self.issued_quantity, self.pool_left)
        return most is not None and self.issued_quantity >= most

    @sold_out.inplace.expression
    @classmethod
    def _sold_out(cls) -> ColumnElement[bool]:
        # Neither is ever NULL, so that the contrary can be asked for, too.
        given = and_(cls.total_quantity.is_not(None), cls.issued_quantity >= cls.total_quantity)
        return or_(given, and_(cls.pool_left.is_not(None), cls.pool_left == 0))


def most_of(quota: int | None, issued: int, pool_left: int | None) -> int | None:
    """Return how many can be issued in all, None for no end: the quota, or what the codes of a pool are enough for."""
    if pool_left is None:
        return quota
    enough_for = issued + pool_left
    return enough_for if quota is None else min(quota, enough_for)


CouponRow: TypeAlias = Row[Any]
"""A row of `coupons` as a query in SQLAlchemy's core returns it."""
