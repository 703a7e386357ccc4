"""Cookies, headers, hosts, and where forms come from: what every answer carries and no request may bring."""

import re
from http.cookies import SimpleCookie

import pytest
from flask_wtf import CSRFProtect

from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from tests.visits import BROWSER, PROGRAM, assert_refused, visit
from webapp.accounts.visitor import load_visitor
from webapp.sale import claims
from webapp.web import security

HTTP, HTTPS = "http://localhost", "https://localhost"

pytestmark = on_sqlite


def cookies(answer) -> dict[str, dict]:
    jar = SimpleCookie()
    for header in answer.headers.getlist("Set-Cookie"):
        jar.load(header)
    return dict(jar)


def page_token_over(client, base: str) -> str:
    return re.search(r'name="csrf_token"[^>]*value="([^"]+)"', client.get("/login", base_url=base).text)[1]


def under(client, host: str | None, path: str = "/login", accept: str = BROWSER, **options: object):
    """Ask under a host exactly as it is written, None for none at all, as HTTP/1.0 does."""
    app = client.application
    answers = app.wsgi_app

    def replace_host(environ: dict, start_response: object) -> object:
        del environ["HTTP_HOST"]
        if host is not None:
            environ["HTTP_HOST"] = host
        return answers(environ, start_response)

    app.wsgi_app = replace_host
    try:
        return client.open(path, headers={"Accept": accept, "Accept-Language": "en"}, **options)
    finally:
        app.wsgi_app = answers


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


def assert_strict(policy: str) -> None:
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives["default-src"] == directives["base-uri"] == directives["frame-ancestors"] == "'none'"
    assert directives["script-src"] == directives["style-src"] == directives["form-action"] == "'self'"
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "http" not in policy


# Cookies


@pytest.mark.parametrize("address", ["/login", "/language/en"])
@pytest.mark.parametrize(("base", "secure"), [(HTTP, ""), (HTTPS, True)])
def test_cookies_are_kept_from_scripts_and_other_sites(client, address, base, secure):
    found = cookies(client.get(address, base_url=base))
    plain = {"session", "lang"}
    assert found.keys() & ({f"__Host-{name}" for name in plain} if secure else plain)
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
def test_only_trusted_proxies_say_that_it_is_https(changed, proxies, proto, secure):
    answer = changed(TRUSTED_PROXIES=proxies).get("/login", headers={"X-Forwarded-Proto": proto})
    name = "__Host-session" if secure else "session"
    assert cookies(answer)[name]["secure"] == secure
    assert ("Strict-Transport-Security" in answer.headers) is bool(secure)


PLANTED = [(HTTPS, "session", False), (HTTPS, "__Host-session", True), (HTTP, "session", True)]
PLANTED += [(HTTP, "__Host-session", False)]


@pytest.mark.parametrize(("base", "name", "believed"), PLANTED)
@pytest.mark.parametrize(
    "page", ["/wallet", "/coupons/{}/ticket", "/coupons/{}/claim"], ids=["app", "lane", "claim"]
)
def test_a_session_counts_under_its_own_name_alone(client, base, name, believed, page):
    """Whoever shares the domain or the wire can plant a cookie, but not one that begins with __Host-."""
    address, token = page.format(make_coupon()), sign_in(client, make_user())
    session = client.get_cookie("session").value
    client.delete_cookie("session")
    client.set_cookie(name, session)
    headers = {"Accept": PROGRAM, "X-CSRFToken": token, "Origin": base}
    method = "POST" if address.endswith("claim") else "GET"
    answer = client.open(address, method=method, base_url=base, headers=headers)
    assert answer.status_code == (200 if believed else 401)


@pytest.mark.parametrize(
    ("base", "name", "chosen"),
    [(base, name.replace("session", "lang"), right) for base, name, right in PLANTED],
)
def test_a_language_counts_under_its_own_name_alone(client, base, name, chosen):
    client.set_cookie(name, "ko")
    page = client.get("/", base_url=base, headers={"Accept-Language": "en"}).text
    assert ('<html lang="ko">' in page) is chosen


@pytest.mark.parametrize("base", [HTTP, HTTPS])
def test_a_visit_keeps_its_session_and_its_language(client, base):
    client.get("/language/ko", base_url=base)
    token = page_token_over(client, base)
    fields = {"email": "minji@example.com", "name": "Minji", "password": "correct horse", "csrf_token": token}
    client.post("/register", base_url=base, data=fields, headers={"Origin": base})
    answer = client.get("/wallet", base_url=base, headers={"Accept-Language": "en"})
    assert answer.status_code == 200
    assert '<html lang="ko">' in answer.text


