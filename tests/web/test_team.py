"""The page of the team, and the page of an invitation: what owners do there, and what everybody else reads."""

import re
from datetime import timedelta
from html import unescape
from urllib.parse import urlsplit

import pytest
from sqlalchemy import event, select, update

from tests.accounts.test_roles import role_of
from tests.builders import csrf_token, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from tests.sale.test_concurrency import at_once
from webapp.accounts import invitations
from webapp.accounts.invitations import invite, look_at, withdraw
from webapp.accounts.roles import give_role
from webapp.models import OPERATOR, OWNER, ROLES, TILL, USER, VIEWER, Invitation, User, utcnow
from webapp.stores.sql import db

KO, EN = {"Accept-Language": "ko"}, {"Accept-Language": "en"}
TEAM = "/admin/team"
PASSWORD = "correct horse battery"


@pytest.fixture
def boss(app) -> int:
    return make_user("boss@example.com", role=OWNER, name="Boss").id


@pytest.fixture
def owner(client, boss):
    sign_in(client, boss)
    return client


def post(client, path: str, **fields):
    """Send a form and follow it, and return what is read then."""
    data = {"csrf_token": csrf_token(client)} | fields
    return client.post(path, data=data, headers=KO, follow_redirects=True)


def link_on(page: str) -> str:
    """Return the link of an invitation as a path."""
    address = urlsplit(unescape(re.search(r'id="address" readonly value="([^"]*)"', page)[1]))
    return f"{address.path}?{address.query}"


def opened_form(client) -> dict[str, str]:
    return {"once": re.search(r'name="once" value="(\w+)"', client.get(TEAM).text)[1]}


# Giving and taking away


def test_an_account_gets_a_role_another_one_and_none(owner):
    user = make_user("minji@example.com", name="민지")
    assert "저장했어요" in post(owner, f"{TEAM}/add", email=" MINJI@example.com ", role=VIEWER).text
    assert role_of(user.id) == VIEWER
    page = owner.get(TEAM, headers=KO).text
    assert "민지" in page
    assert "보기 전용" in page
    assert "저장했어요" in post(owner, f"{TEAM}/{user.id}", role=TILL, seen=VIEWER).text
    assert role_of(user.id) == TILL
    assert "저장했어요" in post(owner, f"{TEAM}/{user.id}", role=TILL, away="1", seen=TILL).text
    assert role_of(user.id) == USER
    assert "minji@example.com" not in owner.get(TEAM).text


@on_sqlite
def test_what_cannot_be_done_is_said_in_words_and_changes_nothing(owner, boss):
    blocked = make_user("blocked@example.com", blocked_at=utcnow())
    till = make_user("till@example.com", role=TILL)
    make_user("invented@example.com", rehearsal=True)
    for typed in ("nobody@example.com", "", "x" * 10_000, "%", "\x00", "invented@example.com"):
        assert "가입한 계정이 없어요" in post(owner, f"{TEAM}/add", email=typed, role=TILL).text
    assert "먼저 차단을 풀어 주세요" in post(owner, f"{TEAM}/add", email=blocked.email, role=TILL).text
    assert "이미 권한이 있는 계정" in post(owner, f"{TEAM}/add", email=till.email, role=VIEWER).text
    assert (
        "그사이 이 계정의 권한이 바뀌어서" in post(owner, f"{TEAM}/{till.id}", role=VIEWER, seen=OWNER).text
    )
    assert "마지막 소유자" in post(owner, f"{TEAM}/{boss}", role=OPERATOR, seen=OWNER).text
    assert "권한을 줄 수 없어요" in post(owner, f"{TEAM}/{10**9}", role=TILL).text
    for nonsense in ("", "admin", "user ", "OWNER"):
        assert post(owner, f"{TEAM}/add", email=till.email, role=nonsense).status_code == 400
        assert post(owner, f"{TEAM}/invitations", role=nonsense).status_code == 400
    assert post(owner, f"{TEAM}/add", email=till.email, role=USER).status_code == 400
    assert [role_of(each) for each in (boss, till.id, blocked.id)] == [OWNER, TILL, USER]


def test_an_owner_who_steps_down_goes_on_with_what_is_left(owner, boss):
    make_user(role=OWNER)
    answer = owner.post(
        f"{TEAM}/{boss}", data={"csrf_token": csrf_token(owner), "role": VIEWER, "seen": OWNER}, headers=KO
    )
    assert (answer.status_code, answer.location) == (303, "/admin/")
    page = owner.get("/admin/", headers=KO)
    assert "소유자 권한을 내려놓았어요" in page.text
    assert TEAM not in page.text
    assert owner.get(TEAM, headers=KO).status_code == 403


