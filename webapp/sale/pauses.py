"""The pauses between the polls of a page that waits, and how long admission awaits such pages in a new epoch."""

from flask import current_app

NEAR, NEAR_MS = 500, 1000
"""How many tickets are near the front, and how often their pages may ask."""
SLOW_MS = 10_000
"""The longest pause between two polls, unless POLLS_PER_SECOND needs a longer one."""
JITTER = 1.2
"""A page stretches its pause by up to a fifth (`static/coupon.js: run`)."""
OLD_NEWS_MS = 2500
"""Behind a proxy the public numbers are up to 2 s old, so a page may hear of a new epoch only with its next poll."""
MOST_GRACE_MS = 120_000


def next_ms(ahead: int, waiting: int = 0) -> int:
    """Return in how many ms a page may ask again, with `ahead` tickets before its own and `waiting` in line.

    It is 1 s near the front, up to SLOW_MS far from it, and longer only to keep the polls of all waiting pages within
    POLLS_PER_SECOND. Pages near the front are excepted; they are at most a quarter of that number.
    """
    polls_per_second = current_app.config["POLLS_PER_SECOND"]
    if ahead < min(NEAR, polls_per_second // 4):
        return NEAR_MS
    # A user farther back loses nothing by asking more rarely: their turn is many batches away.
    steps = ((NEAR, NEAR_MS), (2000, 2000), (10_000, 4000))
    by_distance = next((pause for limit, pause in steps if ahead < limit), SLOW_MS)
    return int(max(by_distance, max(ahead, waiting) * 1000 // polls_per_second))


def grace_ms(waiting: int, *, sold_out: bool = False) -> int:
    """Return in how many ms every open page of a line of that length has asked, whatever pause it was told.

    `sold_out`: the pages are those of standby. It never exceeds MOST_GRACE_MS, which is enough for 100,000 pages at
    half the default of POLLS_PER_SECOND.
    """
    longest = max(next_ms(waiting, waiting), SLOW_MS if sold_out else 0)
    return min(int(JITTER * longest) + OLD_NEWS_MS, MOST_GRACE_MS)