def test_the_session_says_no_more_than_who_it_is(client):
    user = make_user("minji@example.com", name="Minji")
    sign_in(client, user)
    with client.session_transaction() as contents:
        assert contents["_user_id"] == f"{user.id}.0.u"
        assert not {"minji", "example.com"} & set(repr(dict(contents)).lower().split())
    assert load_visitor(f"{user.id}.0.u").id == user.id


# Where a form comes from

OURS, EVIL = "https://localhost", "https://evil.example"
SAME, CROSS = {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "cross-site"}
COMES_FROM = {
    "a browser of today": ({"Origin": OURS, "Referer": f"{OURS}/login", **SAME}, True),
    "inside of another app": ({"Origin": OURS}, True),
    "inside of another app, fetched": (SAME, True),
    "an origin that is kept back": ({"Origin": "null", **SAME}, True),
    "an old browser": ({"Referer": f"{OURS}/coupons/1"}, True),
    "the port in the origin": ({"Origin": f"{OURS}:443"}, True),
    "typed by hand, from us": ({"Origin": OURS, "Sec-Fetch-Site": "none"}, True),
    "an odd referrer": ({"Origin": OURS, "Referer": "https://m.kakao.example/"}, True),
    "empty headers, an old browser": ({"Origin": "", "Sec-Fetch-Site": "", "Referer": f"{OURS}/"}, True),
    "nothing said": ({}, False),
    "no origin": ({"Origin": "null"}, False),
    "no origin, our referrer": ({"Origin": "null", "Referer": f"{OURS}/"}, False),
    "elsewhere": ({"Origin": EVIL, **CROSS}, False),
    "elsewhere, without a referrer": (CROSS, False),
    "elsewhere, our referrer": ({"Origin": EVIL, "Referer": f"{OURS}/"}, False),
    "elsewhere, it says it is us": ({"Origin": EVIL, **SAME}, False),
    "us, but sent across": ({"Origin": OURS, **CROSS}, False),
    "a neighbour": ({"Origin": "https://shop.localhost", "Sec-Fetch-Site": "same-site"}, False),
    "a neighbour, kept back": ({"Sec-Fetch-Site": "same-site"}, False),
    "another port": ({"Origin": f"{OURS}:8443"}, False),
    "not over https": ({"Origin": "http://localhost"}, False),
    "not over https, the referrer": ({"Referer": "http://localhost/login"}, False),
    "begins like us": ({"Origin": f"{OURS}.evil.example"}, False),
    "begins like us, the referrer": ({"Referer": f"{OURS}.evil.example/"}, False),
    "our name before the at": ({"Referer": f"{OURS}@evil.example/"}, False),
    "two origins": ({"Origin": f"{OURS} {EVIL}"}, False),
    "nonsense": ({"Sec-Fetch-Site": "we", "Referer": f"{OURS}/"}, False),
    "a referrer without a host": ({"Referer": "https:///x"}, False),
}


@pytest.mark.parametrize(("headers", "believed"), COMES_FROM.values(), ids=COMES_FROM)
def test_over_https_a_form_comes_from_our_own_page(client, headers, believed):
    fields = {"email": "minji@example.com", "password": "correct horse"}
    own = {"Accept": PROGRAM, "Accept-Language": "en", "X-CSRFToken": page_token_over(client, HTTPS)}
    answer = client.post("/login", base_url=HTTPS, data=fields, headers=own | headers)
    assert_refused(answer, *((401, "wrong_credentials") if believed else (400, "bad_csrf")))


@pytest.mark.parametrize("accept", [BROWSER, PROGRAM], ids=["page", "json"])
@pytest.mark.parametrize(("headers", "believed"), COMES_FROM.values(), ids=COMES_FROM)
def test_over_https_a_click_comes_from_our_own_page(app, client, headers, believed, accept):
    """The lane takes what it believes, and leaves the rest to the app, which refuses it."""
    coupon, user = make_coupon(), make_user()
    token = sign_in(client, user, HTTPS)
    own = {"Accept": accept, "X-CSRFToken": token}
    lane, answers = app.wsgi_app, []
    for way in (lane, lane.plain):
        app.wsgi_app = way
        answers.append(
            client.post(f"/coupons/{coupon}/claim", base_url=HTTPS, headers=own | headers).status_code
        )
    assert answers == [(303 if accept == BROWSER else 200) if believed else 400] * 2
    assert (claims.standing(coupon, user.id).state == "waiting") is believed


