"""A draft's page in every state, for whoever has its link, until it expires."""

import re
from datetime import timedelta

import pytest
from itsdangerous import TimestampSigner

from tests.builders import make_coupon
from tests.conftest import on_sqlite
from tests.sale.test_content import KOREAN, SHOWN
from tests.sale.test_pictures import BANNER
from tests.visits import nothing_changes
from tests.web.test_admin import operator
from webapp.models import DRAFT, utcnow
from webapp.sale.content import set_content
from webapp.sale.pictures import set_picture
from webapp.sale.previews import BEFORE, LASTS, STATES, read_preview, sign_preview

__all__ = ["operator"]

HEADINGS = {
    "anonymous": "로그인하고 참여하기",
    "scheduled": "뒤에 시작해요",
    "open": "지금 받을 수 있어요",
    "paused": "잠시 멈췄어요",
    "waiting": "128",
    "issued": "축하해요",
    "standby": "2명 앞에서 마감됐어요",
    "sold_out": "모두 나갔어요",
    "rejected": "참여 대상이 아니에요",
    "ended": "끝난 이벤트예요",
}


def key_of(app, coupon: int) -> str:
    return sign_preview(app.config["SECRET_KEY"], coupon)


def seen(client, key: str, state: str = ""):
    return client.get(
        "/preview", query_string={"key": key, "state": state}, headers={"Accept-Language": "ko"}
    )


@on_sqlite
@pytest.mark.parametrize("quota", [None, 0, 5])
@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_draft_is_seen_without_an_account_and_nothing_happens(app, client, state, quota):
    coupon = make_coupon(status=DRAFT, opens_in=3600, closes_in=7200, quota=quota)
    set_content(coupon, "ko", KOREAN, by=None)
    set_picture(coupon, BANNER, by=None)
    with nothing_changes():
        answer = seen(client, key_of(app, coupon), state)
    assert answer.status_code == 200
    panel = re.search(r'<section class="panel[^"]*">(.*?)</section>', answer.text, re.DOTALL)[1]
    assert HEADINGS[state] in panel
    assert not re.search(r"<form|href=|type=.submit", panel)
    assert [words for words in (*SHOWN, "/pictures/") if words not in answer.text] == []
    assert "<form" not in answer.text
    assert "/static/coupon" not in answer.text
    assert "og:" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Robots-Tag"] == "noindex"


@on_sqlite
def test_where_late_comers_may_stand_by_the_states_say_so_and_nothing_happens(app, client):
    key = key_of(app, make_coupon(status=DRAFT, quota=5, standby_limit=1))
    offered = seen(client, key, "sold_out").text
    assert re.search(r'<button[^>]*type="button">예비로 기다리기</button>', offered)
    assert f"예비 {BEFORE}번째예요" in seen(client, key, "standby").text
    plain = seen(client, key_of(app, make_coupon(status=DRAFT, quota=5)), "sold_out").text
    assert "예비" not in plain


@on_sqlite
def test_the_links_lead_to_every_state(app, client):
    page = seen(client, key_of(app, make_coupon(status=DRAFT))).text
    assert len(re.findall(r'href="/preview\?key=[^"]+&amp;state=\w+"', page)) == len(STATES)


@on_sqlite
def test_the_console_gives_the_link(operator):
    coupon = make_coupon(status=DRAFT)
    page = operator.get(f"/admin/coupons/{coupon}/preview").text
    address = re.search(r'readonly value="http://localhost([^"]+)"', page)[1]
    assert operator.get(address).status_code == 200


@on_sqlite
def test_without_the_link_a_draft_does_not_exist(app, client):
    coupon = make_coupon(status=DRAFT)
    assert client.get(f"/coupons/{coupon}").status_code == 404


@on_sqlite
def test_what_is_no_key_of_ours_shows_nothing(app, client):
    coupon = make_coupon(status=DRAFT)
    key = key_of(app, coupon)
    for other in (
        "",
        "x",
        key[:-1],
        key + "x",
        "1" + key,
        sign_preview("another", coupon),
        key_of(app, 10**9),
        "가.나.다",
    ):
        assert seen(client, other).status_code == 410


@on_sqlite
@pytest.mark.parametrize(
    ("ago", "status"), [(LASTS - timedelta(minutes=1), 200), (LASTS + timedelta(minutes=1), 410)]
)
def test_a_link_expires(app, client, monkeypatch, ago, status):
    coupon = make_coupon(status=DRAFT)
    with monkeypatch.context() as then:
        then.setattr(TimestampSigner, "get_timestamp", lambda _self: int((utcnow() - ago).timestamp()))
        key = key_of(app, coupon)
    answer = seen(client, key)
    assert answer.status_code == status
    assert ("미리 보기가 끝났어요" in answer.text) == (status == 410)


@on_sqlite
def test_a_key_says_of_which_coupon_it_is_and_until_when(app):
    coupon = make_coupon(status=DRAFT)
    found, until = read_preview(app.config["SECRET_KEY"], key_of(app, coupon))
    assert found == coupon
    assert abs(until - utcnow() - LASTS) < timedelta(seconds=5)
