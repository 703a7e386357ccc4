"""The report of a sale: each figure is counted from the rows, and what is planted in them is found."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import redis
from sqlalchemy import Connection, insert, select, update

from tests.builders import failing, make_coupon, make_users
from tests.sale.test_exports import issue, sale  # noqa: F401
from webapp.line.line import Line
from webapp.models import DRAFT, LIVE, Coupon, CouponIssue, LineEvent, SaleReport, utcnow
from webapp.sale import claims, figures, redeeming, report
from webapp.sale.admission import admit
from webapp.sale.coupons import change_coupon
from webapp.sale.figures import Figures, count
from webapp.sale.held import by_coupon
from webapp.sale.report import keep, next_to_count, report_of, sweep_reports, want
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

OPENED = datetime(2026, 1, 2, 11, 0, tzinfo=UTC)
"""20:00 of a Friday in Korea."""


def change(table, *where, **values) -> None:
    with db.engine.begin() as connection:
        connection.execute(update(table).where(*where).values(**values))


def number(ticket_number: int):
    return CouponIssue.ticket_number == ticket_number


def counted(coupon: int) -> Figures:
    return count(db.session.get_one(Coupon, coupon, populate_existing=True))


@pytest.fixture
def sold(app):
    """A coupon of 100: ten a second went, from 20:00 of a Friday in Korea on."""
    coupon = make_coupon(quota=None, discount_amount=5000)
    issue(coupon, make_users(100))
    change(Coupon, Coupon.id == coupon, issue_start_at=OPENED)
    for second in range(10):
        batch = CouponIssue.ticket_number.between(second * 10 + 1, second * 10 + 10)
        change(CouponIssue, batch, issued_at=OPENED + timedelta(seconds=second))
    return coupon


def test_how_many_came_is_what_became_of_them(sale):  # noqa: F811
    coupon, _users = sale
    found = report_of(coupon)
    of = found.figures
    assert (of.issued, of.rejected, of.revoked, of.lost, of.waiting, of.in_standby) == (2, 1, 1, 0, 0, 1)
    assert found.came == 5
    assert of.reasons == {"blocked": 1}
    assert found.sold_out_after_s > 0


def test_the_chart_shows_when_they_went(sold):
    of = counted(sold)
    assert (of.begins_at, of.width_s, of.bars, of.later) == (OPENED.timestamp(), 1, [10] * 10, 0)
    assert (of.first_at, of.last_at) == (OPENED.timestamp(), OPENED.timestamp() + 9)


@pytest.mark.parametrize(
    ("who", "after_s", "width_s", "bars", "later"),
    [
        (99, 20, 1, 21, 0),
        (99, 3600, 1, 10, 1),
        (99, 30 * 86400, 1, 10, 1),
        (90, 60, 2, 31, 0),
        (90, 3600, 120, 31, 0),
    ],
)
def test_the_chart_has_few_bars_and_leaves_out_who_came_long_after(sold, who, after_s, width_s, bars, later):
    change(CouponIssue, CouponIssue.ticket_number > who, issued_at=OPENED + timedelta(seconds=after_s))
    of = counted(sold)
    assert (of.width_s, len(of.bars), of.later) == (width_s, bars, later)
    assert sum(of.bars) + of.later == of.issued == 100


def test_a_sale_of_days_has_bars_that_begin_with_the_day_in_korea(sold):
    for day in range(10):
        batch = CouponIssue.ticket_number.between(day * 10 + 1, day * 10 + 10)
        change(CouponIssue, batch, issued_at=OPENED + timedelta(days=7 * day))
    of = counted(sold)
    assert of.width_s == 604800
    assert (of.begins_at + figures.KOREA_S) % of.width_s == 0
    assert len(of.bars) <= figures.MOST_BARS


def test_in_order_there_is_no_inversion_and_each_that_is_planted_is_counted(sold, monkeypatch):
    assert counted(sold).inversions == 0
    change(CouponIssue, number(40), ticket_number=1000)
    change(CouponIssue, number(60), ticket_number=40)  # number 40 was decided after 41 to 59
    change(CouponIssue, number(1000), ticket_number=60)
    of = counted(sold)
    assert (of.inversions, of.overtakers) == (20, [41, 42, 43, 44, 45])
    monkeypatch.setattr(report, "AT_ONCE", 1000)
    assert report_of(sold).figures.inversions == 20


def test_the_order_is_counted_over_pages(sold, monkeypatch):
    whole = counted(sold)
    monkeypatch.setattr("webapp.sale.records.READ", 7)
    monkeypatch.setattr(figures, "pages_by_number", by_seven(figures.pages_by_number))
    paged = counted(sold)
    assert paged.as_json() | {"counted_at": 0} == whole.as_json() | {"counted_at": 0}


def by_seven(pages):
    return lambda *args: pages(*args, 7)


def test_the_longest_wait_is_from_the_click_to_the_row(app):
    coupon = make_coupon(quota=2)
    for user in make_users(3):
        claims.claim(coupon, user)
    admit(coupon)
    assert counted(coupon).wait_s < 30
    line = Line(line_redis(), coupon)
    came_ms = line.arrival(2)
    change(
        CouponIssue, number(2), issued_at=datetime.fromtimestamp(came_ms / 1000, UTC) + timedelta(seconds=5)
    )
    of = counted(coupon)
    assert (of.wait_s, of.wait_number) == (5.0, 2)


def test_who_was_served_from_standby_much_later_is_no_wait_of_the_line(app):
    coupon = make_coupon(quota=1)
    users = make_users(2)
    for user in users:
        claims.claim(coupon, user)
    admit(coupon)
    redeeming.revoke(by_coupon(users[0], coupon).code, None, "#1")
    admit(coupon)
    line_redis().hset(
        Line(line_redis(), coupon).gate_key, "sold_out_at", str(int(utcnow().timestamp() * 1000))
    )
    change(CouponIssue, number(2), issued_at=utcnow() + timedelta(days=1))
    assert counted(coupon).wait_s is None


def test_a_number_of_a_lost_epoch_has_no_known_wait(sold):
    line = Line(line_redis(), sold)
    line.redis.zadd(line.arrivals_key, {"17648460000": 1, "unknown:1000000": 50})
    of = counted(sold)
    assert of.wait_number <= 49


def test_uses_are_counted_by_the_day_in_korea(sold):
    change(CouponIssue, number(1), used_at=datetime(2026, 1, 2, 14, 59, 59, tzinfo=UTC))
    change(CouponIssue, number(2), used_at=datetime(2026, 1, 2, 15, 0, tzinfo=UTC))
    of = counted(sold)
    assert (of.used, of.days) == (2, {"2026-01-02": 1, "2026-01-03": 1})


@pytest.mark.parametrize(
    ("terms", "cost", "exact"),
    [
        ({"benefit": "amount", "discount_amount": 5000}, 15_000, True),
        ({"benefit": "percent", "discount_percent": 10, "discount_cap": 2000}, 6_000, False),
        ({"benefit": "percent", "discount_percent": 10}, None, False),
        ({"benefit": "gift", "benefit_words": "콜라"}, None, False),
    ],
)
def test_what_it_has_cost_is_what_was_used(app, terms, cost, exact):
    coupon = make_coupon(quota=None, **terms)
    issue(coupon, make_users(5))
    change(CouponIssue, CouponIssue.ticket_number <= 3, used_at=utcnow())
    found = report_of(coupon)
    assert (found.cost, found.cost_is_exact) == (cost, exact)


def test_what_was_not_used_in_time_has_expired(sold):
    change(CouponIssue, number(1), used_at=utcnow())
    for until, expired in (
        (None, None),
        (utcnow() + timedelta(days=1), None),
        (utcnow() - timedelta(days=1), 99),
    ):
        change(Coupon, Coupon.id == sold, valid_until=until)
        assert report_of(sold).expired == expired


def test_a_line_that_began_anew_and_what_operators_did_are_incidents(sale):  # noqa: F811
    coupon, _users = sale
    assert report_of(coupon).incidents == []
    line_redis().flushall()
    claims.line_status(coupon)
    change_coupon(coupon, step="pause", by=7)
    change_coupon(coupon, status=LIVE, by=7)
    change_coupon(coupon, total_quantity=9)
    change_coupon(coupon, title="토요일")
    found = report_of(coupon).incidents
    assert [each.what for each in found] == ["Redis lost the line", "pause", "resume", "change quota"]
    assert [each.entry and each.entry.actor_id for each in found] == [None, 7, 7, None]


def test_without_redis_what_it_alone_knows_is_unknown_and_what_was_kept_stays(sale, monkeypatch):  # noqa: F811
    coupon, _users = sale
    whole = keep(coupon)
    with db.engine.begin() as connection:
        lost = {
            "coupon_id": coupon,
            "epoch": 1,
            "kind": "lost",
            "reason": "x",
            "user_id": 99,
            "ticket_number": 9,
        }
        connection.execute(insert(LineEvent).values(**lost))
    down = failing(redis.ConnectionError("down"))
    monkeypatch.setattr("webapp.stores.script_redis.ScriptRedis.run_script", down)
    monkeypatch.setattr("webapp.stores.script_redis.ScriptRedis.pipeline", down)
    alone = counted(coupon)
    assert (alone.waiting, alone.in_standby, alone.sold_out_at, alone.wait_s, alone.lost) == (None,) * 5
    assert (alone.issued, alone.rejected) == (2, 1)
    found = report_of(coupon)
    assert (found.figures.in_standby, found.figures.sold_out_at) == (1, whole.sold_out_at)
    assert found.came is None


def test_a_large_sale_is_counted_when_somebody_asks_and_kept(sold, monkeypatch):
    monkeypatch.setattr(report, "AT_ONCE", 99)
    change(Coupon, Coupon.id == sold, issue_end_at=OPENED + timedelta(days=1))
    assert (report_of(sold).figures, report_of(sold).wanted) == (None, False)
    want(sold)
    want(sold)
    assert report_of(sold).wanted
    sweep_reports()
    found = report_of(sold)
    assert (found.figures.issued, found.wanted) == (100, False)
    monkeypatch.setattr(report, "count", failing(AssertionError("the page counted")))
    assert report_of(sold).figures.issued == 100


def test_who_asks_while_it_is_counted_is_answered_by_the_next_count(sold, monkeypatch):
    def asked_meanwhile(coupon):
        want(sold)
        return count(coupon)

    monkeypatch.setattr(report, "count", asked_meanwhile)
    keep(sold)
    assert report_of(sold).wanted


def test_a_sale_is_counted_once_after_its_end_and_once_after_it_expired(app):
    coupon = make_coupon(opens_in=-7200, closes_in=-30)
    assert next_to_count() is None  # the line may still be served
    change(Coupon, Coupon.id == coupon, issue_end_at=utcnow() - timedelta(hours=1))
    assert next_to_count() == coupon
    assert next_to_count(also_ended=False) is None
    sweep_reports()
    assert next_to_count() is None
    change(SaleReport, counted_at=utcnow() - timedelta(hours=3))
    change(Coupon, Coupon.id == coupon, issue_end_at=utcnow() - timedelta(hours=4), issue_start_at=OPENED)
    assert next_to_count() is None
    change(Coupon, Coupon.id == coupon, valid_until=utcnow() - timedelta(hours=1))
    assert next_to_count() == coupon


@pytest.mark.parametrize(
    "fields", [{"status": DRAFT}, {"rehearsal": True}, {"issue_end_at": utcnow() - timedelta(days=40)}]
)
def test_what_nobody_reads_is_not_counted_by_itself(app, fields):
    coupon = make_coupon(opens_in=-7200, closes_in=-3600)
    change(Coupon, Coupon.id == coupon, **{"issue_start_at": utcnow() - timedelta(days=50)} | fields)
    assert next_to_count() is None


def test_a_coupon_that_is_gone_is_wanted_no_more(app):
    want(999)
    sweep_reports()
    assert next_to_count() is None
    with pytest.raises(LookupError):
        report_of(999)


def test_the_audit_is_told_and_what_it_finds_too(sale):  # noqa: F811
    coupon, _users = sale
    assert report_of(coupon).figures.audit is None
    assert keep(coupon).audit == []
    line = Line(line_redis(), coupon)
    line.redis.hset(line.results_key, "999", "issued:77:NOBODYSCODE1")
    assert keep(coupon).audit != []


def test_a_large_sale_that_is_open_is_not_locked_for_an_audit(sold, monkeypatch):
    monkeypatch.setattr(report, "AT_ONCE", 99)
    assert keep(sold).audit is None
    change(Coupon, Coupon.id == sold, issue_end_at=OPENED + timedelta(days=1))
    assert keep(sold).audit is not None


def test_few_coupons_that_turned_many_people_away_are_a_large_sale(sold, monkeypatch):
    rows = [
        {"coupon_id": sold, "epoch": 1, "kind": "rejected", "ticket_number": 200 + each, "reason": "sold_out"}
        for each in range(50)
    ]
    with db.engine.begin() as connection:
        connection.execute(insert(LineEvent), rows)
    monkeypatch.setattr(report, "AT_ONCE", 150)
    assert report_of(sold).figures.issued == 100
    monkeypatch.setattr(report, "AT_ONCE", 149)
    assert report_of(sold).figures is None


def test_what_was_written_by_another_release_is_read(sold):
    keep(sold)
    kept = json.loads(db.session.scalar(select(SaleReport.figures)))
    change(SaleReport, figures=json.dumps({**kept, "news": 1, "audit": ["P1"]}))
    assert report_of(sold).figures.audit == ["P1"]


def test_a_draft_and_a_coupon_nobody_came_for_have_a_report(app):
    for coupon in (make_coupon(status=DRAFT), make_coupon()):
        found = report_of(coupon)
        assert (found.figures.issued, found.figures.bars, found.sold_out_after_s) == (0, [], None)
        keep(coupon)


def test_two_that_keep_at_once_write_one_row(sold, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "scalar", lambda *_: None)  # neither has seen the other's row
        report._write(sold, wanted_at=utcnow())
        report._write(sold, counted_at=utcnow())
    assert db.session.scalars(select(SaleReport)).one().wanted_at is not None
