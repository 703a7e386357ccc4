"""The check of the waves of a campaign before they go live together."""

from flask_babel import lazy_gettext as _
from sqlalchemy import func, select

from webapp.models import Coupon, CouponRow, Upload, utcnow
from webapp.sale.audience import counts_for
from webapp.sale.content import content_of
from webapp.sale.coupons import korean_time
from webapp.sale.duplicating import OWN
from webapp.sale.levels import BLOCKING, OK, WARNING, Found
from webapp.sale.prospects import Prospect
from webapp.sale.waves import total_of
from webapp.stores.sql import db

APART = OWN | {"total_quantity", "audience_version"}
"""The columns in which waves may differ."""


def waves_are_ready(prospect: Prospect) -> Found:
    """Say how many go live together; warn of one that is not like the first, and block when one is over."""
    waves = prospect.waves
    if len(waves) == 1:
        return OK, _("It has no waves.")
    if any(wave.issue_end_at <= utcnow() for wave in waves):
        return BLOCKING, _("A wave of it has ended: nobody can get one there. Make the waves again.")
    unlike = [number for number, wave in enumerate(waves, 1) if not _alike(waves[0], wave)]
    if unlike:
        return WARNING, _(
            "These waves are not like the first one: %(waves)s. Make the waves again, or confirm it.",
            waves=", ".join(map(str, unlike)),
        )
    total = total_of(waves)
    return OK, _(
        "%(count)s waves go live together: %(total)s coupons, the first wave at %(first)s, the last at %(last)s.",
        count=len(waves),
        total=_("Unlimited") if total is None else f"{total:,}",
        first=korean_time(waves[0].issue_start_at),
        last=korean_time(waves[-1].issue_start_at),
    )


def _alike(first: CouponRow, wave: CouponRow) -> bool:
    names = [column.name for column in Coupon.__table__.columns if column.name not in APART]
    same = all(getattr(first, name) == getattr(wave, name) for name in names)
    texts = content_of(first), content_of(wave)
    return same and texts[0] == texts[1] and _listed(first.id) == _listed(wave.id)


def _listed(coupon_id: int) -> int:
    """Return how many people the list of a coupon names."""
    with db.engine.connect() as connection:
        return connection.scalar(select(func.sum(Upload.good)).where(*counts_for(coupon_id))) or 0
