"""The one job that RQ runs."""

import logging

import redis

from webapp import issuing
from webapp.malformed import is_malformed
from webapp.swallowed import swallow

log = logging.getLogger(__name__)


def admit(coupon_id: int) -> None:
    """Admit the waiting tickets of one coupon. The bell carries its id and nothing else; all the rest is read anew."""
    try:
        admitted = issuing.admit(coupon_id)
    except redis.ResponseError as error:
        if not is_malformed(error):
            raise
        # It came between the look at the beginning and its use; what was committed is settled by the next run.
        swallow("admission broken off", error, "what is malformed is set aside", coupon_id=coupon_id)
        issuing.set_aside(coupon_id)
        issuing.ring(coupon_id)
        return
    if admitted.batches:
        log.info(
            "coupon %s: %s issued, %s rejected in %s batches",
            coupon_id,
            admitted.issued,
            admitted.rejected,
            admitted.batches,
        )
