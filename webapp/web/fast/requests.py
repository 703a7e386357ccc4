"""What a request brings, read from its WSGI environment."""

import re
from collections.abc import Callable
from io import BytesIO
from typing import NamedTuple
from urllib.parse import parse_qs
from wsgiref.types import WSGIApplication, WSGIEnvironment

from werkzeug.sansio.http import parse_cookie

from webapp.web.presenting import language_for
from webapp.web.security import common_headers, cookie_name

FORM = "application/x-www-form-urlencoded"
TOKEN_ALONE = re.compile(rb"csrf_token=([\w.-]+)")
"""What the page's form sends: nothing in it is escaped."""
MOST_BODY = 4096
TAKEN, MADE_BY_APP = "taken", "made by the app"
"""How the fast path answers: by itself, or with what it has the app make and then keeps."""

Headers = list[tuple[str, str]]


class PassedOn(Exception):
    """The app has to answer this request. `why` is one of a few fixed words, never a text of the request."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class RawAnswer(NamedTuple):
    """An answer as WSGI sends it, and how it was made."""

    status: str
    headers: Headers
    body: bytes
    how: str = TAKEN


def is_plain(environ: WSGIEnvironment) -> bool:
    """Whether the path says where the request goes, and its length how long it is."""
    return not environ.get("SCRIPT_NAME") and "HTTP_TRANSFER_ENCODING" not in environ


def takes_page(environ: WSGIEnvironment) -> bool:
    return str(environ.get("HTTP_ACCEPT", "")).startswith("text/html,")


def wants_json(environ: WSGIEnvironment) -> bool:
    return bool(environ.get("HTTP_ACCEPT") == "application/json")


def is_secure(environ: WSGIEnvironment) -> bool:
    return bool(environ["wsgi.url_scheme"] == "https")


def language_of(environ: WSGIEnvironment) -> str:
    """Return the language in which the app would answer."""
    name, header = cookie_name("lang", secure=is_secure(environ)), environ.get("HTTP_COOKIE", "")
    chosen = parse_cookie(header).get(name) if name in header else None
    return language_for(chosen, environ.get("HTTP_ACCEPT_LANGUAGE"))


def csrf_token(environ: WSGIEnvironment) -> str:
    """Return the token of the form, else of the header, "" for none; the body stays readable for the app."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if (
        environ.get("CONTENT_TYPE", "").startswith(FORM)
        and length.isdecimal()
        and 0 < int(length) <= MOST_BODY
    ):
        body: bytes = environ["wsgi.input"].read(int(length))
        environ["wsgi.input"] = BytesIO(body)
        if alone := TOKEN_ALONE.fullmatch(body):
            return alone[1].decode()
        fields = parse_qs(body.decode("latin-1"), max_num_fields=10)
        if "csrf_token" in fields:
            return fields["csrf_token"][0]
    return str(environ.get("HTTP_X_CSRFTOKEN", ""))


def answer_headers(content_type: str, cache_control: str, body: bytes, environ: WSGIEnvironment) -> Headers:
    own = {"Content-Type": content_type, "Cache-Control": cache_control, "Content-Length": str(len(body))}
    return list((common_headers(is_secure(environ)) | {"Vary": "Cookie"} | own).items())


def ask_app(plain: WSGIApplication, environ: WSGIEnvironment) -> RawAnswer:
    """Return what the app answers."""
    started: list[tuple[str, Headers]] = []
    chunks: list[bytes] = []

    def start(status: str, headers: Headers, exc_info: object = None, /) -> Callable[[bytes], object]:
        started.append((status, headers))
        return chunks.append

    chunks += plain(environ, start)
    return RawAnswer(*started[-1], b"".join(chunks), MADE_BY_APP)
