"""Refusals and errors: the right status, a sentence for people, a code for programs, and nothing half done."""

import io
import re
import time
from collections import deque
from contextlib import ExitStack
from threading import Event
from urllib.parse import quote, unquote

import pytest
import redis
from flask import Flask, abort
from sqlalchemy.exc import OperationalError

from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import Browser, close, on_sqlite, settings
from tests.visits import (
    BROWSER,
    PROGRAM,
    assert_refused,
    both,
    nothing_changes,
    page_token,
    post,
    sentence_of,
    visit,
)
from webapp import create_app
from webapp.accounts import passwords
from webapp.accounts.passwords import TooManyHashes
from webapp.accounts.turns import Turns
from webapp.sale.outcomes import Refused
from webapp.web.errors import Unauthenticated, wants_json

NOBODY = "redis://127.0.0.1:1/0"
"""Where no Redis answers: the port belongs to a protocol that nobody speaks any more."""

pytestmark = on_sqlite


class Provoked(Exception):
    """Nothing expects this error."""


@pytest.fixture
def raising(app):
    """Let `/raise` raise whatever the test puts in."""
    what: dict[str, Exception] = {}

    def view() -> str:
        raise what["it"]

    app.add_url_rule("/raise", view_func=view)
    app.testing = False
    return what


def as_typed(client, address: str, method: str = "GET", host: str = "localhost", **headers: str):
    """Ask for exactly this: the test client would read two slashes in front as those of a host."""
    path, _, query = address.partition("?")
    typed = {"PATH_INFO": unquote(path), "QUERY_STRING": query, "HTTP_HOST": host}
    return client.open("/", method=method, headers=headers, environ_overrides=typed)


class Unreadable(io.BytesIO):
    """A malformed chunk, as gunicorn's stream shows it."""

    def read(self, *_: object) -> bytes:
        raise OSError("malformed chunk")

    readline = readinto = read


@pytest.fixture
def without_redis(database_url, valkey):
    """The same installation whose Redis does not answer any more."""
    app = create_app(settings(database_url, valkey.url) | {"REDIS_URL": NOBODY, "QUEUE_REDIS_URL": NOBODY})
    app.test_client_class = Browser
    yield app
    with app.app_context():
        close(app)


@pytest.fixture
def without_sql(directory, valkey):
    """The same installation whose SQL database does not answer any more."""
    app = create_app(settings(f"sqlite:///{directory}/no/such/directory/x.db", valkey.url))
    app.test_client_class = Browser
    yield app
    with app.app_context():
        close(app)


def moved(client, app: Flask):
    """Return a client of the other app with the same cookies."""
    other = app.test_client()
    other.set_cookie("session", client.get_cookie("session").value)
    return other


# Who is answered in JSON


@pytest.mark.parametrize(
    ("accept", "json"),
    [
        *(
            (BROWSER, False),
            ("text/html", False),
            ("*/*", False),
            ("", False),
            (None, False),
            ("text/*", False),
        ),
        *(
            ("application/json", True),
            ("application/problem+json", True),
            ("application/json, text/plain, */*", False),
        ),
        *(("application/json;q=0.9, */*;q=0.1", True), ("application/json;q=0, text/html", False)),
        *(("text/html;q=0.5, application/json", True), ("application/*", True)),
        *((";;;", False), ("\xff/\xff", False), ("a" * 5000, False)),
    ],
)
def test_json_is_for_whoever_prefers_it(app, accept, json):
    headers = {} if accept is None else {"Accept": accept}
    with app.test_request_context("/", headers=headers):
        assert wants_json() is json


# Every refusal


RAISED = {
    "not_open": (Refused("not_open", retry_ms=1500), 409),
    "closed": (Refused("closed"), 410),
    "sold_out": (Refused("sold_out"), 410),
    "not_found": (Refused("not_found"), 404),
    "busy": (Refused("busy"), 503),
    "unauthenticated": (Unauthenticated(), 401),
}


@both
@pytest.mark.parametrize("code", RAISED)
def test_each_code_has_its_status_and_its_words(client, raising, accept, code):
    raising["it"], status = RAISED[code]
    answer = visit(client, "/raise", accept)
    assert_refused(answer, status, code)
    assert answer.headers["Cache-Control"] == "no-store"


@both
def test_how_long_to_wait_is_said_in_whole_seconds_rounded_up(client, raising, accept):
    for retry_ms, seconds in ((1, "1"), (1000, "1"), (1001, "2"), (90_000, "90")):
        raising["it"] = Refused("not_open", retry_ms=retry_ms)
        answer = visit(client, "/raise", accept)
        assert answer.headers["Retry-After"] == seconds
        assert accept == BROWSER or answer.get_json()["retry_ms"] == retry_ms


