"""deploy/nginx/firstcome.conf as a real nginx reads it, in front of a running system."""

import http.client
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.nginx import in_front_of, program
from jobs.crowd import signed_in
from jobs.load import send_all
from tests.builders import make_coupon, make_user
from tests.conftest import missing
from tests.installation import Installation
from webapp.page_scripts import served_script


@dataclass
class Nginx:
    directory: Path
    port: int

    def get(self, path: str, encoding: str | None = "utf-8", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.text = answer.read().decode(encoding) if encoding else answer.read()
        connection.close()
        return answer

    def seen(self, path: str) -> Counter[tuple[str, str]]:
        """Return how often an address was answered, by cache status and by who answered ("-" for nginx alone)."""
        rows = [line.split() for line in (self.directory / "access.log").read_text().splitlines()]
        return Counter((row[2], row[3]) for row in rows if row[0] == path)


@pytest.fixture(scope="module")
def behind() -> Iterator[Installation]:
    """A running system that believes one proxy."""
    with Installation(TRUSTED_PROXIES="1") as running:
        yield running


@pytest.fixture(scope="module")
def nginx(behind: Installation) -> Iterator[Nginx]:
    if program() is None:
        missing("nginx (Debian: nginx-light)")
    directory = Path(tempfile.mkdtemp(prefix="fc-nginx-"))
    with in_front_of(behind.port, directory, log=True) as port:
        yield Nginx(directory, port)
    shutil.rmtree(directory, ignore_errors=True)


def _answers(nginx: Nginx) -> bool:
    try:
        return nginx.get("/healthz").status == 200
    except OSError:
        return False


def test_hundreds_of_polls_cost_the_app_one_a_second(nginx, behind):
    with behind.app.app_context():
        coupon = make_coupon()
    path = f"/coupons/{coupon}/serving"
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: session=whoever\r\n\r\n".encode()
    answers = send_all(("127.0.0.1", nginx.port), [request] * 900, spread_s=3)
    assert {answer.status for answer in answers} == {200}
    seen = nginx.seen(path)
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
    assert all(upstream != "-" for _, upstream in nginx.seen(path))


def test_static_files_are_answered_by_nginx_alone_and_kept(nginx):
    answer = nginx.get("/static/style.css?v=1")
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert answer.headers["Content-Type"].startswith("text/css")
    assert set(nginx.seen("/static/style.css")) == {("-", "-")}


def test_scripts_come_from_the_app_once_and_are_kept(nginx):
    address = "/static/coupon+claim+times.js"
    for _ in range(3):
        answer = nginx.get(f"{address}?v=1", Cookie="session=whoever")
        assert answer.status == 200
        assert answer.headers.get_all("Cache-Control") == ["public, max-age=31536000, immutable"]
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert answer.text == served_script("coupon+claim+times.js").decode()
    assert sorted(cache for cache, _ in nginx.seen(address).elements()) == ["HIT", "HIT", "MISS"]
    packed = nginx.get(f"{address}?v=2", **{"Accept-Encoding": "gzip"}, encoding=None)
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.text) <= 3 * 1024


def test_a_claim_goes_through_and_nothing_private_is_kept(nginx, behind):
    with behind.app.app_context():
        coupon, user = make_coupon(), make_user()
        crowd = signed_in(behind.app, [user.id], "127.0.0.1")
    (answer,) = send_all(("127.0.0.1", nginx.port), [crowd.claim(coupon, 0)])
    assert answer.status == 200
    page = nginx.get(f"/coupons/{coupon}", Cookie=crowd.sessions[0])
    assert page.status == 200
    assert "private" in page.headers["Cache-Control"]
    assert all(cache == "-" for cache, _ in nginx.seen(f"/coupons/{coupon}"))


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
