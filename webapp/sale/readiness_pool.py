"""The check of a pool of codes before a campaign goes live: it has one for every coupon of the quota."""

from flask_babel import lazy_gettext as _

from webapp.sale.levels import BLOCKING, OK, Found
from webapp.sale.pools import missing_codes
from webapp.sale.prospects import Prospect


def pool_is_enough(prospect: Prospect) -> Found:
    """Say how many codes there are; block where they are fewer than the quota, in any wave."""
    waves = prospect.waves
    with_pool = [wave for wave in waves if wave.pool_left is not None]
    if not with_pool:
        return OK, _("Codes of ours are drawn, one for each coupon.")
    without = [number for number, wave in enumerate(waves, 1) if wave.pool_left is None]
    if without:
        return BLOCKING, _(
            "These waves have no codes of your own, and the others have: %(waves)s. Bring a file for each wave.",
            waves=", ".join(map(str, without)),
        )
    left = sum(wave.pool_left for wave in with_pool)
    shown = {"left": f"{left:,}", "missing": f"{sum(map(missing_codes, with_pool)):,}"}
    if not all(wave.pool_left for wave in with_pool):
        return BLOCKING, _("A pool of codes is empty: nobody can get a coupon. Bring codes first.")
    if any(map(missing_codes, with_pool)):
        return BLOCKING, _(
            "There are %(left)s codes, and %(missing)s coupons of the quota have none. Bring more, or lower the quota.",
            **shown,
        )
    if any(wave.total_quantity is None for wave in with_pool):
        return OK, _("%(left)s codes of your own: without a quota, so many can be issued.", **shown)
    return OK, _("%(left)s codes of your own, enough for the quota.", **shown)
