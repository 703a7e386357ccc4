"""Register, sign in, sign out."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, update

from deploy.processes import free_port
from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import close, on_sqlite, settings
from tests.visits import (
    BROWSER,
    PROGRAM,
    assert_refused,
    both,
    everything,
    nothing_changes,
    page_token,
    post,
    visit,
)
from webapp import create_app
from webapp.accounts import passwords, throttle
from webapp.accounts.passwords import METHOD, UNUSABLE, hash_password
from webapp.accounts.visitor import read_visitor
from webapp.models import User, utcnow
from webapp.stores import swallowed
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.web.addresses import safe_next
from webapp.web.pages import accounts

pytestmark = pytest.mark.usefixtures("cheap_hashes")
PASSWORD = "correct horse 🐎"
MINJI = {"email": "minji@example.com", "name": "민지 🎉", "password": PASSWORD}


@pytest.fixture
def minji(app) -> User:
    return make_user(MINJI["email"], name=MINJI["name"], password=PASSWORD)


def signed_in_as(client) -> int | None:
    with client.session_transaction() as session:
        visitor = read_visitor(session.get("_user_id", ""))
    return visitor.id if visitor else None


def accounts_in_sql() -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count(User.id)))


def wrong(client, accept=BROWSER) -> int:
    """Try a wrong password for Minji's account, and return the status of the answer."""
    return post(client, "/login", accept, email=MINJI["email"], password="wrong").status_code


def registered(client, number: int, accept=PROGRAM):
    return post(client, "/register", accept, **MINJI | {"email": f"minji{number}@example.com"})


# Register


def test_a_person_registers_and_is_signed_in(client):
    answer = post(client, "/register", **MINJI | {"email": "  MinJi@Example.COM "})
    assert (answer.status_code, answer.location) == (303, "/")
    user = db.session.scalars(select(User)).one()
    assert (user.email, user.name, user.role, user.session_epoch) == (
        MINJI["email"],
        MINJI["name"],
        "user",
        0,
    )
    assert user.password_hash.startswith("scrypt:")
    assert signed_in_as(client) == user.id
    assert visit(client, "/wallet").status_code == 200


def test_a_program_registers_with_the_token_of_the_page(client):
    answer = post(client, "/register", PROGRAM, **MINJI)
    assert answer.status_code == 200
    user = db.session.scalars(select(User)).one()
    assert answer.get_json() == {"id": user.id, "email": MINJI["email"], "name": MINJI["name"]}
    assert signed_in_as(client) == user.id


@on_sqlite
@both
def test_the_fields_may_come_as_json(client, accept):
    headers = {"Accept": accept, "Accept-Language": "en", "X-CSRFToken": page_token(client)}
    sent = MINJI | {"name": "민지\ud800", "role": "operator"}
    answer = client.post("/register", json=sent, headers=headers)
    assert answer.status_code == (200 if accept == PROGRAM else 303)
    user = db.session.scalars(select(User)).one()
    assert (user.email, user.name, user.role) == (MINJI["email"], "민지?", "user")
    headers["X-CSRFToken"] = page_token(client)
    answer = client.post("/login", json={"email": MINJI["email"], "password": 12345678}, headers=headers)
    assert_refused(answer, 422, "invalid")
    client.delete_cookie("session")
    assert client.post("/login", json=MINJI, headers=headers).status_code == 400


@both
@pytest.mark.parametrize("email", ["minji@example.com", "MINJI@EXAMPLE.COM", " Minji@example.com\n"])
def test_an_email_is_taken_in_any_case(client, minji, accept, email):
    with nothing_changes():
        answer = post(client, "/register", accept, **MINJI | {"email": email})
    problem = assert_refused(answer, 409, "email_taken")
    assert signed_in_as(client) is None
    if accept == PROGRAM:
        assert list(problem["errors"]) == ["email"]
    else:
        assert "This e-mail address has an account already." in answer.text