@both
@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("x"),
        redis.TimeoutError("x"),
        OperationalError("SELECT secret", {}, Exception("x")),
        TooManyHashes(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_store_that_does_not_answer_is_busy_not_broken(client, raising, accept, error):
    raising["it"] = error
    answer = visit(client, "/raise", accept)
    assert_refused(answer, 503, "busy")
    assert answer.headers["Retry-After"] == "2"
    assert "SELECT" not in answer.text


@both
def test_an_error_of_ours_says_so_and_tells_nothing_of_the_inside(client, raising, accept):
    raising["it"] = Provoked("the secret of the house")
    answer = visit(client, "/raise", accept)
    assert_refused(answer, 500, "http_500")
    assert "secret" not in answer.text
    assert "Provoked" not in answer.text


def test_a_busy_page_tries_again_by_itself_and_others_do_not(client, raising):
    raising["it"] = Refused("busy")
    page = visit(client, "/raise").text
    assert '<meta http-equiv="refresh" content="2' in page
    raising["it"] = Refused("not_found")
    assert 'http-equiv="refresh"' not in visit(client, "/raise").text


@pytest.mark.parametrize(
    "status", [400, 403, 404, 406, 408, 409, 411, 413, 414, 415, 417, 418, 429, 431, 500, 501, 502, 504]
)
def test_every_status_has_a_page_and_a_problem(app, client, status):
    app.testing = False
    app.add_url_rule("/abort", view_func=lambda: abort(status))
    code = {403: "forbidden", 404: "not_found"}.get(status, f"http_{status}")
    assert_refused(visit(client, "/abort"), status, code)
    assert_refused(visit(client, "/abort", PROGRAM), status, code)


def test_every_page_says_what_to_do_next(client, raising):
    for code, (raised, _status) in RAISED.items():
        raising["it"] = raised
        page = visit(client, "/raise").text
        assert 'href="/login"' in page if code == "unauthenticated" else 'href="/"' in page


@pytest.mark.parametrize(
    ("referrer", "offered"),
    [
        ("http://localhost/coupons/7?notice=closed", True),
        *(
            ("http://evil.example/", False),
            ("http://localhost.evil.example/", False),
            ("javascript:alert(1)", False),
        ),
        *(("", False), ("http://localhost", False), ("\xff", False)),
    ],
)
def test_an_out_of_date_page_leads_back_to_itself_and_nowhere_else(client, referrer, offered):
    answer = client.post("/login", headers={"Accept": BROWSER, "Accept-Language": "en", "Referer": referrer})
    assert_refused(answer, 400, "bad_csrf")
    assert ("Back to the page" in answer.text) is offered
    assert "evil" not in answer.text
    assert "javascript:" not in answer.text


def test_errors_speak_korean(client):
    page = client.get("/nothing", headers={"Accept": BROWSER, "Accept-Language": "ko"}).text
    assert any("가" <= character <= "힣" for character in sentence_of(page))
    problem = client.get("/nothing", headers={"Accept": PROGRAM, "Accept-Language": "ko"}).get_json()
    assert any("가" <= character <= "힣" for character in problem["title"])
    assert any("가" <= character <= "힣" for character in problem["detail"])


# Requests that are not as they should be


@both
@pytest.mark.parametrize(
    "address",
    [
        "/nothing",
        "/coupons",
        "/coupons/",
        "/nothing/",
        "/%00",
        "/%ff",
        "/한글",
        "/.git/config",
        "/admin/",
    ],
)
def test_addresses_of_nothing(client, accept, address):
    assert_refused(visit(client, address, accept), 404, "not_found")


SLASHED = {
    "/login/": "/login",
    "/register/": "/register",
    "/wallet/": "/wallet",
    "/wallet/3/": "/wallet/3",
    "/coupons/1/": "/coupons/1",
    "/coupons/1///": "/coupons/1",
    "/coupons//1": "/coupons/1",
    "//coupons/1/": "/coupons/1",
    "/coupons/1/receipt/": "/coupons/1/receipt",
    "/coupons/1/serving/": "/coupons/1/serving",
    "/receipts/verify/?receipt=a%20b&x=/": "/receipts/verify?receipt=a%20b&x=/",
    "/login/?next=//evil.example/": "/login?next=//evil.example/",
    "/language/%0d%0aX:1/": "/language/%0D%0AX%3A1",
    "/healthz/": "/healthz",
    "/coupons/1//receipt": "/coupons/1/receipt",
}


@both
@pytest.mark.parametrize(("address", "meant"), SLASHED.items())
def test_a_slash_too_many_leads_to_the_page(client, accept, address, meant):
    answer = as_typed(client, address, host="evil.example", Accept=accept)
    assert (answer.status_code, answer.headers["Location"]) == (308, meant)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_form_is_sent_on_as_it_is(client):
    coupon, token = make_coupon(), sign_in(client, make_user())
    data = {"csrf_token": token}
    answer = client.post(f"/coupons/{coupon}/claim/", data=data, headers={"Accept": BROWSER})
    assert (answer.status_code, answer.headers["Location"]) == (308, f"/coupons/{coupon}/claim")
    answer = client.post(f"/coupons/{coupon}/claim/", data=data, follow_redirects=True)
    assert (answer.status_code, answer.request.path) == (200, f"/coupons/{coupon}")


@pytest.mark.parametrize(
    ("method", "address"),
    [
        *(
            ("GET", address)
            for address in ("/nothing/", "/coupons/", "/coupons/x/", "/coupons/0/", "/logout/", "//x/")
        ),
        *(
            ("GET", address)
            for address in (
                "//evil.example/",
                "//evil.example/%2f..",
                "/\\evil.example/",
                "/%2fevil.example/",
            )
        ),
        *(("POST", "/wallet/"), ("DELETE", "/login/"), ("BREW", "/login/")),
    ],
)
def test_only_to_a_page_that_there_is(client, method, address):
    assert as_typed(client, address, method).status_code == 404


@pytest.mark.parametrize(
    "address",
    ["/admin", "//admin", "/admin//", "//admin//", "/admin/coupons/new/", "/admin/rq", "//admin//rq/"],
)
def test_what_operators_have_is_given_away_by_no_slash(client, address):
    sign_in(client, make_user())
    assert as_typed(client, address).status_code == 404
    sign_in(client, make_user(role="owner"))
    answer = as_typed(client, address)
    assert answer.status_code == 308
    assert client.get(answer.headers["Location"]).status_code == 200


@both
@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("GET", "/logout", "POST"),
        ("POST", "/wallet", "GET"),
        ("POST", "/", "GET"),
        ("DELETE", "/login", "POST"),
        ("BREW", "/", "GET"),
    ],
)
def test_another_method_is_told_which_ones_there_are(client, accept, method, address, allowed):
    answer = client.open(address, method=method, headers={"Accept": accept, "Accept-Language": "en"})
    assert_refused(answer, 405, "http_405")
    assert allowed in answer.headers["Allow"]