def test_who_was_taken_away_while_their_page_was_open_gives_nothing(app, owner, boss):
    other, user = make_user(role=OWNER), make_user()
    client = app.test_client()
    sign_in(client, other)
    form = {"role": OWNER, "csrf_token": csrf_token(client)}
    give_role(other.id, USER, by=boss)
    assert client.post(f"{TEAM}/{user.id}", data=form, headers=KO).status_code == 403
    assert role_of(user.id) == USER


def test_owners_who_take_each_other_away_at_once_leave_one_who_goes_on(app, boss):
    two = [boss, make_user(role=OWNER).id]
    calls = []
    for me, you in (two, two[::-1]):
        client = app.test_client()
        sign_in(client, me)
        form = {"away": "1", "seen": OWNER, "csrf_token": csrf_token(client)}
        calls.append(
            lambda client=client, you=you, form=form: client.post(f"{TEAM}/{you}", data=form).status_code
        )
    assert set(at_once(app, calls)) <= {303, 403}
    assert sorted([role_of(each) for each in two]) == [OWNER, USER]


def test_the_page_of_a_person_tells_the_role_and_cannot_block_it(owner):
    user = make_user(role=TILL)
    page = owner.get(f"/admin/people/{user.id}", headers=KO).text
    assert "계산대" in page
    assert "차단하기" not in page
    assert "소유자가 먼저 권한을 거둬야 해요" in post(owner, f"/admin/people/{user.id}/block").text
    assert db.session.get(User, user.id, populate_existing=True).blocked_at is None
    gone = make_user(role=OWNER, blocked_at=utcnow())
    assert "소유자가 먼저 권한을 거둬야 해요" in post(owner, f"/admin/people/{gone.id}/unblock").text
    assert db.session.get(User, gone.id, populate_existing=True).blocked_at is not None


@on_sqlite
def test_the_page_asks_sql_a_few_times_however_large_the_team(owner):
    for _ in range(20):
        make_user(role=OPERATOR)
        invite(TILL, by=None)
    make_users(50)
    asked = []
    event.listen(db.engine, "before_cursor_execute", count := lambda *args: asked.append(args[2]))
    try:
        assert owner.get(TEAM, headers=EN).text.count("Withdraw") == 20
    finally:
        event.remove(db.engine, "before_cursor_execute", count)
    assert len(asked) <= 4


# Inviting


def test_the_link_is_shown_once_and_the_list_shows_for_whom_it_is(owner):
    form = opened_form(owner)
    made = post(owner, f"{TEAM}/invitations", role=TILL, label="명동점 민지", **form)
    assert made.status_code == 201
    link = link_on(made.text)
    assert look_at(link.partition("=")[2]).state == "open"
    listed = owner.get(TEAM, headers=KO).text
    assert "명동점 민지" in listed
    assert link.partition("=")[2] not in listed


def test_a_second_click_shows_the_same_link_and_makes_none(owner):
    form = opened_form(owner)
    links = {link_on(post(owner, f"{TEAM}/invitations", role=TILL, **form).text) for _ in range(2)}
    assert len(links) == 1
    assert len(db.session.scalars(select(Invitation.id)).all()) == 1
    assert link_on(post(owner, f"{TEAM}/invitations", role=TILL, **opened_form(owner)).text) not in links
    assert link_on(post(owner, f"{TEAM}/invitations", role=TILL, once="nonsense").text) not in links


def test_an_invitation_is_withdrawn_and_again(owner):
    key = link_on(post(owner, f"{TEAM}/invitations", role=TILL, **opened_form(owner)).text).partition("=")[2]
    address = f"{TEAM}/invitations/{look_at(key).id}/withdraw"
    assert "초대를 취소했어요" in post(owner, address).text
    assert "이미 썼거나 취소한 초대" in post(owner, address).text
    assert "이미 썼거나 취소한 초대" in post(owner, f"{TEAM}/invitations/{10**9}/withdraw").text


# Joining


@pytest.mark.parametrize("role", ROLES)
def test_somebody_signed_in_takes_the_role_and_goes_on_with_it(app, client, boss, role):
    link, user = f"/join?key={invite(role, by=boss)}", make_user()
    other = app.test_client()
    sign_in(client, user)
    sign_in(other, user)
    page = client.get(link, headers=KO).text
    assert "초대를 받았어요" in page
    assert user.email in page
    assert look_at(link.partition("=")[2]).state == "open", "looking uses nothing"
    key = link.partition("=")[2]
    answer = post(client, "/join", key=key)
    assert "새 권한을 받았어요" in answer.text
    assert answer.request.path == ("/admin/redeem" if role == TILL else "/admin/")
    assert role_of(user.id) == role
    assert other.get("/wallet", headers=EN).status_code == 303, "signed out on the other devices"
    assert client.get(link).location == answer.request.path, "the link leads on"
    assert post(client, "/join", key=key).request.path == answer.request.path


