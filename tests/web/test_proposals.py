"""The two-person rule on the console: what waits is said in words, and another person decides it on a page."""

import re
from datetime import timedelta
from html import unescape

import pytest
import redis
from sqlalchemy import event, update
from sqlalchemy.exc import OperationalError

from tests.accounts.test_roles import role_of
from tests.builders import csrf_token, failing, make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from tests.sale import test_pools
from tests.sale.test_bulk_revoking import sold
from tests.sale.test_concurrency import at_once
from tests.sale.test_proposals import standing
from tests.web.test_admin import edit_form, row
from tests.web.test_team import link_on, opened_form
from webapp.accounts.roles import give_role
from webapp.models import OPERATOR, OWNER, ROLES, TILL, USER, VIEWER, Proposal, utcnow
from webapp.proposals.reading import open_proposals, proposal_by_id
from webapp.proposals.rule import Waits
from webapp.sale import bulk_revoking, claims
from webapp.sale.coupons import change_coupon
from webapp.stores.sql import db
from webapp.web.admin.proposals import OPEN_SHOWN

KO, EN = {"Accept-Language": "ko"}, {"Accept-Language": "en"}
PAGE, TEAM = "/admin/proposals", "/admin/team"


@pytest.fixture(autouse=True)
def rule_on(app):
    app.config["TWO_PERSON_RULE"] = True


def console(app, role: str = OPERATOR, **fields):
    """Return a client of somebody with that role, and their id."""
    user, client = make_user(role=role, **fields), app.test_client()
    sign_in(client, user)
    return client, user.id


@pytest.fixture
def asker(app):
    return console(app)[0]


@pytest.fixture
def other(app):
    return console(app)[0]


def post(client, path: str, headers=KO, **fields):
    data = {"csrf_token": csrf_token(client)} | fields
    return client.post(path, data=data, headers=headers, follow_redirects=True)


def decide(client, step: str, proposal: int | None = None):
    return post(client, f"{PAGE}/{proposal or open_proposals()[0].id}/{step}")


def notices(page: str) -> list[str]:
    return [unescape(text) for text in re.findall(r'<p class="notice" role="status">([^<]*)</p>', page)]


def buttons(client) -> list[str]:
    """Return the steps that the page of proposals offers."""
    return re.findall(rf'action="{PAGE}/\d+/(\w+)"', client.get(PAGE).text)


def asked_quota(client, **fields) -> int:
    coupon = make_coupon(quota=5, title="금요일 치킨", **fields)
    post(client, f"/admin/coupons/{coupon}/quota", total_quantity="800")
    return coupon


def test_a_higher_quota_waits_and_the_page_says_so(asker, other):
    coupon = make_coupon(quota=5, title="금요일 치킨")
    answer = post(asker, f"/admin/coupons/{coupon}/quota", total_quantity="800")
    assert answer.request.path == PAGE
    (said,) = notices(answer.text)
    assert re.fullmatch(r"\d\d:\d\d까지 다른 분의 확인을 기다려요. 아직 바뀐 것은 없어요.", said)
    assert row(coupon).total_quantity == 5
    assert "직접 제안하신 일이에요" in answer.text
    assert buttons(asker) == ["withdraw"]
    page = other.get(PAGE, headers=KO).text
    for words in ("수량 바꾸기", "금요일 치킨", "5 → <b>800</b>", "30분 남음"):
        assert words in page
    assert buttons(other) == ["confirm", "decline"]
    assert notices(decide(other, "confirm").text) == ["확인하고 실행했어요."]
    assert row(coupon).total_quantity == 800
    assert "확인했어요" in other.get(PAGE, headers=KO).text
    assert buttons(other) == []


@on_sqlite
def test_the_oldest_come_first_and_the_page_says_how_many_more_wait(asker, other):
    for _ in range(OPEN_SHOWN):
        asked_quota(asker)
    assert "더 기다려요" not in other.get(PAGE, headers=KO).text
    last = [asked_quota(asker) for _ in range(2)]
    page = other.get(PAGE, headers=KO).text
    assert page.count('id="proposal-') == OPEN_SHOWN
    assert "2건이 더 기다려요" in page
    decide(other, "decline")
    page = other.get(PAGE, headers=KO).text
    assert f"/admin/coupons/{last[0]}" in page
    assert "1건이 더 기다려요" in page


def test_the_time_is_told_in_english_too(asker):
    coupon = make_coupon(quota=5)
    said = post(asker, f"/admin/coupons/{coupon}/quota", headers=EN, total_quantity="800").text
    assert "It waits for another person until" in said


