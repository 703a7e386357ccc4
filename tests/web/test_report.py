"""The page of the report: what it says in each case, and that it asks for no more than it needs."""

from datetime import timedelta

import pytest
from sqlalchemy import event, insert, update

from tests.builders import csrf_token, failing, make_coupon, make_users
from tests.sale.test_exports import issue, sale  # noqa: F401
from tests.web.test_finding import EN, KO, operator
from webapp.models import DRAFT, Coupon, CouponIssue, LineSample, utcnow
from webapp.sale import report
from webapp.sale.coupons import change_coupon
from webapp.sale.history import Sample
from webapp.sale.report import keep, sweep_reports
from webapp.stores.sql import db
from webapp.web.admin.report import came_bars, lasting, unit, used_bars

__all__ = ["operator"]


def page(client, coupon: int, language=KO) -> str:
    answer = client.get(f"/admin/coupons/{coupon}/report", headers=language)
    assert answer.status_code == 200
    return answer.text


def test_the_report_of_a_sale_is_told_in_both_languages(sale, operator):  # noqa: F811
    coupon, _users = sale
    keep(coupon)
    change_coupon(coupon, step="pause")
    change_coupon(coupon, title="토요일")  # no incident
    text = page(operator, coupon)
    for words in (
        "쿠폰 2장 모두 앞선 순번부터",
        "감사에서 잘못된 점이 없었어요",
        "0원이에요. 사용한 쿠폰 0장",
    ):
        assert words in text, words
    assert text.count("</b> · 명령줄") == 1
    text = page(operator, coupon, EN)
    for words in (
        "Of 2 coupons none went",
        "found nothing wrong",
        "Paused the sale",
        "₩0: 0 used coupons of ₩5,000",
    ):
        assert words in text, words
    assert "<rect" in text
    assert "The account was blocked" in text


def test_the_report_draws_when_people_came(operator):
    coupon, began = make_coupon(), utcnow().replace(microsecond=0) - timedelta(minutes=5)
    keep(coupon)
    assert came_bars(coupon) == ([], 0)
    assert "사람들이 온 시각" not in page(operator, coupon)
    came = {0: 0, 2: 600, 4: 900, 60: 900, 61: 1000}
    samples = [Sample(began + timedelta(seconds=second), came=count) for second, count in came.items()]
    rows = [
        {"coupon_id": coupon, "number": number, **sample._asdict()}
        for number, sample in enumerate(samples, 1)
    ]
    with db.engine.begin() as connection:
        connection.execute(insert(LineSample), rows)
    bars, width_s = came_bars(coupon)
    assert width_s == 2
    assert sum(bar.height for bar in bars) == 1000
    assert max(bar.height for bar in bars[:3]) >= 300
    text = page(operator, coupon)
    assert "사람들이 온 시각" in text
    assert "막대 하나에 2초" in text


def test_what_is_wrong_is_said_as_loudly_as_what_is_right(sale, operator):  # noqa: F811
    coupon, _users = sale
    rows = update(CouponIssue).where(CouponIssue.coupon_id == coupon)
    with db.engine.begin() as connection:
        connection.execute(rows.where(CouponIssue.ticket_number == 4).values(ticket_number=0))
    keep(coupon)
    text = page(operator, coupon, EN)
    assert "1 numbers had a coupon before a lower number that got one later: 1 …" in text
    assert "The audit found something" in text


def test_a_large_sale_is_counted_beside_the_page(operator, monkeypatch):
    monkeypatch.setattr(report, "AT_ONCE", 2)
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(3))
    assert "이벤트가 끝난 뒤에 집계해요" in page(operator, coupon)
    for _click in range(2):
        sent = operator.post(
            f"/admin/coupons/{coupon}/report", data={"csrf_token": csrf_token(operator)}, headers=KO
        )
        assert (sent.status_code, sent.location) == (303, f"/admin/coupons/{coupon}/report")
    assert "집계하고 감사하는 중이에요" in page(operator, coupon)
    assert 'http-equiv="refresh"' in page(operator, coupon)
    sweep_reports()
    text = page(operator, coupon)
    assert "쿠폰 3장 모두" in text
    assert 'http-equiv="refresh"' not in text


def test_the_page_of_a_large_sale_reads_no_row_of_it(operator, monkeypatch):
    monkeypatch.setattr(report, "AT_ONCE", 2)
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(3))
    keep(coupon)
    monkeypatch.setattr(report, "count", failing(AssertionError("the page counted")))
    asked: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    page(operator, coupon)
    assert not any("FROM coupon_issues" in each or "FROM line_events" in each for each in asked)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ({"benefit": "percent", "discount_percent": 10}, "Unknown: it depends on what people bought"),
        ({"benefit": "percent", "discount_percent": 10, "discount_cap": 2000}, "₩2,000 at most."),
        ({"benefit": "gift", "benefit_words": "콜라"}, "1 were used: Gift: 콜라."),
        ({"discount_amount": 5000}, "₩5,000: 1 used coupons of ₩5,000 each."),
    ],
)
def test_the_cost_says_what_is_unknown(operator, terms, words):
    coupon = make_coupon(quota=None, **terms)
    issue(coupon, make_users(2))
    with db.engine.begin() as connection:
        first = update(CouponIssue).where(CouponIssue.coupon_id == coupon, CouponIssue.ticket_number == 1)
        connection.execute(first.values(used_at=utcnow()))
    assert words in page(operator, coupon, EN)


def test_a_draft_an_expired_one_and_an_unknown_one(operator):
    assert "나간 쿠폰이 없어요" in page(operator, make_coupon(status=DRAFT))
    coupon = make_coupon(quota=None)
    issue(coupon, make_users(2))
    with db.engine.begin() as connection:
        connection.execute(update(Coupon).values(valid_until=utcnow() - timedelta(days=1)))
    assert "기한 안에 쓰지 않은 쿠폰이 2장이에요" in page(operator, coupon)
    assert operator.get("/admin/coupons/999/report").status_code == 404


def test_days_without_a_use_have_a_bar_too_but_not_years_of_them(app):
    with app.test_request_context(headers=KO):
        figures = report.Figures(days={"2026-12-04": 2, "2026-12-07": 1})
        assert [tuple(bar) for bar in used_bars(figures)] == [
            ("12월 4일 (금)", 2),
            ("12월 5일 (토)", 0),
            ("12월 6일 (일)", 0),
            ("12월 7일 (월)", 1),
        ]
        assert len(used_bars(report.Figures(days={"2025-12-04": 2, "2026-12-07": 1}))) == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0.0초"), (59.94, "59.9초"), (61.5, "1분 1.5초"), (3599.9, "59분 59.9초"), (90_061, "25시간 1분")],
)
def test_a_span_of_time_is_told_in_words(app, seconds, words):
    with app.test_request_context(headers=KO):
        assert lasting(seconds) == words


def test_the_width_of_a_bar_is_told_in_words(app):
    with app.test_request_context(headers=KO):
        assert [unit(width) for width in (1, 30, 120, 3600, 43200)] == [
            "1초",
            "30초",
            "2분",
            "1시간",
            "12시간",
        ]
