"""How times are shown: the year of another year, the days of a long countdown, the zone of Korea."""

from datetime import UTC, datetime, timedelta

import pytest
from flask_babel import force_locale

from tests.conftest import on_sqlite
from webapp.values.moments import SEOUL
from webapp.web import presenting
from webapp.web.presenting import time_left, when

DAY = 24 * 3600


class Now(datetime):
    """A clock that shows the first second of 2027 in Seoul, when it is still 2026 in Greenwich."""

    @classmethod
    def now(cls, tz=None):
        return datetime(2027, 1, 1, tzinfo=SEOUL).astimezone(tz)


YEARS = [
    (datetime(2027, 1, 1, 0, 0, tzinfo=SEOUL), "1월 1일 (금) 00:00", "Jan 1 (Fri), 00:00"),
    (
        datetime(2026, 12, 31, 23, 59, tzinfo=SEOUL),
        "2026년 12월 31일 (목) 23:59",
        "Dec 31, 2026 (Thu), 23:59",
    ),
    (datetime(2026, 12, 31, 15, 0, tzinfo=UTC), "1월 1일 (금) 00:00", "Jan 1 (Fri), 00:00"),
    (datetime(2026, 12, 31, 14, 59, tzinfo=UTC), "2026년 12월 31일 (목) 23:59", "Dec 31, 2026 (Thu), 23:59"),
    (datetime(2027, 12, 31, 14, 59, tzinfo=UTC), "12월 31일 (금) 23:59", "Dec 31 (Fri), 23:59"),
    (datetime(2027, 12, 31, 15, 0, tzinfo=UTC), "2028년 1월 1일 (토) 00:00", "Jan 1, 2028 (Sat), 00:00"),
    (datetime(2030, 2, 28, 12, 0, tzinfo=SEOUL), "2030년 2월 28일 (목) 12:00", "Feb 28, 2030 (Thu), 12:00"),
]


@on_sqlite
@pytest.mark.parametrize(("moment", "korean", "english"), YEARS)
def test_a_date_in_another_year_shows_its_year(app, monkeypatch, moment, korean, english):
    monkeypatch.setattr(presenting, "datetime", Now)
    for language, text in (("ko", korean), ("en", english)):
        with force_locale(language):
            assert when(moment).striptags() == text


@on_sqlite
def test_the_zone_is_left_to_the_visitors_clock(app):
    shown = when(datetime.now(UTC) + timedelta(days=1))
    assert 'data-zone="KST"' in shown
    assert "KST" not in shown.striptags()


@on_sqlite
@pytest.mark.parametrize(
    ("seconds", "korean", "english"),
    [
        (-1, "00:00:00", "00:00:00"),
        (0, "00:00:00", "00:00:00"),
        (59, "00:00:59", "00:00:59"),
        (3600, "01:00:00", "01:00:00"),
        (DAY - 1, "23:59:59", "23:59:59"),
        (DAY, "1일 00:00:00", "1 day 00:00:00"),
        (2 * DAY - 1, "1일 23:59:59", "1 day 23:59:59"),
        (2 * DAY, "2일 00:00:00", "2 days 00:00:00"),
        (10 * DAY + 3661, "10일 01:01:01", "10 days 01:01:01"),
        (400 * DAY, "400일 00:00:00", "400 days 00:00:00"),
    ],
)
def test_a_countdown_over_a_day_shows_the_days(app, seconds, korean, english):
    for language, text in (("ko", korean), ("en", english)):
        with force_locale(language):
            assert time_left(seconds) == text