@on_sqlite
def test_control_without_the_rule_it_is_saved(app, asker):
    app.config["TWO_PERSON_RULE"] = False
    coupon = make_coupon(quota=5)
    answer = post(asker, f"/admin/coupons/{coupon}/quota", total_quantity="800")
    assert notices(answer.text) == ["저장했어요."]
    assert row(coupon).total_quantity == 800
    assert PAGE not in asker.get("/admin/").text


def test_the_form_that_changes_everything_waits_as_one(asker, other):
    coupon = make_coupon(quota=5)
    form = edit_form(asker, coupon) | {"total_quantity": "9", "title": "더 많이"}
    assert "기다려요" in post(asker, f"/admin/coupons/{coupon}", **form).text
    assert (row(coupon).title, row(coupon).total_quantity) == ("Coupon", 5)
    page = other.get(PAGE, headers=KO).text
    assert "Coupon → <b>더 많이</b>" in page
    decide(other, "confirm")
    assert (row(coupon).title, row(coupon).total_quantity) == ("더 많이", 9)


def test_closing_says_before_the_button_that_it_waits_and_the_sentences_are_of_now(app, asker, other):
    coupon = make_coupon(quota=1)
    for user in make_users(3):
        claims.claim(coupon, user)
    asking = asker.get(f"/admin/coupons/{coupon}/close", headers=KO).text
    assert "다른 운영자가 30분 안에 확인해야 실행돼요" in asking
    post(asker, f"/admin/coupons/{coupon}/close")
    assert row(coupon).status == "live"
    assert "3명" in other.get(PAGE, headers=KO).text
    for user in make_users(2):
        claims.claim(coupon, user)
    assert "5명" in other.get(PAGE, headers=KO).text
    decide(other, "confirm")
    assert row(coupon).status == "closed"


def test_a_pause_waits_for_nobody(asker):
    coupon = make_coupon()
    assert notices(post(asker, f"/admin/coupons/{coupon}/pause").text) == ["저장했어요."]
    assert row(coupon).status == "paused"


def test_the_page_before_the_button_says_that_more_waits_and_that_less_does_not(asker):
    coupon = make_coupon(quota=2)
    for user in make_users(9):
        claims.claim(coupon, user)
    note = "다른 운영자가 30분 안에 확인해야 실행돼요"
    assert note in post(asker, f"/admin/coupons/{coupon}/quota", total_quantity="5").text
    assert note not in post(asker, f"/admin/coupons/{coupon}/quota", total_quantity="1").text
    assert open_proposals() == []


def test_the_coupon_leads_to_its_proposals_and_the_navigation_counts_them(app, asker, other):
    coupon = asked_quota(asker)
    (proposal,) = open_proposals()
    assert f'href="{PAGE}#proposal-{proposal.id}"' in asker.get(f"/admin/coupons/{coupon}").text
    assert f'href="{PAGE}#' not in asker.get(f"/admin/coupons/{make_coupon()}").text
    counted = "확인할 제안 1"
    for path in ("/admin/", f"/admin/coupons/{coupon}", PAGE, "/admin/log"):
        assert counted in other.get(path, headers=KO).text
        assert counted not in asker.get(path, headers=KO).text
        assert counted not in console(app, VIEWER)[0].get(path, headers=KO).text
    assert counted not in other.get("/", headers=KO).text
    decide(other, "confirm")
    assert counted not in other.get("/admin/", headers=KO).text


def test_a_list_of_codes_waits_with_its_reason(asker, other):
    coupon, _users, codes = sold(3)
    form = {"codes": "\n".join(codes[:2]), "reason": "인쇄가 잘못됐어요"}
    looked = post(asker, "/admin/revocations", **form)
    assert "다른 운영자가 30분 안에 확인해야 실행돼요" in looked.text
    mark = re.search(r'name="confirmed" value="(\w+)"', looked.text)[1]
    answer = post(asker, "/admin/revocations", **form, confirmed=mark)
    assert answer.request.path == PAGE
    assert standing(coupon) == 3
    page = other.get(PAGE, headers=KO).text
    assert "Coupon: 2" in page
    assert "인쇄가 잘못됐어요" in page
    assert not [code for code in codes if code in page]
    decide(other, "confirm")
    assert standing(coupon) == 1