@pytest.mark.parametrize("headers", [headers for headers, believed in COMES_FROM.values() if believed])
def test_the_token_is_needed_all_the_same(client, headers):
    coupon = make_coupon()
    sign_in(client, make_user(), HTTPS)
    answer = client.post(f"/coupons/{coupon}/claim", base_url=HTTPS, headers={"Accept": BROWSER, **headers})
    assert_refused(answer, 400, "bad_csrf")


def test_control_flask_wtfs_own_check_refuses_who_sends_no_referrer(app, client, monkeypatch):
    monkeypatch.setitem(app.config, "WTF_CSRF_SSL_STRICT", True)
    own = {"Accept": PROGRAM, "X-CSRFToken": page_token_over(client, HTTPS)}
    assert client.post("/login", base_url=HTTPS, headers=own | {"Origin": OURS, **SAME}).status_code == 400


def test_control_without_our_check_a_form_comes_from_anywhere(client, monkeypatch):
    monkeypatch.setattr(security.OwnPages, "protect", CSRFProtect.protect)
    own = {"Accept": PROGRAM, "X-CSRFToken": page_token_over(client, HTTPS), "Accept-Language": "en"}
    assert_refused(client.post("/login", base_url=HTTPS, headers=own | {"Origin": EVIL}), 422, "invalid")


@pytest.mark.parametrize(
    ("forwarded", "origin", "believed"),
    [
        ({"X-Forwarded-Host": "coupons.example"}, "https://coupons.example", True),
        ({"X-Forwarded-Host": "coupons.example:8443"}, "https://coupons.example:8443", True),
        ({"X-Forwarded-Host": "coupons.example:443"}, "https://coupons.example", True),
        ({"X-Forwarded-Host": "Coupons.Example"}, "https://coupons.example", True),
        ({"X-Forwarded-Host": "coupons.example"}, "https://localhost", False),
        ({"X-Forwarded-Host": "coupons.example"}, "https://coupons.example:8443", False),
        ({"X-Forwarded-Host": "evil.example, coupons.example"}, "https://coupons.example", True),
        ({"X-Forwarded-Host": "evil.example, coupons.example"}, "https://evil.example", False),
        ({}, "https://localhost", True),
    ],
)
def test_behind_a_proxy_our_page_is_what_the_proxy_calls_it(changed, forwarded, origin, believed):
    client = changed(TRUSTED_PROXIES=1)
    headers = {"X-Forwarded-Proto": "https", "Accept": PROGRAM, "Accept-Language": "en"} | forwarded
    page = client.get("/login", headers=headers)
    client.set_cookie("__Host-session", cookies(page)["__Host-session"].value)
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)[1]
    answer = client.post("/login", headers=headers | {"Origin": origin, "X-CSRFToken": token})
    assert_refused(answer, *((422, "invalid") if believed else (400, "bad_csrf")))


# Hosts

HOSTS = [
    "localhost",
    "coupons.example",
    "Coupons.Example.",
    "a.b.c.example:65535",
    "127.0.0.1:8000",
    "[::1]",
    "[::1]:8000",
]
HOSTS += ["xn--3e0b707e.example", "my_app:80", "1", "a" * 63 + ".example"]
NO_HOSTS = [
    ".x",
    "..",
    "a..b",
    "a.b..",
    "[::1",
    "::1",
    "[zz]",
    "[::1]x",
    "[1.2.3.4]",
    "",
    " ",
    "a b",
    "a/b",
    "a\\b",
    "a,b",
    "a@b",
]
NO_HOSTS += [
    "a:99999",
    "a:0",
    "a:",
    ":80",
    "a:80:90",
    "a:-1",
    "a:8o",
    "-a",
    "a-",
    "xn--",
    "xn--a",
    "\xff",
    "\xed\x95\x9c",
    "a" * 64,
]
NO_HOSTS += [
    "a." * 150 + "a",
    "a" * 300,
    "<script>",
    "a%00",
    "a?b",
    "a#b",
    "http://a",
    "localhost, localhost",
    "\u0661",
]


