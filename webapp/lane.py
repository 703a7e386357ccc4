"""The lane: answers a claim without the framework, when nothing speaks against it.

Everybody presses the button in the same second, and most of what Flask does for that request is the same each time. So
this small WSGI callable stands in front of the app and does by itself what a claim needs: verify the signed session
and the CSRF token, run the claim, answer. Whatever is not plainly in order (no session, a wrong token, an unusual
header, a store that does not answer) goes on to the app as it came, and is decided there by the code that serves every
other request. A claim that was tried on the way is no harm: it is idempotent.

The answers are those of the app, header by header; `tests/test_lane.py` compares them.
"""

import re
from collections.abc import Iterable
from hmac import compare_digest
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

import redis
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import BadData, URLSafeTimedSerializer
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.utils import redirect

from webapp import issuing
from webapp.accounts import load_visitor
from webapp.issuing import Refused
from webapp.security import common_headers
from webapp.tickets import SHOWN_REFUSALS, STORE_FAILED, ticket_json

CLAIM = re.compile(r"/coupons/([1-9][0-9]{0,17})/claim")
FORM = "application/x-www-form-urlencoded"
MOST_BODY = 4096
MOST_KEPT = 1000
"""Answers that are the same for everybody and made once: redirects, and refusals in each language."""

Environ = dict[str, Any]
Answer = tuple[str, list[tuple[str, str]], bytes]


class Lane:
    """A WSGI callable in front of the app's own, `plain`."""

    def __init__(self, app: Flask) -> None:
        interface = app.session_interface
        assert isinstance(interface, SecureCookieSessionInterface)
        self.app, self.plain = app, app.wsgi_app
        self.sessions = interface.get_signing_serializer(app)
        self.session_s = int(app.permanent_session_lifetime.total_seconds())
        self.tokens = URLSafeTimedSerializer(app.secret_key or "", salt="wtf-csrf-token")
        self.cookie = f"{app.config['SESSION_COOKIE_NAME']}="
        self.kept: dict[tuple[object, ...], Answer] = {}

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        answer = self._answer(environ)
        if answer is None:
            return self.plain(environ, start_response)
        status, headers, body = answer
        start_response(status, list(headers))
        return [body]

    def _answer(self, environ: Environ) -> Answer | None:
        """Return the answer to a claim that is in order, or None for every other request."""
        found = CLAIM.fullmatch(environ["PATH_INFO"])
        if found is None or not _is_plain(environ):
            return None
        user_id = self._signed_in(environ)
        return None if user_id is None else self._claim(int(found[1]), user_id, environ)

    def _signed_in(self, environ: Environ) -> int | None:
        """Return who the signed session names, if the request's CSRF token is of that session."""
        cookies = [
            part for part in environ.get("HTTP_COOKIE", "").split("; ") if part.startswith(self.cookie)
        ]
        if len(cookies) != 1 or self.sessions is None:
            return None
        try:
            session = self.sessions.loads(cookies[0][len(self.cookie) :], max_age=self.session_s)
            visitor = load_visitor(session["_user_id"])
            of_this_session = compare_digest(session["csrf_token"], self.tokens.loads(_csrf_token(environ)))
        except (BadData, KeyError, TypeError, ValueError, AttributeError):
            return None
        return visitor.id if visitor is not None and of_this_session else None

    def _claim(self, coupon_id: int, user_id: int, environ: Environ) -> Answer | None:
        as_json, secure = _wants_json(environ), _is_secure(environ)
        with self.app.app_context():
            try:
                ticket = issuing.claim(coupon_id, user_id)
                body = ticket_json(coupon_id, user_id, ticket) if as_json else None
            except Refused as refused:
                return self._refusal(coupon_id, refused.code, environ)
            except (redis.RedisError, SQLAlchemyError) as error:
                environ[STORE_FAILED] = error
                return None
        if body is not None:
            return "200 OK", _headers("application/json", "no-store", body, secure), body
        return self._to_page(coupon_id, "already" if ticket.state == "issued" else None, secure)

    def _refusal(self, coupon_id: int, code: str, environ: Environ) -> Answer | None:
        if code not in SHOWN_REFUSALS:
            return None
        if not _wants_json(environ):
            return self._to_page(coupon_id, code, _is_secure(environ))
        return None if code == "not_open" else self._same_refusal(code, environ)

    def _to_page(self, coupon_id: int, notice: str | None, secure: bool) -> Answer:
        key = (coupon_id, notice, secure)
        if key not in self.kept:
            response = redirect(f"/coupons/{coupon_id}" + (f"?notice={notice}" if notice else ""), 303)
            headers = _headers("text/html; charset=utf-8", "private, no-cache", response.data, secure)
            self._keep(key, ("303 SEE OTHER", [*headers, ("Location", response.location)], response.data))
        return self.kept[key]

    def _same_refusal(self, code: str, environ: Environ) -> Answer | None:
        """Return what the app answered when it refused the same in the same language, or ask it for the first time."""
        languages = [part for part in environ.get("HTTP_COOKIE", "").split("; ") if part.startswith("lang=")]
        key = (code, environ.get("HTTP_ACCEPT_LANGUAGE"), *languages, _is_secure(environ))
        if key not in self.kept:
            answer = _call(self.plain, environ)
            if f'"code": "{code}"'.encode() not in answer[2] or any(
                name == "Set-Cookie" for name, _ in answer[1]
            ):
                return answer
            self._keep(key, answer)
        return self.kept[key]

    def _keep(self, key: tuple[object, ...], answer: Answer) -> None:
        if len(self.kept) >= MOST_KEPT:
            self.kept.clear()
        self.kept[key] = answer


