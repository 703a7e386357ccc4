"""deploy/nginx/firstcome.conf as a real nginx reads it, in front of a running system."""

import http.client
import re
import shutil
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import nginx as bench_nginx
from bench.nginx import in_front_of, program
from deploy.processes import free_port, wait_until
from jobs.rehearsal.crowd import signed_in
from jobs.rehearsal.load import send_all
from tests.builders import make_coupon, make_user
from tests.conftest import missing
from tests.installation import Installation
from tests.values.test_pictures import drawn, file_of
from webapp.sale.pictures import set_picture
from webapp.web.page_scripts import served_script

WRITTEN_S = 10
"""nginx writes a line of its log within this time after the answer."""


@dataclass
class Nginx:
    directory: Path
    port: int
    tls: ssl.SSLContext | None = None

    def get(self, path: str, encoding: str | None = "utf-8", **headers: str) -> http.client.HTTPResponse:
        return self.ask("GET", path, None, headers, encoding)

    def ask(
        self,
        method: str,
        path: str,
        body: str | None,
        headers: dict[str, str],
        encoding: str | None = "utf-8",
    ) -> http.client.HTTPResponse:
        if self.tls:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.tls)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        answer.text = answer.read().decode(encoding) if encoding else answer.read()
        connection.close()
        return answer

    def seen(self, path: str, times: int) -> Counter[tuple[str, str]]:
        """Return how often an address was answered, by cache status and by who answered ("-" for nginx alone).

        nginx writes the line of a request after its answer, so this waits until there are as many lines as requests.
        """

        def lines() -> Counter[tuple[str, str]]:
            rows = [line.split() for line in (self.directory / "access.log").read_text().splitlines()]
            return Counter((row[2], row[3]) for row in rows if row[0] == path)

        assert wait_until(lambda: lines().total() >= times, wait_s=WRITTEN_S), lines()
        return lines()