@both
@pytest.mark.parametrize("address", ["/login", "/register", "/logout", "/coupons/{coupon}/claim"])
def test_a_body_of_unknown_length_is_refused_before_anybody_reads_it(client, accept, address):
    coupon, token = make_coupon(), sign_in(client, make_user())
    headers = {
        "Accept": accept,
        "Accept-Language": "en",
        "X-CSRFToken": token,
        "Transfer-Encoding": "chunked",
    }
    with nothing_changes():
        answer = client.post(
            address.format(coupon=coupon),
            headers=headers,
            input_stream=Unreadable(),
            content_type="application/x-www-form-urlencoded",
            environ_base={"wsgi.input_terminated": True},
        )
    assert_refused(answer, 411, "http_411")


@both
@pytest.mark.parametrize("address", ["/login", "/register", "/logout", "/coupons/{coupon}/claim"])
def test_too_large_a_body_is_refused(client, accept, address):
    coupon, token = make_coupon(), sign_in(client, make_user())
    much = "x" * 70_000
    bodies = [
        {"data": {"email": much, "csrf_token": token}},
        {"data": {"email": much, "csrf_token": token}, "content_type": "multipart/form-data"},
        {"data": much, "content_type": "application/x-www-form-urlencoded"},
    ]
    headers = {"Accept": accept, "Accept-Language": "en"}
    with nothing_changes():
        for body in bodies:
            answer = client.post(address.format(coupon=coupon), headers=headers, **body)
            assert_refused(answer, 413, "http_413")


