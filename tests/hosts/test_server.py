"""What gunicorn has done before the first visitor, what it lets through to the app, and how it sends the answer."""

import gc
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace

import pytest
from gunicorn.config import Config

from deploy.web_worker import QuietWorker, WholeResponse
from tests.conftest import on_sqlite

(Worker,) = QuietWorker.__bases__
(Response,) = WholeResponse.__bases__
CHUNKS = ["5\r\nemail\r\n0\r\n\r\n", "zz\r\nemail\r\n", "-1\r\n", ""]


@pytest.fixture
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def loaded(worker_class: type[Worker], app: object) -> tuple[int, int]:
    """Return how many templates are compiled, and how many objects are out of the garbage collector's sight."""
    worker = worker_class.__new__(worker_class)
    worker.app = SimpleNamespace(wsgi=lambda: app)
    worker.load_wsgi()
    assert worker.wsgi is app
    return len(app.jinja_env.cache) if hasattr(app, "jinja_env") else 0, gc.get_freeze_count()


def packets(
    response_class: type[Response], pieces: list[bytes], length: int | None, method: str = "GET"
) -> list[bytes]:
    """Return what a response sends but for the date, one item for each time that it does."""
    request = SimpleNamespace(method=method, version=(1, 1), should_close=lambda: False)
    # It keeps apart what is sent apart.
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    there.settimeout(10)
    with closing(there):
        with closing(here):
            response = response_class(request, here, Config())
            lengths = [] if length is None else [("Content-Length", str(length))]
            response.start_response("200 OK", [("X-Ours", "1"), *lengths])
            for piece in pieces:
                response.write(piece)
            response.close()
            assert response.headers_sent
            assert not response.should_close()
        return [re.sub(rb"\r\nDate: [^\r]*", b"", sent) for sent in iter(lambda: there.recv(65536), b"")]


def talk(port: int, request: str) -> str:
    """Send bytes as they are to the running server and return all that it answers."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


@pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
def test_the_running_server_refuses_chunks_and_believes_no_strangers_proxy(installation):
    for chunks in CHUNKS:
        lines = ["POST /login HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", "Connection: close"]
        answer = talk(installation.port, "\r\n".join([*lines, "", chunks]))
        assert answer.startswith("HTTP/1.1 411 "), answer
    headers = ["X-Forwarded-Proto: https", "X-Forwarded-Ssl: on", "Script-Name: /x", "SCRIPT_NAME: /x"]
    answer = talk(
        installation.port,
        "\r\n".join(["GET /login HTTP/1.1", "Host: localhost", *headers, "Connection: close", "", ""]),
    )
    assert answer.startswith("HTTP/1.1 200 ")
    assert "Secure" not in answer.partition("\r\n\r\n")[0]
    assert "Strict-Transport-Security" not in answer


@on_sqlite
def test_no_visitor_waits_for_templates_or_for_old_garbage(app, unfrozen):
    """With gunicorn's own worker, the control, the first visitors wait for the one, and all for the other."""
    assert loaded(Worker, app) == (0, 0)
    compiled, frozen = loaded(QuietWorker, app)
    assert compiled == len(app.jinja_env.list_templates()) > 10
    assert frozen > 10_000


def test_an_app_without_templates_is_served_too(unfrozen):
    assert loaded(QuietWorker, lambda environ, start_response: [])[0] == 0


ABSOLUTE = "GET http://.x/login HTTP/1.1\r\nHost: localhost"
HOSTS = {
    "one of ours": ("GET /login HTTP/1.1\r\nHost: localhost", 200),
    "an absolute address": ("GET http://evil.example/login HTTP/1.1\r\nHost: localhost", 200),
    "an absolute address of nothing": (ABSOLUTE, 200),
    "none, as in HTTP/1.0": ("GET /login HTTP/1.0", 200),
    "a dot": ("GET /login HTTP/1.1\r\nHost: .x", 400),
    "a dot, for the health": ("GET /healthz HTTP/1.1\r\nHost: .x", 400),
    "a dot, for a poll": ("GET /coupons/1/serving HTTP/1.1\r\nHost: .x", 400),
    "empty": ("GET /login HTTP/1.1\r\nHost: ", 400),
    "two": ("GET /login HTTP/1.1\r\nHost: localhost\r\nHost: evil.example", 400),
    "half an address": ("GET /login HTTP/1.1\r\nHost: [::1", 400),
    "long": ("GET /login HTTP/1.1\r\nHost: " + "a" * 300, 400),
    "bytes": ("GET /login HTTP/1.1\r\nHost: \u00ff", 400),
}


@pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
def test_the_running_server_answers_every_host_with_no_error_of_its_own(installation):
    said_before = len(installation.stderr)
    for name, (head, status) in HOSTS.items():
        answer = talk(installation.port, f"{head}\r\nConnection: close\r\n\r\n")
        assert re.match(rf"HTTP/1\.[01] {status} ", answer), name
        # gunicorn itself refuses a second host and bytes that are no text.
        assert "\r\nX-Frame-Options: DENY\r\n" in answer or name in ("two", "bytes"), name
        assert "evil.example" not in answer, name
    assert "Traceback" not in installation.stderr[said_before:]


def test_an_answer_goes_out_in_one_piece():
    """With gunicorn's own response, the control, the head is a packet by itself."""
    (whole,) = packets(WholeResponse, [b"hello"], 5)
    apart = packets(Response, [b"hello"], 5)
    assert len(apart) == 2
    assert whole == b"".join(apart)
    assert whole.endswith(b"\r\nX-Ours: 1\r\nContent-Length: 5\r\n\r\nhello")


@pytest.mark.parametrize(
    ("pieces", "length", "method"),
    [
        ([b""], 0, "GET"),
        ([b"hel", b"lo"], 5, "GET"),
        ([b"hello", b"more"], 5, "GET"),
        ([b"hello"], None, "GET"),
        ([b""], 5, "HEAD"),
        ([], 0, "GET"),
    ],
    ids=["empty", "two pieces", "too much", "chunked", "head alone", "nothing"],
)
def test_every_other_answer_is_the_same(pieces, length, method):
    def sent(response_class: type[Response]) -> bytes:
        return b"".join(packets(response_class, pieces, length, method))

    assert sent(WholeResponse) == sent(Response)