@pytest.fixture(scope="module")
def behind() -> Iterator[Installation]:
    """A running system that believes one proxy and knows its names."""
    names = "127.0.0.1 localhost coupons.example"
    with Installation(TRUSTED_PROXIES="1", ALLOWED_HOSTS=names) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(behind: Installation) -> Iterator[Nginx]:
    if program() is None:
        missing("nginx (Debian: nginx-light)")
    directory = Path(tempfile.mkdtemp(prefix="fc-nginx-"))
    with in_front_of(behind.port, directory, log=True) as port:
        yield Nginx(directory, port)
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def certificate(directory: Path) -> Path:
    """A certificate of our own for 127.0.0.1, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coupons.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = directory / "certificate.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(made.public_bytes(pem) + secret)
    return path


@pytest.fixture
def over_tls(behind: Installation, certificate: Path) -> Iterator[Nginx]:
    yield from running(behind.port, certificate)


def running(port: int, certificate: Path) -> Iterator[Nginx]:
    if program() is None:
        missing("nginx (Debian: nginx-light)")
    directory = Path(tempfile.mkdtemp(prefix="fc-nginx-"))
    with in_front_of(port, directory, log=True, certificate=certificate) as own:
        yield Nginx(directory, own, ssl.create_default_context(cafile=str(certificate)))
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def changed_site(monkeypatch, tmp_path):
    """Change the configuration before nginx reads it."""

    def change(ours: str, theirs: str) -> None:
        site = bench_nginx.SITE.read_text()
        assert ours in site
        path = tmp_path / "site.conf"
        path.write_text(site.replace(ours, theirs))
        monkeypatch.setattr(bench_nginx, "SITE", path)

    return change


def signing_in(nginx: Nginx, host: str) -> int:
    """Open the sign-in page, send a wrong password as a browser inside of an app does, and return the status."""
    page = nginx.get("/login", Host=host)
    (cookie,) = SimpleCookie(page.headers["Set-Cookie"]).values()
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)[1]
    headers = {"Host": host, "Origin": f"https://{host}", "Cookie": f"{cookie.key}={cookie.value}"}
    headers |= {"Content-Type": "application/x-www-form-urlencoded"}
    body = f"csrf_token={token}&email=nobody%40example.com&password=wrong"
    return nginx.ask("POST", "/login", body, headers).status


def test_hundreds_of_polls_cost_the_app_one_a_second(nginx, behind):
    with behind.app.app_context():
        coupon = make_coupon()
    path = f"/coupons/{coupon}/serving"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: session=whoever\r\n\r\n".encode()
    answers = send_all(("127.0.0.1", nginx.port), [request] * 900, spread_s=3)
    assert {answer.status for answer in answers} == {200}
    seen = nginx.seen(path, 900)
    passed_on = sum(count for (_, upstream), count in seen.items() if upstream != "-")
    assert sum(seen.values()) == 900
    assert 1 <= passed_on <= 8


def test_control_private_polls_all_reach_the_app(nginx, behind):
    with behind.app.app_context():
        coupon, user = make_coupon(), make_user()
        crowd = signed_in(behind.app, [user.id], "localhost")
    path = f"/coupons/{coupon}/ticket"
    answers = send_all(("127.0.0.1", nginx.port), [crowd.get(path, 0)] * 20)
    assert {answer.status for answer in answers} == {200}
    assert all(upstream != "-" for _, upstream in nginx.seen(path, 20))


def test_static_files_are_answered_by_nginx_alone_and_kept(nginx):
    answer = nginx.get("/static/style.css?v=1")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"].startswith("text/css")
    assert set(nginx.seen("/static/style.css", 1)) == {("-", "-")}


def test_scripts_come_from_the_app_once_and_are_kept(nginx):
    address = "/static/coupon+claim+times.js"
    for _ in range(3):
        answer = nginx.get(f"{address}?v=1", Cookie="session=whoever")
        assert answer.status == 200
        assert answer.headers.get_all("Cache-Control") == ["public, max-age=31536000, immutable"]
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert answer.text == served_script("coupon+claim+times.js").decode()
    assert sorted(cache for cache, _ in nginx.seen(address, 3).elements()) == ["HIT", "HIT", "MISS"]
    packed = nginx.get(f"{address}?v=2", **{"Accept-Encoding": "gzip"}, encoding=None)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.text) <= 3 * 1024


def test_a_picture_comes_from_the_app_once_and_is_kept(nginx, behind):
    with behind.app.app_context():
        name = set_picture(make_coupon(), file_of(drawn()), by=None)
    address = f"/pictures/{name}-small.jpg"
    for _ in range(3):
        answer = nginx.get(address, Cookie="session=whoever", encoding=None)
        assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")
        assert answer.headers.get_all("Cache-Control") == ["public, max-age=31536000, immutable"]
    assert sorted(cache for cache, _ in nginx.seen(address, 3).elements()) == ["HIT", "HIT", "MISS"]


def test_a_claim_goes_through_and_nothing_private_is_kept(nginx, behind):
    with behind.app.app_context():
        coupon, user = make_coupon(), make_user()
        crowd = signed_in(behind.app, [user.id], "127.0.0.1")
    (answer,) = send_all(("127.0.0.1", nginx.port), [crowd.claim(coupon, 0)])
    assert answer.status == 200
    page = nginx.get(f"/coupons/{coupon}", Cookie=crowd.sessions[0])
    assert page.status == 200
    assert page.headers["Cache-Control"] == "no-store"
    assert all(cache == "-" for cache, _ in nginx.seen(f"/coupons/{coupon}", 1))


def test_what_a_client_says_of_the_scheme_is_not_believed(nginx):
    answer = nginx.get("/login", **{"X-Forwarded-Proto": "https", "X-Forwarded-For": "1.2.3.4"})
    assert answer.status == 200
    assert "Secure" not in answer.headers["Set-Cookie"]
    assert "Strict-Transport-Security" not in answer.headers


def test_too_large_a_body_ends_at_nginx(nginx):
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=10)
    connection.request("POST", "/login", body=b"x" * 70_000)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_picture_of_5_mb_goes_on_and_one_of_7_does_not(nginx):
    for size, status in ((5, 404), (7, 413)):  # the app answers whoever is no operator
        connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=10)
        connection.request("POST", "/admin/coupons/1/picture", body=b"x" * size * 1024 * 1024)
        assert connection.getresponse().status == status
        connection.close()


# Over TLS, as it stands in the file


def test_over_tls_cookies_and_headers_are_those_of_https(over_tls):
    page = over_tls.get("/login")
    assert page.status == 200
    assert page.headers["Set-Cookie"].startswith("__Host-session=")
    assert "Secure" in page.headers["Set-Cookie"]
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.parametrize(
    "host", ["coupons.example", "coupons.example:443", "127.0.0.1:{port}", "coupons.example:8443"]
)
def test_a_form_comes_from_us_whatever_the_port(over_tls, host):
    assert signing_in(over_tls, host.format(port=over_tls.port)) == 401


def test_control_without_its_port_it_would_not(behind, certificate, changed_site):
    changed_site("$http_host", "$host")
    for nginx in running(behind.port, certificate):
        assert signing_in(nginx, "coupons.example:8443") == 400


def test_a_click_goes_through_tls(over_tls, behind):
    with behind.app.app_context():
        coupon, user = make_coupon(), make_user()
        crowd = signed_in(behind.app, [user.id], "127.0.0.1")
    cookie = f"__Host-{crowd.sessions[0]}"
    headers = {"Cookie": cookie, "X-CSRFToken": crowd.csrf_token, "Accept": "application/json"}
    click = f"/coupons/{coupon}/claim"
    ours = {"Origin": f"https://127.0.0.1:{over_tls.port}"}
    assert over_tls.ask("POST", click, None, headers | ours).status == 200
    assert over_tls.ask("POST", click, None, headers | {"Origin": "https://evil.example"}).status == 400


def test_the_public_poll_goes_on_with_every_header(over_tls, behind):
    with behind.app.app_context():
        path = f"/coupons/{make_coupon()}/serving"
    answer = over_tls.get(path, Host="coupons.example")
    assert answer.status == 200
    assert answer.headers["Strict-Transport-Security"]
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_control_a_header_of_its_own_would_drop_the_others(behind, certificate, changed_site):
    changed_site("proxy_cache firstcome;", 'proxy_cache firstcome; proxy_set_header Cookie "";')
    with behind.app.app_context():
        path = f"/coupons/{make_coupon()}/serving"
    for nginx in running(behind.port, certificate):
        assert nginx.get(path, Host="coupons.example").status == 400  # its host is now "firstcome"


def test_other_hosts_are_told_that_they_are_none_of_ours(over_tls):
    assert over_tls.get("/login", Host="evil.example").status == 400


@pytest.mark.parametrize(
    "path", ["/readyz", "/readyz?x=1", "//readyz", "/%72eadyz", "/x/../readyz", "/./readyz"]
)
def test_what_is_wrong_inside_is_told_to_nobody_outside(over_tls, path):
    assert over_tls.get(path).status == 404
    assert over_tls.get("/readyz/").headers["Location"] == "/readyz"
    assert over_tls.get("/healthz").status == 200


def test_files_carry_their_headers(over_tls):
    headers = over_tls.get("/static/style.css?v=1").headers
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in headers["Cache-Control"]


def test_plain_http_leads_to_https(over_tls):
    with closing(socket.socket(socket.AF_UNIX)) as plain:
        plain.settimeout(10)
        plain.connect(f"{over_tls.directory}/plain.sock")
        plain.sendall(
            b"GET /coupons/1?notice=x HTTP/1.1\r\nHost: coupons.example:80\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: plain.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 308 ")
    assert "\r\nLocation: https://coupons.example/coupons/1?notice=x\r\n" in answer


CODE = "S44GG6ZXDBFY"
TELLING = [
    f"/admin/redeem?code={CODE}",
    f"/receipts/verify?receipt={CODE}",
    f"/login?next=/x{CODE}",
    f"/static/no.css?{CODE}",
]
TELLING += [f"/coupons/1/serving?{CODE}", f"/readyz?{CODE}"]


def wait_for_lines(log: Path, lines: int) -> None:
    assert wait_until(lambda: log.read_text().count("\n") >= lines, wait_s=WRITTEN_S), log.read_text()


@pytest.mark.parametrize("up", [True, False], ids=["gunicorn up", "gunicorn away"])
def test_no_code_stands_in_a_log(behind, certificate, up):
    for nginx in running(behind.port if up else free_port(), certificate):
        for path in TELLING:
            nginx.get(path, Referer=f"https://127.0.0.1/admin/redeem?code={CODE}")
        wait_for_lines(nginx.directory / "own.log", len(TELLING))
        logs = {path.name: path.read_text() for path in nginx.directory.glob("*.log")}
        assert '"GET /admin/redeem HTTP/1.1" ' + ("404" if up else "502") in logs["own.log"]
        assert [name for name, text in logs.items() if CODE in text] == []


def test_control_nginxs_own_logs_would_name_it(behind, certificate, changed_site):
    changed_site(" alert;", " error;")
    for nginx in running(free_port(), certificate):
        nginx.get(TELLING[0])
        assert CODE in (nginx.directory / "error.log").read_text()
