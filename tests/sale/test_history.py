"""The history of a sale: a row a second while something happens, none while nothing does, and never too many."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import select

from tests.builders import make_coupon, make_users
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.models import DRAFT, LineSample
from webapp.sale import admission, claims, history
from webapp.sale.history import Sample, Sampler, _Kept, last_samples, paces, whole_sale
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

BEGAN = datetime(2026, 11, 27, 11, tzinfo=UTC)


@pytest.fixture
def sampler(app, monkeypatch) -> Sampler:
    """A sampler whose looks may follow each other at once."""
    monkeypatch.setattr(history, "OFTEN", timedelta(0))
    return Sampler()


def come(coupon: int, count: int) -> None:
    for user in make_users(count):
        claims.claim(coupon, user)


def rows(coupon: int) -> list[tuple[int, int, int, int]]:
    """Return number, came, issued and waiting of each row."""
    columns = (LineSample.number, LineSample.came, LineSample.issued, LineSample.waiting)
    with db.engine.connect() as connection:
        found = select(*columns).where(LineSample.coupon_id == coupon).order_by(LineSample.number)
        return [tuple(row) for row in connection.execute(found)]


def at(second: float, came: int = 0, issued: int = 0) -> Sample:
    return Sample(BEGAN + timedelta(seconds=second), 1, came, came, issued, came - issued)


def kept_after(*samples: Sample, number: int = 0) -> list[Sample]:
    """Return the rows of a sampler that looks at these, one after the other."""
    kept, written = _Kept(number), []
    for found in samples:
        new = kept.rows_for(found)
        written += new
        kept = _Kept(kept.number + len(new), found if new else kept.row, found)
    return written


def test_rows_tell_what_happened_and_nothing_more(sampler):
    coupon = make_coupon(quota=5)
    claims.line_status(coupon)
    assert sampler.look() == 0
    come(coupon, 3)
    assert sampler.look() == 2  # before them stands the look that saw nobody
    admission.admit(coupon)
    assert [sampler.look() for _ in range(3)] == [1, 0, 0]
    come(coupon, 4)
    admission.admit(coupon)
    sampler.look()
    assert rows(coupon) == [(1, 0, 0, 0), (2, 3, 0, 3), (3, 3, 3, 0), (4, 7, 5, 0)]
    assert last_samples(coupon, 1)[0].in_standby == 2
    assert [sample.came for sample in last_samples(coupon, 2)] == [3, 7]


def test_who_came_before_the_first_look_came_since_the_start(sampler):
    coupon = make_coupon(opens_in=-60)
    come(coupon, 3)
    assert sampler.look() == 2
    first, second = last_samples(coupon, 2)
    assert (first.came, second.came) == (0, 3)
    assert 55 < (second.at - first.at).total_seconds() < 120


def test_pages_alone_write_nothing(sampler):
    coupon = make_coupon()
    come(coupon, 1)
    sampler.look()
    line = Line(line_redis(), coupon)
    now = line_redis().time()
    line_redis().hset(line.turnout_key, "web", f"1:{now[0] * 1000}:900:300")
    assert sampler.look() == 0
    come(coupon, 1)
    sampler.look()
    assert last_samples(coupon, 1)[0].pages == 900


def test_what_is_not_on_sale_is_not_looked_at(sampler):
    on_sale = make_coupon()
    others = [
        make_coupon(status=DRAFT),
        make_coupon(opens_in=3600, closes_in=7200),
        make_coupon(opens_in=-4 * 86_400, closes_in=-2 * 86_400),
        make_coupon(rehearsal=True),
    ]
    assert list(history._on_sale()) == [on_sale]
    assert others[0] > on_sale


def test_a_new_epoch_counts_people_on(sampler):
    coupon = make_coupon(quota=None)
    come(coupon, 3)
    admission.admit(coupon)
    sampler.look()
    Line(line_redis(), coupon).end_epoch()
    claims.line_status(coupon)
    sampler.look()
    come(coupon, 2)
    sampler.look()
    assert [came for _number, came, _issued, _waiting in rows(coupon)][-1] == 5


def test_a_restarted_sampler_goes_on_where_the_last_one_was(sampler):
    coupon = make_coupon()
    come(coupon, 2)
    sampler.look()
    assert Sampler().look() == 0
    come(coupon, 1)
    again = Sampler()
    assert again.look() == 1
    assert [number for number, *_ in rows(coupon)] == [1, 2, 3]


def test_of_two_samplers_one_writes_each_row(sampler):
    coupon, other = make_coupon(), Sampler()
    come(coupon, 1)
    sampler.look(), other.look()
    come(coupon, 1)
    assert (sampler.look(), other.look()) == (1, 0)  # the second one's number is taken
    come(coupon, 1)
    assert (other.look(), sampler.look()) == (1, 0)
    assert [came for _number, came, _issued, _waiting in rows(coupon)] == [0, 1, 2, 3]


def test_control_without_the_key_both_would_write(sampler, monkeypatch):
    """A number of its own for each: the guard is the primary key of coupon and number."""
    coupon, other = make_coupon(), Sampler()
    come(coupon, 1)
    sampler.look(), other.look()
    come(coupon, 1)
    numbered = history._looked_at

    def apart(coupon_id, before):
        kept, written = numbered(coupon_id, before)
        return kept, [row | {"number": row["number"] + 1000} for row in written]

    sampler.look()
    monkeypatch.setattr(history, "_looked_at", apart)
    other.look()
    assert [came for _number, came, _issued, _waiting in rows(coupon)] == [0, 1, 2, 2]


def test_a_row_each_second_and_none_twice_in_one():
    assert kept_after(at(0, 1), at(0.3, 2), at(1, 3), at(2, 4)) == [at(0, 1), at(1, 3), at(2, 4)]


def test_a_quiet_time_ends_with_the_look_before_the_change():
    quiet = [at(second, 100) for second in range(1, 60)]
    assert kept_after(at(0, 100), *quiet, at(60, 600)) == [at(0, 100), at(59, 100), at(60, 600)]


@pytest.mark.parametrize(
    ("number", "people", "rows_in_all"),
    [(0, 1, 3600), (history.FINE, 1, 360), (history.FINE, 10, 3600), (history.MOST, 1000, 1)],
)
def test_a_long_sale_has_no_more_rows_than_it_may(number, people, rows_in_all):
    """An hour in which so many people come each second, once there are so many rows."""
    looks = [at(second, people * (second + 1)) for second in range(3600)]
    first, *found = kept_after(looks[0], *looks[1:], number=number)
    assert first == looks[0]
    assert len(found) + 1 == pytest.approx(rows_in_all, abs=2)


def test_a_clock_that_was_put_back_stops_no_row():
    assert kept_after(at(600, 1), at(0, 2)) == [at(600, 1), at(0, 2)]


def test_the_pace_is_that_of_the_rows():
    found = paces([at(0), at(10, 100, 50), at(20, 100, 100)], BEGAN, BEGAN + timedelta(seconds=30), 6)
    assert [each.claims for each in found] == [10, 10, 0, 0, 0, 0]
    assert [each.issued for each in found] == [5, 5, 5, 5, 0, 0]
    assert {then.at - now.at for now, then in pairwise(found)} == {timedelta(seconds=5)}


def test_coupons_that_were_taken_back_make_no_negative_pace():
    (only,) = paces([at(0, 100, 100), at(10, 100, 40)], BEGAN, BEGAN + timedelta(seconds=10), 1)
    assert (only.claims, only.issued) == (0, 0)
    assert paces([], BEGAN, BEGAN + timedelta(seconds=1), 1)[0].claims == 0


@on_sqlite
def test_a_sale_is_read_with_its_first_and_its_last_row(app):
    with db.engine.begin() as connection:
        connection.execute(
            LineSample.__table__.insert(),
            [{"coupon_id": 7, "number": n, **at(n, 10 * n)._asdict()} for n in range(1, 1001)],
        )
    found = whole_sale(7, 100)
    assert (found[0], found[-1]) == (at(1, 10), at(1000, 10_000))
    assert 100 <= len(found) <= 101
    assert len(whole_sale(7, 5000)) == 1000
    assert whole_sale(8) == []


def test_nobody_is_named_in_it():
    assert not {"user_id", "member", "email"} & set(LineSample.__table__.columns.keys())
