"""The one job that RQ runs."""

import logging

import redis

from webapp.sale import admission, bells, setting_aside
from webapp.stores.malformed import is_malformed
from webapp.stores.swallowed import swallow

log = logging.getLogger(__name__)


def admit(coupon_id: int) -> None:
    """Admit the waiting tickets of one coupon. The bell carries its id alone; everything else is read anew."""
    try:
        admitted = admission.admit(coupon_id)
    except redis.ResponseError as error:
        if not is_malformed(error):
            raise
        # Malformed data came after the check at the beginning. The next run settles what this one has committed.
        swallow("admission broken off", error, "what is malformed is set aside", coupon_id=coupon_id)
        setting_aside.set_aside(coupon_id)
        bells.ring(coupon_id)
        return
    if admitted.batches:
        log.info(
            "coupon %s: %s issued, %s rejected in %s batches",
            coupon_id,
            admitted.issued,
            admitted.rejected,
            admitted.batches,
        )
