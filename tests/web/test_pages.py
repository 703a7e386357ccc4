"""Every state of a coupon's page, in both languages, and what no page may contain."""

import gzip
import re
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from webapp.models import User, utcnow
from webapp.sale import admission, claims, coupons
from webapp.sale.outcomes import LineStatus, Ticket
from webapp.stores.sql import db
from webapp.web.presenting import page_state

STATIC = Path(__file__).parents[2] / "static"
KOREAN, ENGLISH = {"Accept-Language": "ko"}, {"Accept-Language": "en"}


def anonymous(client) -> int:
    return make_coupon(opens_in=60)


def scheduled(client) -> int:
    sign_in(client, make_user())
    return make_coupon(opens_in=60)


def opened(client) -> int:
    sign_in(client, make_user())
    return make_coupon(quota=1234)


def paused(client) -> int:
    sign_in(client, make_user())
    return make_coupon(status="paused")


def waiting(client) -> int:
    coupon = make_coupon(quota=1)
    for _ in range(2):
        claims.claim(coupon, make_user().id)
    me = make_user()
    sign_in(client, me)
    claims.claim(coupon, me.id)
    return coupon


def waiting_paused(client) -> int:
    coupon = waiting(client)
    coupons.change_coupon(coupon, status="paused")
    return coupon


def issued(client) -> int:
    coupon, me = make_coupon(valid_until=utcnow() + timedelta(days=9)), make_user()
    sign_in(client, me)
    claims.claim(coupon, me.id)
    admission.admit(coupon)
    return coupon


def missed(client) -> int:
    coupon = waiting(client)
    admission.admit(coupon)
    return coupon


def sold_out(client) -> int:
    coupon = missed(client)
    sign_in(client, make_user())
    return coupon


def sold_out_with_standby(client) -> int:
    coupon = sold_out(client)
    coupons.change_coupon(coupon, standby_limit=50)
    return coupon


def ended(client) -> int:
    sign_in(client, make_user())
    return make_coupon(closes_in=-1)


def rejected(client) -> int:
    coupon, me = make_coupon(), make_user()
    sign_in(client, me)
    claims.claim(coupon, me.id)
    db.session.execute(update(User).where(User.id == me.id).values(blocked_at=utcnow()))
    db.session.commit()
    admission.admit(coupon)
    return coupon


STATES = [
    (anonymous, "로그인하고 참여하기", "Sign in to take part"),
    (scheduled, "뒤에 시작해요", "Opens in"),
    (scheduled, "새로고침하지 않아도 버튼이 열려요", "No refresh needed"),
    (opened, "1,234</b>장 남았어요", "1,234</b> left"),
    (paused, "잠시 멈췄어요", "Paused for a moment"),
    (waiting, '앞에 <b data-field="ahead">2</b>명', '<b data-field="ahead">2</b> ahead'),
    (waiting, "보다 앞선 분이 많아요", "More people are ahead than coupons left"),
    (waiting_paused, "잠시 멈췄어요. 순번은 그대로예요", "Paused for a moment. Your place is safe"),
    (issued, "축하해요! 쿠폰을 받았어요", "Congratulations, it's yours!"),
    (issued, "까지 쓸 수 있어요", "Use by"),
    (missed, "2명 앞에서 마감됐어요", "It ran out 2 places before yours"),
    (missed, "내 순번 3, 마지막 1", "You 3, last 1"),
    (sold_out, "준비한 쿠폰이 모두 나갔어요", "All coupons are gone"),
    (sold_out_with_standby, "예비로 기다리기", "Stand by"),
    (ended, "끝난 이벤트예요", "This event has ended"),
    (rejected, "참여 대상이 아니에요", "Not eligible"),
]


def served(client, address: str) -> bytes:
    with client.get(address) as answer:
        assert answer.status_code == 200
        return answer.data


def serving(state: str) -> LineStatus:
    return LineStatus(state, 0, 0, 0, 1, 1, 0, 0, 0, None, 0, 0)


@on_sqlite
@pytest.mark.parametrize(("state", "korean", "english"), STATES)
def test_each_state_in_both_languages(app, client, state, korean, english):
    coupon = state(client)
    for headers, text in ((KOREAN, korean), (ENGLISH, english)):
        answer = client.get(f"/coupons/{coupon}", headers=headers)
        assert answer.status_code == 200
        assert text in answer.text


@on_sqlite
@pytest.mark.parametrize("state", sorted({state for state, *_ in STATES}, key=lambda state: state.__name__))
def test_no_page_has_inline_code_and_every_page_is_light(app, client, state):
    answer = client.get(f"/coupons/{state(client)}")
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", answer.text)
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert len(gzip.compress(answer.data)) <= 10 * 1024


@on_sqlite
@pytest.mark.parametrize(
    ("coupon", "said"),
    [({"opens_in": 60}, True), ({}, False), ({"status": "paused"}, False), ({"quota": None}, False)],
)
def test_signing_in_early_is_advised_before_the_opening_alone(app, client, coupon, said):
    page = client.get(f"/coupons/{make_coupon(**coupon)}", headers=KOREAN).text
    assert ("로그인해 두면" in page) == said


@on_sqlite
def test_the_waiting_page_reloads_itself_without_javascript_and_a_final_one_does_not(app, client):
    coupon = waiting(client)
    assert '<noscript><meta http-equiv="refresh"' in client.get(f"/coupons/{coupon}").text
    admission.admit(coupon)
    assert "http-equiv" not in client.get(f"/coupons/{coupon}").text


@on_sqlite
@pytest.mark.parametrize("state", sorted({state for state, *_ in STATES}, key=lambda state: state.__name__))
def test_style_and_scripts_are_within_their_budgets(app, client, state):
    page = client.get(f"/coupons/{state(client)}").text

    def weight(kind: str) -> int:
        addresses = re.findall(rf'"(/static/[^"]+\.{kind}[^"]*)"', page)
        assert addresses
        return sum(len(gzip.compress(served(client, address))) for address in addresses)

    assert weight("css") <= 6 * 1024
    assert weight("js") <= 3 * 1024


def test_no_script_names_another_file():
    """An imported file would be named without the hash of its contents, and kept for a year."""
    assert not [path.name for path in STATIC.glob("*.js") if re.search(r"\b(import|from) ", path.read_text())]


@on_sqlite
def test_the_chosen_language_wins_over_the_browsers(app, client):
    answer = client.get("/language/en?next=/login", headers=KOREAN)
    assert (answer.status_code, answer.location) == (303, "/login")
    assert '<html lang="en">' in client.get("/", headers=KOREAN).text
    assert client.get("/language/xx").status_code == 404


@on_sqlite
def test_static_files_carry_a_version_of_their_content(app, client):
    address = re.search(r"/static/style\.css\?v=\w{10}", client.get("/").text)
    assert address is not None
    with client.get(address.group()) as answer:
        assert answer.status_code == 200


@pytest.mark.parametrize("state", ["scheduled", "open", "paused", "sold_out", "closed"])
def test_who_has_a_place_or_a_result_sees_it_whatever_the_coupon_does(state):
    shown = [
        page_state(True, Ticket(own, 1), serving(state))
        for own in ("issued", "waiting", "sold_out", "rejected")
    ]
    assert shown == ["issued", "waiting", "standby", "rejected"]