def _is_plain(environ: Environ) -> bool:
    """Whether nothing about the request needs a closer look."""
    accept = environ.get("HTTP_ACCEPT", "")
    return (
        environ["REQUEST_METHOD"] == "POST"
        and not environ.get("SCRIPT_NAME")
        and not environ.get("QUERY_STRING")
        and "HTTP_TRANSFER_ENCODING" not in environ
        and (accept == "application/json" or accept.startswith("text/html,"))
        and (not _is_secure(environ) or _from_our_own_page(environ))
    )


def _wants_json(environ: Environ) -> bool:
    return bool(environ["HTTP_ACCEPT"] == "application/json")


def _is_secure(environ: Environ) -> bool:
    return bool(environ["wsgi.url_scheme"] == "https")


def _from_our_own_page(environ: Environ) -> bool:
    """Whether the request names a page of ours as where it comes from, which a CSRF check over https asks for."""
    return str(environ.get("HTTP_REFERER", "")).startswith(f"https://{environ.get('HTTP_HOST', '')}/")


def _csrf_token(environ: Environ) -> str:
    """Return the token of the form, else of the header, "" for none; the body stays readable for the app."""
    length = environ.get("CONTENT_LENGTH") or "0"
    if (
        environ.get("CONTENT_TYPE", "").startswith(FORM)
        and length.isdecimal()
        and 0 < int(length) <= MOST_BODY
    ):
        body = environ["wsgi.input"].read(int(length))
        environ["wsgi.input"] = BytesIO(body)
        fields = parse_qs(body.decode("latin-1"), max_num_fields=10)
        if "csrf_token" in fields:
            return str(fields["csrf_token"][0])
    return str(environ.get("HTTP_X_CSRFTOKEN", ""))


def _headers(content_type: str, cache_control: str, body: bytes, secure: bool) -> list[tuple[str, str]]:
    own = {"Content-Type": content_type, "Cache-Control": cache_control, "Content-Length": str(len(body))}
    return list((common_headers(secure) | {"Vary": "Cookie"} | own).items())


def _call(plain: Any, environ: Environ) -> Answer:
    started: list[tuple[str, list[tuple[str, str]]]] = []
    body = b"".join(plain(environ, lambda status, headers, exc_info=None: started.append((status, headers))))
    return (*started[-1], body)
