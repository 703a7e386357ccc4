"""Cookies, headers and the policy for scripts: what every answer carries."""

import re
from http.cookies import SimpleCookie

import pytest

from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import Browser, close, settings
from tests.visits import BROWSER, PROGRAM, assert_refused, visit
from webapp import create_app
from webapp.accounts import load_visitor

HTTPS = "https://localhost"

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def behind_proxies(database_url, valkey, app):
    """Make clients of the same installation with so many trusted proxies in front."""
    apps = []

    def make(count: int) -> Browser:
        proxied = create_app(settings(database_url, valkey.url) | {"TRUSTED_PROXIES": count})
        proxied.test_client_class = Browser
        apps.append(proxied)
        return proxied.test_client()

    yield make
    for proxied in apps:
        with proxied.app_context():
            close(proxied)


def cookies(answer) -> dict[str, dict]:
    jar = SimpleCookie()
    for header in answer.headers.getlist("Set-Cookie"):
        jar.load(header)
    return dict(jar)


# Cookies


@pytest.mark.parametrize("address", ["/login", "/language/en"])
@pytest.mark.parametrize(("base", "secure"), [("http://localhost", ""), (HTTPS, True)])
def test_cookies_are_kept_from_scripts_and_other_sites(client, address, base, secure):
    found = cookies(client.get(address, base_url=base))
    assert found.keys() & {"session", "lang"}
    for cookie in found.values():
        assert (cookie["httponly"], cookie["samesite"], cookie["secure"], cookie["path"]) == (
            True,
            "Lax",
            secure,
            "/",
        )
        assert cookie["domain"] == ""


@pytest.mark.parametrize(
    ("proxies", "proto", "secure"),
    [(1, "https", True), (1, "http", ""), (1, "https, http", ""), (2, "https, http", True), (0, "https", "")],
)
def test_only_trusted_proxies_say_that_it_is_https(behind_proxies, proxies, proto, secure):
    answer = behind_proxies(proxies).get("/login", headers={"X-Forwarded-Proto": proto})
    assert cookies(answer)["session"]["secure"] == secure
    assert ("Strict-Transport-Security" in answer.headers) is bool(secure)


def test_the_session_says_no_more_than_who_it_is(client):
    user = make_user("minji@example.com", name="Minji")
    sign_in(client, user)
    with client.session_transaction() as contents:
        assert contents["_user_id"] == f"{user.id}.0.u"
        assert not {"minji", "example.com"} & set(repr(dict(contents)).lower().split())
    assert load_visitor(f"{user.id}.0.u").id == user.id


def test_over_https_a_form_must_come_from_our_own_page(client):
    fields = {"email": "minji@example.com", "password": "correct horse"}
    token = re.search(
        r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/login", base_url=HTTPS).text
    ).group(1)

    def send(referrer: str | None):
        headers = {"Accept": PROGRAM, "Accept-Language": "en", "X-CSRFToken": token}
        headers |= {} if referrer is None else {"Referer": referrer}
        return client.post("/login", base_url=HTTPS, data=fields, headers=headers)

    assert_refused(send(None), 400, "bad_csrf")
    assert_refused(send("https://evil.example/"), 400, "bad_csrf")
    assert_refused(send("http://localhost/login"), 400, "bad_csrf")
    assert_refused(send("https://localhost/login"), 401, "wrong_credentials")


# Headers


def answers(client) -> dict[str, object]:
    coupon, token = make_coupon(), sign_in(client, make_user())
    claim = f"/coupons/{coupon}/claim"
    return {
        **{
            address: visit(client, address)
            for address in ("/", "/login", "/register", "/wallet", f"/coupons/{coupon}", "/receipts/verify")
        },
        **{
            address: visit(client, address)
            for address in ("/nothing", claim, "/admin/", "/healthz", "/readyz")
        },
        **{part: visit(client, f"/coupons/{coupon}/{part}") for part in ("ticket", "serving")},
        "json 404": visit(client, "/nothing", PROGRAM),
        "no token": client.post(claim, headers={"Accept": BROWSER}),
        "claim": client.post(claim, headers={"X-CSRFToken": token}),
        "receipt": visit(client, f"/coupons/{coupon}/receipt"),
        "style": visit(client, "/static/style.css"),
        "no style": visit(client, "/static/no.css"),
        "outside": visit(client, "/static/../wsgi.py"),
        "redirect": visit(client, "/language/en"),
    }


def test_every_answer_carries_the_headers(client):
    for address, answer in answers(client).items():
        headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff", address
        assert headers["X-Frame-Options"] == "DENY", address
        assert headers["Referrer-Policy"] == "same-origin", address
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", address
        assert "camera=()" in headers["Permissions-Policy"], address
        assert "Cache-Control" in headers, address
        assert "Strict-Transport-Security" not in headers, address
        assert_strict(headers["Content-Security-Policy"])


def assert_strict(policy: str) -> None:
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives["default-src"] == directives["base-uri"] == directives["frame-ancestors"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["form-action"] == "'self'"
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy


def test_no_page_has_script_or_style_of_its_own(client):
    for address, answer in answers(client).items():
        if answer.mimetype != "text/html":
            continue
        assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text), address
        assert not re.search(r"<style\b|\sstyle\s*=|\son[a-z]+\s*=|javascript:", answer.text), address
        assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", answer.text), (
            f"{address}: another host"
        )


def test_hsts_is_sent_over_https_alone(client):
    assert client.get("/", base_url=HTTPS).headers["Strict-Transport-Security"] == "max-age=31536000"


def test_pages_of_one_person_are_kept_by_no_shared_cache(client):
    for address, answer in answers(client).items():
        if "public" in answer.headers["Cache-Control"]:
            assert "/serving" in address or address in ("serving", "style"), address
            assert "Set-Cookie" not in answer.headers
            assert "Cookie" not in answer.headers.get("Vary", "")
        elif "Set-Cookie" in answer.headers or "csrf" in answer.text:
            assert "Cookie" in answer.headers["Vary"], address