@pytest.mark.usefixtures("cheap_hashes")
@pytest.mark.parametrize("way", ["register", "login"])
def test_somebody_without_a_session_signs_in_or_registers_first_and_comes_back(client, boss, way):
    link = f"/join?key={invite(OPERATOR, by=boss)}"
    page = client.get(link, headers=KO).text
    (to,) = re.findall(rf'href="(/{way}\?next=[^"]*join[^"]*)"', page)
    form = {
        "email": "new@example.com",
        "name": "새 동료",
        "password": PASSWORD,
        "csrf_token": csrf_token(client),
    }
    if way == "login":
        make_user("new@example.com", password=PASSWORD)
    back = client.post(unescape(to), data=form).location
    assert back == link
    assert "권한 받기" in client.get(back, headers=KO).text
    post(client, "/join", key=link.partition("=")[2])
    assert db.session.scalar(select(User.role).where(User.email == "new@example.com")) == OPERATOR


def states(boss: int) -> dict[str, str]:
    """Return a key for each way in which a link can be of no use."""
    keys = {each: invite(TILL, by=boss) for each in ("withdrawn", "used", "too_old", "former")}
    former = make_user(role=OWNER).id
    invitations.take(keys["used"], make_user().id)
    withdraw(look_at(keys["withdrawn"]).id, by=boss)
    late = Invitation.id == look_at(keys["too_old"]).id
    db.session.execute(update(Invitation).where(late).values(expires_at=utcnow() - timedelta(seconds=1)))
    theirs = Invitation.id == look_at(keys["former"]).id
    db.session.execute(update(Invitation).where(theirs).values(made_by=former))
    db.session.commit()
    give_role(former, USER, by=boss)
    return keys | {"unknown": "nonsense"}


SAID = {
    "withdrawn": (410, "취소된 초대예요", "withdrawn"),
    "former": (410, "이제 초대할 권한이 없어요", "withdrawn"),
    "used": (410, "이미 쓴 초대예요", "used"),
    "too_old": (410, "기한이 지난 초대예요", "too old"),
    "unknown": (404, "초대 링크가 아니에요", "no invitation"),
}


@pytest.mark.parametrize("signed_in", [True, False])
def test_each_link_of_no_use_has_its_own_words(client, boss, signed_in):
    keys, user = states(boss), make_user()
    if signed_in:
        sign_in(client, user)
    for state, key in keys.items():
        status, korean, english = SAID[state]
        for headers, words in ((KO, korean), (EN, english)):
            answer = client.get(f"/join?key={key}", headers=headers)
            assert (answer.status_code, words in answer.text) == (status, True), state
        if signed_in:
            assert post(client, "/join", key=key).status_code == status
    assert role_of(user.id) == USER


def test_a_link_that_would_take_rights_says_so(client, boss):
    key, user = invite(VIEWER, by=boss), make_user(role=TILL)
    sign_in(client, user)
    answer = client.get(f"/join?key={key}", headers=KO)
    assert (answer.status_code, "할 수 있는 일이 줄어들어요" in answer.text) == (409, True)
    assert post(client, "/join", key=key).status_code == 409
    assert role_of(user.id) == TILL


@on_sqlite
def test_nobody_joins_without_a_session_or_by_a_page_of_somebody_else(client, boss):
    key = invite(OWNER, by=boss)
    assert client.post("/join", data={"key": key, "csrf_token": csrf_token(client)}).status_code in (303, 401)
    sign_in(client, make_user())
    assert client.post("/join", data={"key": key}).status_code == 400
    assert client.get(f"/join?key={'x' * 100_000}").status_code in (404, 414)
    assert look_at(key).state == "open"


@on_sqlite
def test_somebody_blocked_hears_that_they_are_nobody(client, boss):
    key, user = invite(TILL, by=boss), make_user()
    sign_in(client, user)
    db.session.execute(update(User).where(User.id == user.id).values(blocked_at=utcnow()))
    db.session.commit()
    assert "업무에 쓰는 계정으로 로그인" in client.get(f"/join?key={key}", headers=KO).text
    assert look_at(key).state == "open"


@on_sqlite
def test_the_pages_of_an_invitation_are_kept_by_nobody(client, boss):
    key = invite(TILL, by=boss)
    answer = client.get(f"/join?key={key}")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Robots-Tag"] == "noindex"
