"""Errors that are swallowed on purpose: each names why it may be, and is counted.

`/readyz` tells the counts of its process, and the log line of each tells the running number.
"""

import logging
from collections import Counter

log = logging.getLogger(__name__)

counts: Counter[str] = Counter()
"""How often each was swallowed since this process began, by its name."""


def swallow(name: str, error: Exception, why: str, *, again: bool = False, **ids: int) -> None:
    """Count an error that stops here, and log what it was and why nothing is lost by it.

    `again` only counts it: the same outage was logged before.
    """
    counts[name] += 1
    if again:
        return
    log.warning("%s (%s, no. %s here): %s", name, type(error).__name__, counts[name], why, extra=ids)
