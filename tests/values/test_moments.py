from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapp.values.moments import read_moment, write_moment

MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001

AT_TEN = [
    *("2026-12-01T10:00", "2026-12-01 10:00", "2026-12-01 10:00:00", "2026-12-01T10:00:00.000000"),
    *(
        " 2026-12-01T10:00\n",
        "2026-12-01  10:00",
        "\ufeff2026-12-01T10:00",
        "２０２６－１２－０１　１０：００",
    ),
    *("2026-12-01T01:00Z", "2026-12-01t01:00z", "2026-12-01T01:00:00+00:00", "2026-12-01T10:00+09:00"),
    *("2026-12-01T10:00+0900", "2026-12-01 10:00 +0900", "2026-12-01T10:00+09"),
    *("2026-12-01T02:00:00.000+01:00", "2026-11-30T20:00-05:00", "2026-12-01T06:30+05:30"),
]
"""One instant, as people, browsers, `date` and Python write it."""


@pytest.mark.parametrize("text", AT_TEN)
@pytest.mark.parametrize("end", [False, True])
def test_without_an_offset_it_is_korean_time(text, end):
    assert read_moment(text, end=end) == datetime(2026, 12, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "begins", "ends"),
    [
        ("2026-12-01", (2026, 11, 30, 15), (2026, 12, 1, 15)),
        ("2026-12-31", (2026, 12, 30, 15), (2026, 12, 31, 15)),
        ("2028-02-29", (2028, 2, 28, 15), (2028, 2, 29, 15)),
        ("2026-12-01T24:00", (2026, 12, 1, 15), (2026, 12, 1, 15)),
        ("2026-12-01 24:00:00.0", (2026, 12, 1, 15), (2026, 12, 1, 15)),
        ("2026-12-01T24:00Z", (2026, 12, 2), (2026, 12, 2)),
        ("2026-12-01T00:00", (2026, 11, 30, 15), (2026, 11, 30, 15)),
    ],
)
def test_a_date_alone_is_its_first_moment_or_as_an_end_its_last(text, begins, ends):
    assert read_moment(text) == datetime(*begins, tzinfo=UTC)
    assert read_moment(text, end=True) == datetime(*ends, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-12-01T10:00:00.5", "2026-12-01T10:00:00.500000"])
def test_parts_of_a_second(text):
    assert read_moment(text) == datetime(2026, 12, 1, 1, 0, 0, 500_000, tzinfo=UTC)


NONE = [
    *("", " ", "soon", "내일", "1" * 10_000, "10:00", "2026-12-01T"),
    *("2026-02-30T10:00", "2026-13-01", "2026-12-00", "2027-02-29", "2026-12-01T25:00", "2026-12-01T10:60"),
    *("2026-12-01T24:01", "2026-12-01T24:00:01", "2026-12-01T23:59:60"),
    *(
        "0001-01-01",
        "1999-12-31",
        "3000-01-01",
        "9999-12-31T23:59",
        "2999-12-31T24:00",
        "2000-01-01T00:00+14:00",
    ),
    *("2026-W48-5", "2026W485", "2026-335", "20261201", "20261201T1000", "2026-12-01T1000", "2026-12-01T10"),
    *("2026-12-1", "26-12-01", "2026/12/01", "2026.12.01", "2026. 12. 1.", "12/01/2026", "2026년 12월 1일"),
    *("2026-12-01_10:00", "2026-12-01,10:00", "2026-12-01T10:00,5", "2026-12-01T10:00:00.1234567"),
    *("2026-12-01T10:00 PM", "오전 10:00", "2026-12-01T10:00 KST", "2026-12-01T10:00[Asia/Seoul]"),
    *(
        "2026-12-01Z",
        "2026-12-01+09:00",
        "2026-12-01T10:00+9",
        "2026-12-01T10:00+24:00",
        "2026-12-01T10:00−09:00",
    ),
    *("٢٠٢٦-١٢-٠١", "2026-12-01T10:00ZZ"),
]


@pytest.mark.parametrize("text", NONE, ids=lambda text: ascii(text)[:40])
@pytest.mark.parametrize("end", [False, True])
def test_anything_else_is_refused(text, end):
    with pytest.raises(ValueError, match=r"\S"):
        read_moment(text, end=end)


@given(MOMENTS)
def test_what_is_written_reads_back_to_the_microsecond(moment):
    assert read_moment(write_moment(moment)) == moment
    assert read_moment(write_moment(moment), end=True) == moment