@on_sqlite
@pytest.mark.parametrize(
    "typed", [None, "", "1234567", "tulip-93"], ids=["unsent", "none", "short", "enough"]
)
@pytest.mark.parametrize("language", ["ko", "en"])
def test_how_long_a_password_must_be_stands_on_the_page_once(client, typed, language):
    """As a hint before, as what is wrong after; never as both."""
    headers = {"Accept-Language": language, "Accept": BROWSER}
    token = page_token(client, "/register")
    fields = {"email": "no address", "name": "Kim", "password": typed or "", "csrf_token": token}
    page = (
        visit(client, "/register", headers=headers)
        if typed is None
        else client.post("/register", data=fields, headers=headers)
    ).text
    rule = {"ko": "8자 이상", "en": "at least 8 characters"}[language]
    assert page.count(rule) == (0 if typed == "" else 1), "who typed nothing is asked to choose one"

    described = re.search(r'aria-describedby="([^"]+)"', page[page.index('id="password"') - 200 :])

    assert f'id="{described[1]}"' in page


LONG = "a" * 10_000
BAD_REGISTRATIONS = {
    "nothing": ({"email": "", "name": "", "password": ""}, {"email", "name", "password"}),
    "blanks": ({"email": " ", "name": " \t ", "password": " "}, {"email", "name", "password"}),
    "long email": ({"email": f"{LONG}@example.com"}, {"email"}),
    "long name": ({"name": LONG}, {"name"}),
    "long password": ({"password": LONG}, {"password"}),
    "short password": ({"password": "1234567"}, {"password"}),
    "no address": ({"email": "minji"}, {"email"}),
    "two addresses": ({"email": "minji@example.com, jun@example.com"}, {"email"}),
    "address with quotes": ({"email": '"><script>"@example.com'}, {"email"}),
    "only control characters": ({"name": "\0\x1b\x7f"}, {"name"}),
}


@on_sqlite
@both
@pytest.mark.parametrize(("typed", "fields"), BAD_REGISTRATIONS.values(), ids=BAD_REGISTRATIONS)
def test_each_bad_field_is_named_and_nothing_is_created(client, accept, typed, fields):
    with nothing_changes():
        answer = post(client, "/register", accept, **MINJI | typed)
    problem = assert_refused(answer, 422, "invalid")
    if accept == PROGRAM:
        assert set(problem["errors"]) == fields
        assert all(text for texts in problem["errors"].values() for text in texts)


@on_sqlite
def test_fields_that_are_not_sent_at_all_are_named_too(client):
    problem = assert_refused(post(client, "/register", PROGRAM), 422, "invalid")
    assert set(problem["errors"]) == {"email", "name", "password"}


@on_sqlite
def test_the_page_keeps_what_was_typed_except_for_the_password(client):
    answer = post(client, "/register", email="minji", name="민지 🎉", password=PASSWORD)
    assert answer.status_code == 422
    assert 'value="minji"' in answer.text
    assert 'value="민지 🎉"' in answer.text
    assert "correct horse" not in answer.text


@on_sqlite
def test_what_was_typed_is_shown_as_text(client):
    page = post(client, "/register", email="a\"'><b>@", name="<script>alert(1)</script>").text
    assert "<script>alert" not in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Min\0ji", "Minji"),
        ("Min\x1b[2J\r\nji", "Min[2J ji"),
        ("👩‍👩‍👧‍👦", "👩‍👩‍👧‍👦"),
        ("ㅁ" * 100, "ㅁ" * 100),
    ],
    ids=["NUL", "terminal", "emoji", "longest"],
)
def test_names_lose_control_characters_and_nothing_else(client, typed, kept):
    assert post(client, "/register", PROGRAM, **MINJI | {"name": typed}).get_json()["name"] == kept
    assert db.session.scalar(select(User.name)) == kept


@on_sqlite
@both
@pytest.mark.parametrize("address", ["/register", "/login"])
def test_bytes_that_are_no_text_do_no_harm(client, accept, address):
    headers = {"Accept": accept, "Accept-Language": "en", "X-CSRFToken": page_token(client)}
    with nothing_changes():
        for raw in (b"%ff%fe", b"\xff\xfe", b"%ed%a0%80", b"%00", b"%", b"%zz", b"\xf0\x9f\x8e"):
            body = b"email=" + raw + b"%40example.com&name=" + raw + b"&password=x"
            answer = client.post(
                address, data=body, headers=headers, content_type="application/x-www-form-urlencoded"
            )
            assert answer.status_code in (401, 422)


# Sign in