def test_a_list_that_breaks_off_is_finished_on_the_page(asker, other, monkeypatch):
    coupon, _users, codes = sold(3)
    with pytest.raises(Waits):
        bulk_revoking.revoke_all(bulk_revoking.look_at(codes), by=None, reason="misprint")
    (proposal,) = open_proposals()
    for error in (OperationalError("", {}, Exception()), redis.ConnectionError("away")):
        with monkeypatch.context() as patch:
            patch.setattr(bulk_revoking, "_revoke", failing(error))
            step = "confirm" if open_proposals() else "finish"
            assert "나머지 실행하기" in notices(decide(other, step, proposal.id).text)[0]
        assert buttons(asker) == ["finish"]
    decide(asker, "finish", proposal.id)
    assert standing(coupon) == 0
    assert buttons(asker) == []


def test_the_codes_of_a_pool_that_is_the_quota_wait(asker, other):
    coupon = test_pools.pooled(2, quota=None)
    upload = test_pools.checked(coupon, ["MORE-0001", "MORE-0002", "MORE-0003"])
    page = asker.get(f"/admin/coupons/{coupon}/codes").text
    seen = unescape(re.search(r'name="seen" value="([^"]*)"', page)[1])
    answer = post(asker, f"/admin/coupons/{coupon}/codes/count", upload=str(upload), seen=seen)
    assert answer.request.path == PAGE
    assert row(coupon).pool_left == 2
    assert "<b>3</b>" in other.get(PAGE, headers=KO).text
    decide(other, "confirm")
    assert row(coupon).pool_left == 5


# The team


def test_roles_and_invitations_wait_for_another_owner(app):
    (owner, _), (second, _), (operator, _) = console(app, OWNER), console(app, OWNER), console(app)
    user = make_user("minji@example.com")
    assert post(owner, f"{TEAM}/add", email=user.email, role=TILL).request.path == PAGE
    assert role_of(user.id) == USER
    assert buttons(operator) == []
    assert "확인할 제안" not in operator.get("/admin/", headers=KO).text
    assert "지금 권한으로는" in decide(operator, "confirm").text
    assert role_of(user.id) == USER
    page = second.get(PAGE, headers=KO).text
    for words in ("minji@example.com", "권한 없음 → <b>계산대</b>", "코드를 확인하고"):
        assert words in page
    decide(second, "confirm")
    assert role_of(user.id) == TILL
    assert notices(post(owner, f"{TEAM}/{user.id}", role=TILL, away="1", seen=TILL).text) == ["저장했어요."]
    assert role_of(user.id) == USER


def test_the_link_of_an_invitation_is_shown_and_opens_once_it_is_confirmed(app, client):
    (owner, _), (second, _) = console(app, OWNER), console(app, OWNER)
    form = opened_form(owner) | {"role": OPERATOR, "label": "명동점 민지"}
    made = post(owner, f"{TEAM}/invitations", **form)
    assert "다른 소유자가 확인해야 열려요" in made.text
    link = link_on(made.text)
    assert link_on(post(owner, f"{TEAM}/invitations", **form).text) == link
    assert len(open_proposals()) == 1
    closed = client.get(link, headers=KO)
    assert (closed.status_code, "아직 열리지 않은 초대예요" in closed.text) == (409, True)
    assert "명동점 민지" in second.get(PAGE, headers=KO).text
    decide(second, "confirm")
    assert "초대를 받았어요" in client.get(link, headers=KO).text
    assert link_on(post(owner, f"{TEAM}/invitations", **form).text) == link
    assert open_proposals() == []


def test_an_owner_alone_is_told_that_nobody_can_confirm(app):
    owner, _ = console(app, OWNER)
    post(owner, f"{TEAM}/add", email=make_user().email, role=OWNER)
    assert "확인할 권한이 있는 다른 분이 없어요" in owner.get(PAGE, headers=KO).text
    console(app, OWNER)
    assert "확인할 권한이 있는 다른 분이 없어요" not in owner.get(PAGE, headers=KO).text


# What cannot be decided


def test_each_refusal_is_said_in_words(app, asker, other):
    coupon = asked_quota(asker)
    (proposal,) = open_proposals()
    assert "직접 제안하신 일" in decide(asker, "confirm").text
    assert "거절할 수는 있어요" in decide(other, "withdraw").text
    assert "이런 제안은 없어요" in decide(other, "confirm", 10**9).text
    change_coupon(coupon, step="pause")
    assert "확인할 수 없어요" in other.get(PAGE, headers=KO).text
    assert buttons(other) == ["decline"]
    assert "내용이 바뀌어서" in decide(other, "confirm").text
    decide(other, "decline")
    assert "이미 거절된 제안" in decide(other, "confirm", proposal.id).text
    post(asker, f"/admin/coupons/{coupon}/quota", total_quantity="700")
    late = open_proposals()[0].id
    db.session.execute(update(Proposal).values(expires_at=utcnow() - timedelta(seconds=1)))
    db.session.commit()
    assert "30분이 지났어요" in decide(other, "confirm", late).text
    assert "시간 안에 확인되지 않았어요" in other.get(PAGE, headers=KO).text
    assert row(coupon).total_quantity == 5


