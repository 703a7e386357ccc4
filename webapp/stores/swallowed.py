"""Errors that are swallowed on purpose. Each names the reason why nothing is lost, and is counted.

`/readyz` shows the counts of its process, and each log line carries the running number.
"""

import logging
from collections import Counter

log = logging.getLogger(__name__)

counts: Counter[str] = Counter()
"""How often each error was swallowed since this process began, by its name."""


def swallow(name: str, error: Exception, why: str, *, again: bool = False, **ids: int) -> None:
    """Count an error that stops here, and log its kind and the reason why nothing is lost.

    With `again` it is counted and not logged, for an outage that was logged before. The log carries no user text.
    """
    counts[name] += 1
    if again:
        return
    log.warning("%s (%s, no. %s here): %s", name, type(error).__name__, counts[name], why, extra=ids)