def test_a_person_signs_in_and_goes_on_to_where_they_wanted(client, minji):
    answer = post(client, "/login?next=/coupons/7", email="MINJI@example.com ", password=PASSWORD)
    assert (answer.status_code, answer.location) == (303, "/coupons/7")
    assert signed_in_as(client) == minji.id


def test_a_program_signs_in(client, minji):
    answer = post(client, "/login", PROGRAM, email=minji.email, password=PASSWORD)
    assert answer.status_code == 200
    assert answer.get_json() == {"id": minji.id, "email": minji.email, "name": minji.name}
    assert signed_in_as(client) == minji.id


@both
@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("minji@example.com", "wrong"),
        ("nobody@example.com", PASSWORD),
        ("minji@example.com", UNUSABLE),
        ("가\0", "\0"),
    ],
    ids=["wrong password", "unknown account", "marker of no password", "NUL"],
)
def test_wrong_credentials_get_one_answer_whether_or_not_there_is_an_account(
    client, minji, accept, email, password
):
    with nothing_changes():
        answer = post(client, "/login", accept, email=email, password=password)
    problem = assert_refused(answer, 401, "wrong_credentials")
    assert signed_in_as(client) is None
    if accept == PROGRAM:
        assert problem["errors"] == {"password": ["The e-mail address or the password is wrong."]}
    else:
        assert "The e-mail address or the password is wrong." in answer.text


def test_an_account_without_a_password_cannot_sign_in(client):
    user = make_user()
    assert post(client, "/login", email=user.email, password=UNUSABLE).status_code == 401


@on_sqlite
@both
@pytest.mark.parametrize(
    ("typed", "fields"),
    [
        ({"email": "", "password": ""}, {"email", "password"}),
        ({"email": LONG, "password": LONG}, {"email", "password"}),
    ],
    ids=["empty", "long"],
)
def test_a_sign_in_that_cannot_be_right_costs_no_hash(client, accept, typed, fields, monkeypatch):
    monkeypatch.setattr(accounts, "check_password", lambda *_: pytest.fail("hashed"))
    problem = assert_refused(post(client, "/login", accept, **typed), 422, "invalid")
    assert accept == BROWSER or set(problem["errors"]) == fields


@both
def test_a_blocked_account_is_told_so_only_with_the_right_password(client, minji, accept):
    db.session.execute(update(User).values(blocked_at=utcnow()))
    db.session.commit()
    refused = post(client, "/login", accept, email=minji.email, password="wrong")
    assert_refused(refused, 401, "wrong_credentials")
    with nothing_changes():
        answer = post(client, "/login", accept, email=minji.email, password=PASSWORD)
    assert_refused(answer, 403, "forbidden")
    assert "This account is blocked." in answer.text
    assert signed_in_as(client) is None


