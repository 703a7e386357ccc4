"""Points in time as operators type them."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from webapp.values.texts import figures

SEOUL = ZoneInfo("Asia/Seoul")
"""The zone of a time that names none."""
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC)
DAY = timedelta(days=1)

DATE = r"(?P<date>2[0-9]{3}-[0-9]{2}-[0-9]{2})"
CLOCK = r"(?P<clock>[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)"
OFFSET = r"(?P<offset>Z|[+-][0-9]{2}(:?[0-9]{2})?)"
MOMENT = re.compile(f"{DATE}([T ]{CLOCK}( ?{OFFSET})?)?", re.IGNORECASE)
MIDNIGHT = re.compile(r"24:00(:00(\.0+)?)?")
"""The end of a day, as people write it who mean that day and not the next."""


def read_moment(text: str, *, end: bool = False) -> datetime:
    """Return the UTC time that a text names; without an offset it is Korean time.

    A date alone is the beginning of that day, or with `end` the end of it. Raises ValueError for every text but a date
    or a date with a time of day, and for years before EARLIEST or after LATEST.
    """
    found = MOMENT.fullmatch(figures(text))
    if found is None:
        raise ValueError(f"write a date with a time of day, from {EARLIEST.year} to {LATEST.year}")
    clock, offset = found["clock"] or "00:00", (found["offset"] or "").upper()
    ends_the_day = bool(MIDNIGHT.fullmatch(clock)) if found["clock"] else end
    typed = datetime.fromisoformat(f"{found['date']}T{'00:00' if ends_the_day else clock}{offset}")
    moment = (typed if typed.tzinfo else typed.replace(tzinfo=SEOUL)).astimezone(UTC)
    # Python reads no 24:00, so the day's beginning was read, and the day is added.
    moment += DAY if ends_the_day else timedelta()
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"it is not from {EARLIEST.year} to {LATEST.year}")
    return moment


def write_moment(moment: datetime) -> str:
    """Return the time as Korean time without an offset, such that `read_moment` reads the same instant again."""
    return moment.astimezone(SEOUL).replace(tzinfo=None).isoformat()
