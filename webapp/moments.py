"""Points in time as operators type them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

SEOUL = ZoneInfo("Asia/Seoul")
"""The zone of a time that names none."""
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2999, 12, 31, tzinfo=UTC)


def read_moment(text: str) -> datetime:
    """Return the UTC time that an ISO 8601 text names; without an offset it is Korean time.

    Raises ValueError for anything else, and for years that nobody means.
    """
    typed = datetime.fromisoformat(text.strip())
    if not EARLIEST.year <= typed.year <= LATEST.year:
        raise ValueError(f"{typed.year} is not a year from {EARLIEST.year} to {LATEST.year}")
    return (typed if typed.tzinfo else typed.replace(tzinfo=SEOUL)).astimezone(UTC)


def write_moment(moment: datetime) -> str:
    """Return the time as Korean time without an offset, such that `read_moment` reads the same instant again."""
    return moment.astimezone(SEOUL).replace(tzinfo=None).isoformat()