@both
def test_after_so_many_wrong_passwords_the_right_one_has_to_wait_too(client, minji, accept):
    assert [wrong(client, accept) for _ in range(5)] == [401] * 5
    answer = post(client, "/login", accept, email=f" {minji.email.upper()}", password=PASSWORD)
    assert_refused(answer, 429, "limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert f"Try again in {answer.headers['Retry-After']} s." in answer.text
    assert signed_in_as(client) is None


def test_the_wait_is_over_after_a_minute(client, minji):
    for _ in range(6):
        wrong(client)
    counted = line_redis().keys("LIMITS:*")
    assert len(counted) == 2
    assert all(0 < line_redis().ttl(each) <= 60 for each in counted)
    line_redis().delete(*counted)  # as the minute would
    assert post(client, "/login", email=minji.email, password=PASSWORD).status_code == 303


def test_neither_the_owner_elsewhere_nor_others_of_the_same_address_have_to_wait(app, client, minji):
    other = make_user(password=PASSWORD)
    for _ in range(6):
        wrong(client)
    assert post(client, "/login", email=other.email, password=PASSWORD).status_code == 303
    elsewhere = app.test_client()
    elsewhere.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    assert post(elsewhere, "/login", email=minji.email, password=PASSWORD).status_code == 303


def test_whoever_knows_the_password_may_sign_in_as_often_as_they_like(client, minji):
    for _ in range(3):
        assert [wrong(client) for _ in range(4)] == [401] * 4
        assert post(client, "/login", email=minji.email, password=PASSWORD).status_code == 303
        client.delete_cookie("session")


def test_who_has_to_wait_costs_no_hash(client, minji, monkeypatch):
    for _ in range(5):
        wrong(client)
    monkeypatch.setattr(accounts, "check_password", lambda *_: pytest.fail("hashed"))
    assert wrong(client) == 429


@on_sqlite
def test_tries_that_come_at_once_are_counted_one_by_one(app):
    def begin(_: int) -> int:
        with app.test_request_context():
            return throttle.begin_try(None, "minji@example.com")

    with ThreadPoolExecutor(20) as pool:
        waits = list(pool.map(begin, range(100)))
    assert waits.count(0) == 5


JOSE = "josé@example.com"
VARIANTS = [JOSE, "jose\u0301@example.com", "JOSÉ@example.com", "ｊｏｓé@example.com", " josé@EXAMPLE.com "]


def test_wrong_passwords_are_counted_for_the_account_however_its_address_is_spelled(client):
    make_user(JOSE, password=PASSWORD)
    statuses = [
        post(client, "/login", email=VARIANTS[number % len(VARIANTS)], password=f"wrong {number}").status_code
        for number in range(60)
    ]
    assert statuses == [401] * 5 + [429] * 55
    assert post(client, "/login", email="jose@example.com", password="wrong").status_code == 401, (
        "another address"
    )


def test_an_address_without_an_account_is_counted_in_the_same_way(client):
    statuses = [post(client, "/login", email=VARIANTS[n % 5], password="wrong").status_code for n in range(8)]
    assert statuses == [401] * 5 + [429] * 3


@on_sqlite
def test_every_spelling_of_a_network_counts_as_one(app, client, minji):
    for number in range(8):
        client.environ_base["REMOTE_ADDR"] = f"2001:db8:1:2::{number}"
        last = wrong(client)
    assert last == 429
    client.environ_base["REMOTE_ADDR"] = "2001:db8:1:3::1"
    assert wrong(client) == 401


# How often from one network


def test_one_network_gets_so_many_new_accounts_an_hour(app, client):
    app.config["REGISTRATIONS_PER_HOUR"] = 3
    answers = [registered(app.test_client(), number).status_code for number in range(10)]
    assert answers == [200] * 3 + [429] * 7
    assert accounts_in_sql() == 3
    elsewhere = app.test_client()
    elsewhere.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    assert registered(elsewhere, 11).status_code == 200


def test_control_without_the_limit_one_network_takes_all(app, monkeypatch):
    app.config["REGISTRATIONS_PER_HOUR"] = 3
    monkeypatch.setattr(throttle, "begin_registration", lambda: 0)
    assert {registered(app.test_client(), number).status_code for number in range(10)} == {200}


def test_300_registrations_from_one_address_make_30_accounts(app):
    for number in range(300):
        registered(app.test_client(), number)
    assert accounts_in_sql() == 30


@on_sqlite
@both
def test_whoever_has_to_wait_hears_how_long_and_costs_no_hash(app, client, accept, monkeypatch):
    app.config |= {"REGISTRATIONS_PER_HOUR": 1, "SIGN_INS_PER_MINUTE": 1}
    registered(app.test_client(), 1)
    post(app.test_client(), "/login", email="nobody@example.com", password="wrong")
    for name in ("hash_password", "check_password"):
        monkeypatch.setattr(accounts, name, lambda *_: pytest.fail("hashed"))
    answer = registered(client, 2, accept)
    assert_refused(answer, 429, "limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 3601
    assert "Too many new accounts from your network. Try again in " in answer.text
    answer = post(client, "/login", accept, email="somebody@example.com", password="wrong")
    assert_refused(answer, 429, "limited")
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert "Too many sign-ins from your network. Try again in " in answer.text


@on_sqlite
def test_what_cannot_be_right_does_not_count(app, client):
    app.config["REGISTRATIONS_PER_HOUR"] = 1
    for _ in range(3):
        assert post(client, "/register", **MINJI | {"email": "nonsense"}).status_code == 422
    assert registered(client, 1).status_code == 200


@on_sqlite
@pytest.mark.parametrize(
    ("forwarded", "proxies", "warned"), [(None, 0, False), ("192.0.2.1", 0, True), ("192.0.2.1", 1, False)]
)
def test_a_forgotten_proxy_is_told_when_it_hurts(app, client, caplog, forwarded, proxies, warned):
    app.config |= {"SIGN_INS_PER_MINUTE": 1, "TRUSTED_PROXIES": proxies}
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    token = page_token(client)
    for _ in range(2):
        client.post("/login", data={**MINJI, "csrf_token": token}, headers=headers)
    assert ("TRUSTED_PROXIES" in caplog.text) == warned


@on_sqlite
@both
@pytest.mark.parametrize(
    "password", ["password", "1q2w3e4r", "rkskekfk", "minji1234", "aaaaaaaa", "19901225"]
)
def test_a_password_that_is_guessed_first_is_refused(client, accept, password):
    with nothing_changes():
        answer = post(client, "/register", accept, **MINJI | {"password": password})
    problem = assert_refused(answer, 422, "invalid")
    assert accept == BROWSER or set(problem["errors"]) == {"password"}
    assert "This is one of the first passwords that are guessed." in answer.text


@on_sqlite
def test_whoever_has_such_a_password_still_signs_in(client):
    user = make_user(password="password")
    assert post(client, "/login", email=user.email, password="password").status_code == 303


@on_sqlite
def test_control_without_the_count_every_guess_is_looked_at(client, minji, monkeypatch):
    monkeypatch.setattr(throttle, "begin_try", lambda *_: 0)
    assert [wrong(client) for _ in range(7)] == [401] * 7


def test_people_sign_in_while_redis_is_away(app, client, minji, monkeypatch):
    dead = create_app(settings(app.config["SQLALCHEMY_DATABASE_URI"], f"redis://127.0.0.1:{free_port()}/0"))
    monkeypatch.setitem(app.extensions, "throttle", dead.extensions["throttle"])
    before = swallowed.counts["sign-in not counted"]
    assert post(client, "/login", email=minji.email, password=PASSWORD).status_code == 303
    assert swallowed.counts["sign-in not counted"] == before + 1
    with dead.app_context():
        close(dead)


def test_no_sql_connection_is_held_while_a_password_is_checked(client, minji, monkeypatch):
    held, check = [], accounts.check_password

    def checked(*args):
        held.append(db.engine.pool.checkedout())
        return check(*args)

    monkeypatch.setattr(accounts, "check_password", checked)
    db.session.rollback()
    assert post(client, "/login", email=MINJI["email"], password=PASSWORD).status_code == 303
    assert held == [0]


@on_sqlite
@both
@pytest.mark.parametrize("address", ["/login", "/register", "/logout"])
def test_nothing_goes_without_the_token_of_the_session(client, minji, accept, address):
    sign_in(client, minji)
    with nothing_changes():
        for token in ("", "nonsense", "가나다".encode().decode("latin-1"), "a" * 5000):
            answer = post(client, address, accept, token=token, **MINJI | {"email": "other@example.com"})
            assert_refused(answer, 400, "bad_csrf")
    assert signed_in_as(client) == minji.id


@on_sqlite
def test_the_token_of_another_session_is_refused(app, client):
    theirs = page_token(app.test_client())
    page_token(client)
    assert_refused(post(client, "/register", token=theirs, **MINJI), 400, "bad_csrf")
    assert accounts_in_sql() == 0


# Where to go on to

EVIL = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "\\/evil.example",
    "https://evil.example",
    "https:evil.example",
    "https:/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "/\0/evil.example",
    "evil.example",
    "@evil.example",
    "//[",
    "http://[::1",
    "//evil℀.example",
    "/ok\r\nSet-Cookie: a=b",
    "\udc80",
    "",
    None,
]


@on_sqlite
@pytest.mark.parametrize("target", EVIL)
def test_other_sites_are_no_place_to_go_on_to(app, target):
    with app.test_request_context():
        assert safe_next(target) == "/"


@on_sqlite
@pytest.mark.parametrize(
    "target", ["/", "/coupons/7", "/coupons/7?notice=closed", "/쿠폰 1", "/a//b", "/?u=https://x"]
)
def test_our_own_paths_are(app, target):
    with app.test_request_context():
        assert safe_next(target) == target


@on_sqlite
@pytest.mark.parametrize(
    "raw", ["%2F%2Fevil.example", "/%09/evil.example", "/%5Cevil.example", "//[", "%ff", "/%0d%0aX:1", "/%00"]
)
def test_a_hostile_next_ends_on_our_own_page(client, raw):
    assert client.get(f"/language/en?next={raw}").location == "/"


def test_signing_in_and_registering_go_through_the_same_check(client, minji):
    assert post(client, "/login?next=//evil.example", email=minji.email, password=PASSWORD).location == "/"
    assert (
        post(client, "/register?next=//evil.example", **MINJI | {"email": "jun@example.com"}).location == "/"
    )
    assert (
        post(client, "/register?next=/wallet", **MINJI | {"email": "seo@example.com"}).location == "/wallet"
    )


# Sign out


def test_signing_out_ends_every_session_of_the_account(app, client):
    user = make_user()
    phone = app.test_client()
    sign_in(phone, user)
    token = sign_in(client, user)
    copied = client.get_cookie("session").value
    assert visit(phone, "/wallet").status_code == 200
    answer = post(client, "/logout", token=token)
    assert (answer.status_code, answer.location) == (303, "/")
    thief = app.test_client()
    thief.set_cookie("session", copied)
    for visitor in (client, phone, thief):
        assert visit(visitor, "/wallet").location == "/login?next=/wallet"
        assert_refused(visit(visitor, "/wallet", PROGRAM), 401, "unauthenticated")


def test_signing_out_twice_is_no_error(app, client):
    token = sign_in(client, make_user())
    copied = client.get_cookie("session").value
    post(client, "/logout", token=token)
    before = everything()
    client.set_cookie("session", copied)
    assert post(client, "/logout", token=token).status_code == 303
    assert everything() == before
    assert post(app.test_client(), "/logout").status_code == 303


@pytest.mark.parametrize("change", [{"blocked_at": utcnow()}, {"session_epoch": 1}])
def test_a_session_ends_where_sql_is_read(client, change):
    user = make_user()
    sign_in(client, user)
    db.session.execute(update(User).values(**change))
    db.session.commit()
    assert visit(client, "/wallet").status_code == 303
    assert signed_in_as(client) is None


def test_a_session_of_a_deleted_account_ends_where_sql_is_read(client):
    user = make_user()
    sign_in(client, user)
    db.session.delete(user)
    db.session.commit()
    assert visit(client, "/wallet").status_code == 303


def test_an_old_session_does_not_open_the_account_that_came_after(client):
    gone = make_user()
    sign_in(client, gone)
    db.session.delete(gone)
    db.session.commit()
    assert make_user().id > gone.id, "the id of a deleted account is never given again"
    assert visit(client, "/wallet").status_code == 303


@pytest.mark.parametrize("session_id", ["", "1", "1.", "1.2", "a.0.u", "-1.0.u", "1.x.u", "1.0.o.o", "²."])
def test_only_our_own_session_ids_are_read(session_id):
    visitor = read_visitor(session_id)
    assert visitor is None or re.fullmatch(r"\d+\.\d+(\..*)?", session_id)
    assert visitor is None or visitor.role == "user"


@on_sqlite
@pytest.mark.parametrize(
    "cookie", ["", "nonsense", "eyJfdXNlcl9pZCI6IjEuMC51In0.aaaa.bbbb", "." * 4000, "\xff\xfe"]
)
def test_a_made_up_session_is_nobody(client, cookie):
    make_user()
    client.set_cookie("session", cookie)
    assert visit(client, "/wallet").status_code == 303
    assert post(client, f"/coupons/{make_coupon()}/claim", PROGRAM).status_code == 401


@on_sqlite
def test_a_session_signed_with_another_key_is_nobody(app, client):
    user = make_user()
    other = type(app)("other")
    other.secret_key = "another key, also 32 bytes or longer"
    forged = app.session_interface.get_signing_serializer(other).dumps(
        {"_user_id": f"{user.id}.0.o", "_fresh": True}
    )
    client.set_cookie("session", forged)
    assert visit(client, "/wallet").status_code == 303


@on_sqlite
def test_hashes_are_of_a_recommended_strength_and_differ(app, monkeypatch):
    monkeypatch.setattr(passwords, "METHOD", METHOD)
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    assert first != second
    assert first.startswith("scrypt:32768:8:3$")
