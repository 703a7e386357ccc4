"""Points in time as operators type them."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from webapp.texts import figures

SEOUL = ZoneInfo("Asia/Seoul")
"""The zone of a time that names none."""
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC)
DAY = timedelta(days=1)

DATE = r"(?P<date>2[0-9]{3}-[0-9]{2}-[0-9]{2})"
CLOCK = r"(?P<clock>[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)"
OFFSET = r"(?P<offset>Z|[+-][0-9]{2}(:?[0-9]{2})?)"
MOMENT = re.compile(f"{DATE}([T ]{CLOCK}( ?{OFFSET})?)?", re.IGNORECASE)
MIDNIGHT = re.compile(r"24:00(:00(\.0+)?)?")
"""How people write the end of a day who mean that day."""


def read_moment(text: str, *, end: bool = False) -> datetime:
    """Return the UTC time that a text names; without an offset it is Korean time.

    A date alone is where that day begins and, for the `end` of something, where it ends. Raises ValueError for anything
    but a date or a date with a time of day, and for years that nobody means.
    """
    found = MOMENT.fullmatch(figures(text))
    if found is None:
        raise ValueError(f"write a date with a time of day, from {EARLIEST.year} to {LATEST.year}")
    clock, offset = found["clock"] or "00:00", (found["offset"] or "").upper()
    ends_the_day = bool(MIDNIGHT.fullmatch(clock)) if found["clock"] else end
    typed = datetime.fromisoformat(f"{found['date']}T{'00:00' if ends_the_day else clock}{offset}")
    moment = (typed if typed.tzinfo else typed.replace(tzinfo=SEOUL)).astimezone(UTC)
    moment += DAY if ends_the_day else timedelta()
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"it is not from {EARLIEST.year} to {LATEST.year}")
    return moment


def write_moment(moment: datetime) -> str:
    """Return the time as Korean time without an offset, such that `read_moment` reads the same instant again."""
    return moment.astimezone(SEOUL).replace(tzinfo=None).isoformat()