BODIES = {
    "json": (b'{"email": "\\ud800", "password": 1}', "application/json"),
    "deep json": (b"[" * 50_000, "application/json"),
    "no json": (b"{", "application/json"),
    "no object": (b"[]", "application/json"),
    "many fields": (b"a=1&" * 15_000, "application/x-www-form-urlencoded"),
    "no multipart": (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
    "no boundary": (b"x", "multipart/form-data"),
    "many parts": (
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 1100 + b"--x--",
        "multipart/form-data; boundary=x",
    ),
    "a file": (
        b'--x\r\nContent-Disposition: form-data; name=email; filename="a"\r\n\r\n1\r\n--x--\r\n',
        "multipart/form-data; boundary=x",
    ),
    "unknown charset": (b"email=a", "application/x-www-form-urlencoded; charset=nonsense"),
    "no type": (b"email=a", ""),
    "strange type": (b"email=a", "\xff/\xff;;=;"),
}
REFUSED = {"many parts": (413, "http_413")} | dict.fromkeys(
    ["deep json", "no json", "no object"], (400, "http_400")
)


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("address", ["/login", "/register"])
def test_strange_bodies_are_told_apart_from_forms(client, address, kind):
    body, content_type = BODIES[kind]
    headers = {"Accept-Language": "en", "X-CSRFToken": page_token(client)}
    with nothing_changes():
        for accept in (BROWSER, PROGRAM):
            answer = client.post(
                address, data=body, content_type=content_type, headers=headers | {"Accept": accept}
            )
            assert_refused(answer, *REFUSED.get(kind, (422, "invalid")))


def test_forms_of_operators_take_no_json(client):
    token = sign_in(client, make_user(role="operator"))
    headers = {"Accept": PROGRAM, "Accept-Language": "en", "X-CSRFToken": token}
    with nothing_changes():
        for body in ({"title": 5}, ["a"], {"total_quantity": "7"}):
            answer = client.post("/admin/coupons/new", json=body, headers=headers)
            assert_refused(answer, 415, "http_415")


STRANGE_HEADERS = [
    {"Accept-Language": "\xff;q=;;"},
    {"Accept-Language": "x" * 5000},
    {"Cookie": "session=\xff; lang=\x00; =; ;;"},
    {"Cookie": "lang=xx"},
    {"Cookie": "lang=" + "k" * 5000},
    {"Host": "evil.example"},
    {"Range": "bytes=0-0"},
    {"If-None-Match": '"\xff'},
    {"If-Modified-Since": "yesterday"},
    {"Content-Length": "-1"},
    {"Content-Length": "x"},
    {"X-Forwarded-For": "\xff", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"},
    {"X-HTTP-Method-Override": "DELETE"},
    {"Script-Name": "/x"},
    {"User-Agent": "\xff" * 1000},
]


@pytest.mark.parametrize(
    "headers", STRANGE_HEADERS, ids=lambda headers: " ".join(map(repr, headers.items()))[:40]
)
def test_strange_headers_do_no_harm(client, headers):
    coupon, token = make_coupon(), sign_in(client, make_user())
    for address in (
        "/",
        "/login",
        f"/coupons/{coupon}",
        f"/coupons/{coupon}/ticket",
        f"/coupons/{coupon}/serving",
        "/receipts/verify",
        "/wallet",
    ):
        answer = client.get(address, headers=headers)
        assert answer.status_code in (200, 303, 401)
        assert "evil.example" not in answer.text + answer.headers.get("Location", "")
    headers = {"X-CSRFToken": token} | headers
    assert client.post(f"/coupons/{coupon}/claim", headers=headers).status_code in (303, 400)


ODD = [
    "1.0",
    "%00",
    "%ff",
    "é",
    "-1",
    "9" * 40,
    "[" * 1000,
    "%0d%0a",
    "%ed%a0%80",
    "\\",
    " ",
    "None",
    "<script>",
]
FIELDS = [
    "code",
    "receipt",
    "next",
    "page",
    "notice",
    "email",
    "name",
    "password",
    "title",
    "total_quantity",
    "reason",
]
FIELDS += ["description", "terms", "place", "contact", "benefit", "benefit_words", "picture", "key", "state"]
FIELDS += [
    "issue_start_at",
    "issue_end_at",
    "valid_until",
    "discount_amount",
    "shown",
    "csrf_token",
    "draft",
    "coupon",
]


@pytest.mark.parametrize("odd", ODD)
def test_nothing_odd_that_is_asked_is_an_error_of_ours(app, odd):
    """Each address of ours, with it in the address, in the query, in a form and in JSON."""
    app.testing = app.config["PROPAGATE_EXCEPTIONS"] = False
    operator, nobody = app.test_client(), app.test_client()
    token, public_token = sign_in(operator, make_user(role="operator")), page_token(nobody)
    query = "&".join(f"{name}={quote(odd, safe='%')}" for name in FIELDS)
    fields = dict.fromkeys(FIELDS, unquote(odd, errors="replace"))
    asked = [
        *(
            (operator, "GET", token, {}),
            (nobody, "GET", public_token, {}),
            (nobody, "POST", public_token, {"json": fields}),
        ),
        *((operator, "POST", token, {"data": fields}), (operator, "POST", token, {"data": {"shown": odd}})),
    ]
    rules = [rule for rule in app.url_map.iter_rules() if not rule.rule.startswith(("/admin/rq", "/logout"))]
    for rule in rules:
        path = f"{re.sub('<.*?>', lambda _: odd, rule.rule)}?{query}"
        for client, method, own, body in asked:
            if method in rule.methods:
                headers = {"X-CSRFToken": own}
                answer = client.open(path, method=method, headers=headers, buffered=True, **body)
                assert answer.status_code < 500, f"{method} {rule.rule}"


@pytest.mark.parametrize("name", ["POST", "GET"])
def test_the_method_cannot_be_overridden(client, name):
    coupon, token = make_coupon(), sign_in(client, make_user())
    with nothing_changes():
        headers = {"X-HTTP-Method-Override": name, "X-CSRFToken": token}
        assert client.get(f"/coupons/{coupon}/claim", headers=headers).status_code == 405


# When a store is away


def test_without_redis_everything_about_lines_is_busy_and_soon_said(client, without_redis):
    coupon, token = make_coupon(), sign_in(client, make_user())
    other = moved(client, without_redis)
    started = time.monotonic()
    for accept in (BROWSER, PROGRAM):
        for part in ("", "/ticket", "/serving", "/receipt"):
            answer = visit(other, f"/coupons/{coupon}{part}", accept)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
        answer = post(other, f"/coupons/{coupon}/claim", accept, token=token)
        assert_refused(answer, 503, "busy")
        assert answer.headers["Retry-After"] == "2"
    assert time.monotonic() - started < 10 * 2.5


def test_without_redis_the_list_and_the_wallet_stay(client, without_redis):
    sign_in(client, make_user())
    other = moved(client, without_redis)
    assert visit(other, "/").status_code == 200
    assert visit(other, "/wallet").status_code == 200
    assert visit(other, "/login").status_code == 200
    assert visit(other, "/receipts/verify?receipt=1.2.3.4.x").status_code == 200


def test_without_sql_claims_and_polls_go_on(client, without_sql):
    coupon, token = make_coupon(), sign_in(client, make_user())
    visit(client, "/")  # Redis has been told whose sessions ended
    other = moved(client, without_sql)
    assert post(other, f"/coupons/{coupon}/claim", PROGRAM, token=token).get_json()["number"] == 1
    assert visit(other, f"/coupons/{coupon}/ticket", PROGRAM).get_json()["state"] == "waiting"
    assert visit(other, f"/coupons/{coupon}/serving", PROGRAM).get_json()["last"] == 1


@both
def test_without_sql_the_rest_is_busy(client, without_sql, accept):
    coupon = make_coupon()
    sign_in(client, make_user())
    visit(client, "/")
    other = moved(client, without_sql)
    for address in ("/", "/wallet", f"/coupons/{coupon}"):
        answer = visit(other, address, accept)
        assert_refused(answer, 503, "busy")
        assert answer.headers["Retry-After"] == "2"
    fields = {"email": "minji@example.com", "name": "Minji", "password": "correct horse"}
    for address in ("/login", "/register"):
        assert_refused(post(other, address, accept, **fields), 503, "busy")


# Password hashes


def test_too_many_sign_ins_at_once_are_busy(app, client, monkeypatch):
    monkeypatch.setattr(passwords, "WAIT_S", 0.0)
    turns = passwords._turns(app.config["HASHES_AT_ONCE"])
    with ExitStack() as held:
        for number in range(app.config["HASHES_AT_ONCE"]):
            held.enter_context(turns.place(f"network {number}", 1))
        answer = post(client, "/login", PROGRAM, email="minji@example.com", password="correct horse")
    assert_refused(answer, 503, "busy")
    assert_refused(
        post(client, "/login", PROGRAM, email="minji@example.com", password="correct horse"),
        401,
        "wrong_credentials",
    )


@both
def test_whoever_sends_many_at_once_is_told_to_wait_and_nobody_else(client, accept, monkeypatch):
    monkeypatch.setattr(passwords, "METHOD", "scrypt:1024:8:1")
    turns = Turns(2, most_waiting=5)
    turns.waiting["127.0.0.1"] = deque(Event() for _ in range(turns.most_waiting))
    monkeypatch.setattr(passwords, "_turns", lambda _: turns)
    typed = {"email": "minji@example.com", "password": "correct horse"}
    answer = post(client, "/login", accept, **typed)
    assert_refused(answer, 429, "limited")
    assert answer.headers["Retry-After"] == "10"
    client.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    assert_refused(post(client, "/login", accept, **typed), 401, "wrong_credentials")
