"""What the claim is compared with: WSGI callables that do less and less of the same."""

import os
from collections.abc import Iterable
from functools import cache
from typing import Any

from flask import Flask

from webapp import create_app
from webapp.line.line import Line
from webapp.stores.script_redis import line_redis

HEADERS = [("Content-Type", "text/plain"), ("Content-Length", "2")]


def empty_wsgi(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """The least that gunicorn can be asked for."""
    start_response("200 OK", HEADERS)
    return [b"ok"]


def process_id(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Say which process answers."""
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


empty_flask = Flask(__name__)


@empty_flask.route("/<path:anything>", methods=["GET", "POST"])
def empty_view(anything: str) -> str:
    """The least that Flask can be asked for."""
    return "ok"


@cache
def _ours(*, fast_path: bool = True) -> Flask:
    return create_app({"FAST_PATH": fast_path})


def bare_claim(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Verify the signed session, run one claim script, answer 303: no CSRF check, no headers, no messages."""
    app = _ours()
    cookie = environ["HTTP_COOKIE"].partition("session=")[2]
    session = _serializer().loads(cookie)
    coupon_id, user_id = environ["PATH_INFO"].split("/")[2], int(session["_user_id"].partition(".")[0])
    with app.app_context():
        Line(line_redis(), int(coupon_id)).claim(user_id)
    location = ("Location", f"/coupons/{coupon_id}")
    start_response("303 See Other", [location, ("Content-Length", "0")])
    return [b""]


@cache
def _serializer() -> Any:
    return _ours().session_interface.get_signing_serializer(_ours())  # type: ignore[attr-defined]


def plain(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer with our app without the fast path: every request goes through Flask."""
    return _ours(fast_path=False).wsgi_app(environ, start_response)


def ours(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    return _ours().wsgi_app(environ, start_response)
