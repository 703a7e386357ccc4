from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.moments import read_moment, write_moment

MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    "text", ["2026-12-01T10:00", "2026-12-01 10:00:00", "2026-12-01T01:00Z", "2026-12-01T02:00:00.000+01:00"]
)
def test_without_an_offset_it_is_korean_time(text):
    assert read_moment(text) == datetime(2026, 12, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-02-30T10:00", "0001-01-01", "9999-12-31T23:59", "1" * 10_000]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"\S"):
        read_moment(text)


@given(MOMENTS)
def test_what_is_written_reads_back_to_the_microsecond(moment):
    assert read_moment(write_moment(moment)) == moment
