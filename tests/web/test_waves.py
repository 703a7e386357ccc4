"""The pages of waves: the operator's, on which they are made, and what a customer reads of each wave."""

import re
from datetime import datetime, timedelta

import pytest

from tests.builders import csrf_token, make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from tests.sale.test_waves import campaign, come, move, row
from webapp.models import CLOSED, DRAFT, OPERATOR
from webapp.sale.previews import sign_preview
from webapp.sale.waves import make_waves, told, waves_of
from webapp.values.moments import SEOUL

pytestmark = on_sqlite
KO = {"Accept-Language": "ko"}


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    return client


def draft(days: int = 6) -> int:
    return make_coupon(status=DRAFT, quota=7, opens_in=3600, closes_in=days * 86400)


def first_time() -> datetime:
    return (datetime.now(SEOUL) + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)


def form(**fields) -> dict[str, str]:
    """Return the form for 500 a day at 10:00 for 5 days, as a browser sends it."""
    times = first_time().strftime("%Y-%m-%dT%H:%M")
    daily = {"times": times, "count": "5", "days": "1", "quota": "500", "one_each": "y", "seen": ""}
    return daily | {name: str(value) for name, value in fields.items()}


def post(client, coupon, fields):
    data = {"csrf_token": csrf_token(client), **fields}
    return client.post(f"/admin/coupons/{coupon}/waves", data=data, headers=KO)


def test_500_a_day_at_10_for_5_days(operator):
    coupon = draft()
    assert f'href="/admin/coupons/{coupon}/waves"' in operator.get(f"/admin/coupons/{coupon}").text
    assert "차수 만들기" in operator.get(f"/admin/coupons/{coupon}/waves", headers=KO).text
    for _ in range(2):
        seen = told(waves_of(row(coupon)))
        assert post(operator, coupon, form(seen=seen)).location == f"/admin/coupons/{coupon}/waves"
    waves = waves_of(row(coupon))
    assert [wave.issue_start_at for wave in waves] == [first_time() + timedelta(days=at) for at in range(5)]
    assert {wave.total_quantity for wave in waves} == {500}
    page = operator.get(f"/admin/coupons/{coupon}/waves", headers=KO).text
    assert "5차로 나눠 여는 캠페인이에요" in page
    assert re.findall(r">(\d)차</a>", page) == list("12345")


def test_two_operators_at_once_the_second_sees_what_changed(operator):
    coupon = draft()
    post(operator, coupon, form())
    answer = post(operator, coupon, form(count=3, seen=""))
    assert (answer.status_code, len(waves_of(row(coupon)))) == (422, 5)
    assert "다른 운영자가 차수를 바꿨어요" in answer.text
    seen = re.search(r'name="seen"[^>]* value="([^"]*)"', answer.text)[1]
    assert post(operator, coupon, form(count=3, seen=seen)).status_code == 303
    assert len(waves_of(row(coupon))) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"times": ""},
        {"times": "soon"},
        {"times": "2020-01-01T10:00"},
        {"times": "2999-12-31T10:00"},
        {"count": ""},
        {"count": "0"},
        {"count": "61"},
        {"count": "nine"},
        {"count": "60"},
        {"days": "0"},
        {"days": "400"},
        {"days": ""},
        {"quota": ""},
        {"quota": "0"},
        {"quota": "9" * 30},
    ],
)
def test_bad_input_is_blamed_in_words_and_changes_nothing(operator, fields):
    coupon = draft()
    answer = post(operator, coupon, form(**fields))
    assert answer.status_code == 422
    assert 'class="error"' in answer.text
    assert (row(coupon).campaign_id, row(coupon).total_quantity) == (None, 7)


def test_what_is_live_says_why_it_stays(operator):
    ids = campaign()
    page = operator.get(f"/admin/coupons/{ids[1]}/waves", headers=KO).text
    assert "이미 공개해서" in page
    assert "<form class" not in page
    assert post(operator, ids[1], form(seen=told(waves_of(row(ids[1]))))).status_code == 422
    alone = make_coupon()
    assert "초안만 여러 차수로" in operator.get(f"/admin/coupons/{alone}/waves", headers=KO).text


def test_the_console_lists_a_campaign_as_one(operator):
    ids, (user,) = campaign(3, quota=500), [make_user()]
    come(ids[0], user.id)
    page = operator.get("/admin/", headers=KO).text
    assert len(re.findall(r'<th scope="row">', page)) == 1
    assert "3차로 나눔" in page
    assert re.search(r"<td>1</td>\s*<td>1,500</td>\s*<td>0</td>", page)


def test_the_front_page_shows_a_campaign_as_one_with_the_wave_that_is_on(client):
    ids = campaign(3)
    move(ids[1], opens_in=3600)
    move(ids[2], opens_in=7200)

    def shown() -> tuple[list[str], str]:
        page = client.get("/", headers=KO).text
        return re.findall(r'class="offers__title" href="/coupons/(\d+)"', page), page

    assert shown()[0] == [str(ids[0])]
    assert "총 3차 중 1차" in shown()[1]
    move(ids[0], opens_in=-120, closes_in=-60)
    assert shown()[0] == [str(ids[1])]
    for wave in ids[1:]:
        move(wave, opens_in=-120, closes_in=-60)
    assert len(shown()[0]) == 1


def test_the_page_of_a_wave_says_which_it_is_and_when_the_next_opens(client):
    ids = campaign(2)
    move(ids[1], opens_in=3600)
    page = client.get(f"/coupons/{ids[0]}", headers=KO).text
    assert "총 2차 중 1차" in page
    assert re.search(rf'<a href="/coupons/{ids[1]}">다음 차수는 .* 열려요</a>', page)
    assert "모든 차수를 통틀어 1장" in page
    assert "마지막 차수예요" in client.get(f"/coupons/{ids[1]}", headers=KO).text
    assert "차수" not in client.get(f"/coupons/{make_coupon()}", headers=KO).text


def test_who_has_one_of_another_wave_reads_so_before_the_click_and_after_it(client):
    ids, user = campaign(), make_user()
    sign_in(client, user)
    come(ids[0], user.id)
    page = client.get(f"/coupons/{ids[1]}", headers=KO).text
    assert "이미 받으셨어요" in page
    assert f'href="/coupons/{ids[0]}"' in page
    assert "/claim" not in page
    come(ids[1], user.id)
    assert "다른 차수에서 이미 받으셨어요" in client.get(f"/coupons/{ids[1]}", headers=KO).text


def test_with_one_a_wave_the_button_is_there(client):
    ids, user = campaign(one_each=False), make_user()
    sign_in(client, user)
    come(ids[0], user.id)
    assert f'action="/coupons/{ids[1]}/claim"' in client.get(f"/coupons/{ids[1]}", headers=KO).text


def test_a_preview_shows_the_wave_without_a_link(app, client):
    coupon = draft()
    make_waves(coupon, [first_time(), first_time() + timedelta(days=1)], quota=5, by=None)
    key = sign_preview(app.config["SECRET_KEY"], coupon)
    page = client.get(f"/preview?key={key}", headers=KO).text
    assert "총 2차 중 1차" in page
    assert f"/coupons/{coupon + 1}" not in page


def test_an_ended_campaign_is_put_aside_as_one(operator):
    ids = campaign()
    for wave in ids:
        move(wave, opens_in=-120, closes_in=-60)
    data = {"csrf_token": csrf_token(operator)}
    assert operator.post(f"/admin/coupons/{ids[1]}/archive", data=data).status_code == 303
    assert all(row(wave).archived_at for wave in ids)
    assert row(ids[0]).status != CLOSED