def test_who_asked_and_lost_the_role_is_told_about(app, other):
    client, user = console(app)
    coupon = asked_quota(client)
    app.config["TWO_PERSON_RULE"] = False
    give_role(user, USER, by=None)
    assert "이제 그 권한이 없어요" in decide(other, "confirm").text
    assert row(coupon).total_quantity == 5


def test_a_second_click_and_a_second_operator_are_told_that_it_is_done(app, asker, other):
    coupon = asked_quota(asker)
    (proposal,) = open_proposals()
    token = {"csrf_token": csrf_token(other)}
    third, _ = console(app)
    third_token = {"csrf_token": csrf_token(third)}
    path = f"{PAGE}/{proposal.id}/confirm"
    calls = [lambda: other.post(path, data=token), lambda: third.post(path, data=third_token)]
    assert {answer.status_code for answer in at_once(app, calls)} == {303}
    assert row(coupon).total_quantity == 800
    assert "이미 확인된 제안" in notices(decide(other, "confirm", proposal.id).text)[-1]


def test_who_asks_for_what_another_one_has_asked_for_is_told_to_decide_it(asker, other):
    coupon = asked_quota(asker)
    said = post(other, f"/admin/coupons/{coupon}/quota", total_quantity="800").text
    assert "이미 똑같이 제안했어요" in said
    assert len(open_proposals()) == 1


@pytest.mark.parametrize("role", [VIEWER, TILL])
def test_who_only_looks_decides_nothing(app, asker, role):
    coupon = asked_quota(asker)
    client, _ = console(app, role)
    assert client.get(PAGE).status_code == (200 if role == VIEWER else 403)
    for step in ("confirm", "decline", "withdraw", "finish"):
        assert decide(client, step).status_code == 403
    assert row(coupon).total_quantity == 5
    assert role == TILL or buttons(client) == []


def test_redis_away_after_the_commit_is_told_as_without_the_rule(app, asker, other, monkeypatch):
    coupon = asked_quota(asker)
    monkeypatch.setattr("webapp.sale.coupons.publish", failing(redis.ConnectionError("away")))
    assert "저장했어요" in notices(decide(other, "confirm").text)[0]
    assert row(coupon).total_quantity == 800


def test_sql_away_confirms_nothing(asker, other, monkeypatch):
    coupon = asked_quota(asker)
    (proposal,) = open_proposals()
    with monkeypatch.context() as patch:
        away = failing(OperationalError("", {}, Exception("away")))
        patch.setattr("webapp.sale.confirming.change_coupon", away)
        assert decide(other, "confirm").status_code == 503
    assert proposal_by_id(proposal.id).decision is None
    assert row(coupon).total_quantity == 5


@on_sqlite
@pytest.mark.parametrize("role", ROLES)
def test_pages_of_a_console_without_the_rule_ask_nothing_more(app, role):
    client, _ = console(app, role)
    app.config["TWO_PERSON_RULE"] = False
    asked = []
    event.listen(db.engine, "before_cursor_execute", count := lambda *args: asked.append(args[2]))
    try:
        client.get("/admin/redeem")
    finally:
        event.remove(db.engine, "before_cursor_execute", count)
    assert not [statement for statement in asked if "proposals" in statement]


def test_the_log_says_what_was_asked_for_and_by_whom(asker, other):
    coupon = asked_quota(asker)
    decide(other, "confirm")
    page = other.get(f"/admin/coupons/{coupon}/log", headers=KO).text
    for words in (
        "두 사람의 결정을 제안했어요",
        "제안을 확인했어요",
        "제안한 계정",
        "제안한 일",
        "수량을 바꿨어요",
    ):
        assert words in page


def test_the_board_is_there_while_nobody_can_count_the_proposals(other, monkeypatch):
    coupon = make_coupon()
    away = failing(OperationalError("", {}, Exception("away")))
    monkeypatch.setattr("webapp.sale.confirming.open_proposals", away)
    assert other.get(f"/admin/coupons/{coupon}/live").status_code == 200