@pytest.mark.parametrize("host", [*HOSTS, None])
def test_a_host_is_answered(client, host):
    assert under(client, host).status_code == under(client, host, "/healthz").status_code == 200


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_no_host_is_told_so(client, host):
    for path in ("/login", "/healthz", "/coupons/1/serving", "/nothing", "/login/", "/static/style.css"):
        for accept in (BROWSER, PROGRAM) if "serving" not in path else (PROGRAM,):
            answer = under(client, host, path, accept)
            assert_refused(answer, 400, "bad_host")
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert "Content-Security-Policy" in answer.headers


def test_control_the_framework_alone_fails_at_such_a_host(app, client, monkeypatch):
    app.testing = False
    monkeypatch.setattr(app, "wsgi_app", app.extensions["hosts"].plain)
    with pytest.raises(AttributeError, match="build"):
        under(client, ".x")


ALLOWED = ["coupons.example", ".shop.example", "[::1]", "쿠폰.example"]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(("coupons.example", True), ("COUPONS.example:8443", True), ("coupons.example.", True)),
        *(("www.coupons.example", False), ("xcoupons.example", False), ("coupons.example.evil", False)),
        *(
            ("shop.example", True),
            ("a.shop.example", True),
            ("a.b.shop.example", True),
            ("ashop.example", False),
        ),
        *(("[::1]:80", True), ("[0:0:0:0:0:0:0:1]", True), ("[::2]", False), ("xn--2l7bi8e.example", True)),
        *(
            ("localhost", False),
            ("127.0.0.1", False),
            ("evil.example", False),
            ("example", False),
            (None, False),
        ),
    ],
)
def test_a_list_of_hosts_is_all_that_is_answered(changed, monkeypatch, host, allowed):
    monkeypatch.setenv("ALLOWED_HOSTS", ", ".join(ALLOWED))
    client = changed()
    coupon = make_coupon()
    for path in ("/login", "/nothing", f"/coupons/{coupon}/serving", f"/coupons/{coupon}/claim"):
        answer = under(client, host, path)
        assert (answer.status_code == 400) is not allowed, path
    # A load balancer asks a machine by its number.
    assert under(client, host, "/healthz").status_code == under(client, host, "/readyz").status_code == 200


def test_the_lane_clicks_under_no_other_host(changed, monkeypatch):
    monkeypatch.setenv("ALLOWED_HOSTS", "localhost")
    client, coupon, user = changed(), make_coupon(), make_user()
    path, token = f"/coupons/{coupon}/claim", {"csrf_token": sign_in(client, user)}
    for host, status in (("evil.example", 400), ("localhost", 200)):
        assert under(client, host, path, PROGRAM, method="POST", data=token).status_code == status


def test_what_a_proxy_calls_us_is_looked_at_too(changed, monkeypatch):
    monkeypatch.setenv("ALLOWED_HOSTS", "coupons.example")
    client = changed(TRUSTED_PROXIES=1)
    for named, status in (("coupons.example", 200), ("evil.example", 400), (".x", 400)):
        assert client.get("/login", headers={"X-Forwarded-Host": named}).status_code == status


# Headers


def test_every_answer_carries_the_headers(client):
    for address, answer in answers(client).items():
        headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff", address
        assert headers["X-Frame-Options"] == "DENY", address
        assert headers["Referrer-Policy"] == "same-origin", address
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin", address
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", address
        assert "camera=()" in headers["Permissions-Policy"], address
        assert "Cache-Control" in headers, address
        assert "Strict-Transport-Security" not in headers, address
        assert_strict(headers["Content-Security-Policy"])


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


PUBLIC = ("/", "/login", "/register", "/coupons/{coupon}", "/receipts/verify")


@pytest.mark.parametrize(
    "address", [*PUBLIC, "/wallet", "/coupons/{coupon}/receipt", "/admin/", "/admin/coupons/new"]
)
def test_what_somebody_signed_in_sees_is_kept_by_nobody(client, address):
    """Or the back button would show it after they have signed out."""
    coupon, user = make_coupon(), make_user(role="operator")
    claims.claim(coupon, user.id)
    address = address.format(coupon=coupon)
    sign_in(client, user)
    answer = visit(client, address)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")


def test_control_who_is_not_signed_in_may_go_back_at_once(client):
    coupon = make_coupon()
    for address in PUBLIC:
        assert visit(client, address.format(coupon=coupon)).headers["Cache-Control"] == "private, no-cache"
