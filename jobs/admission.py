"""The one job that RQ runs."""

import logging

from webapp import issuing

log = logging.getLogger(__name__)


def admit(coupon_id: int) -> None:
    """Admit the waiting tickets of one coupon. The bell carries its id and nothing else; all the rest is read anew."""
    admitted = issuing.admit(coupon_id)
    if admitted.batches:
        log.info(
            "coupon %s: %s issued, %s rejected in %s batches",
            coupon_id,
            admitted.issued,
            admitted.rejected,
            admitted.batches,
        )
