"""The lane: answers the click, the polls and the page before the start without the framework, when all is in order.

Everybody presses the button in the same second, and reloads the page before it. Most of what Flask does for these
requests is the same each time. So this small WSGI callable stands in front of the app and does by itself what they
need: verify the signed session and the CSRF token, ask the line, answer. Whatever is not plainly in order (no session,
a wrong token, an unusual header, a store that does not answer) goes on to the app as it came, and is decided there by
the code that serves every other request. A claim that was tried on the way is no harm: it is idempotent.

The answers are those of the app, header by header; `tests/test_lane.py` compares them. Take `app.wsgi_app = Lane(app)`
away, and nothing changes but the speed.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable
from hmac import compare_digest
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

import redis
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.utils import redirect

from webapp import issuing
from webapp.accounts import Visitor, load_visitor
from webapp.errors import STORE_FAILED
from webapp.hosts import Hosts
from webapp.issuing import Refused
from webapp.seals import Seal
from webapp.security import KEPT_BY_NOBODY, common_headers, cookie_name, is_from_us
from webapp.tickets import (
    SERVING_FRESH_S,
    SHOWN_REFUSALS,
    claimed_next_ms,
    refusal_receipt,
    served,
    ticket_json,
    ticket_next_ms,
)

ADDRESS = re.compile(r"/coupons/([1-9][0-9]{0,17})(?:/(claim|ticket|serving))?")
FORM = "application/x-www-form-urlencoded"
TOKEN = re.compile(rb'name="csrf_token" value="([^"]+)"')
TOKEN_ALONE = re.compile(rb"csrf_token=([\w.-]+)")
"""What the page's form sends: nothing in it is escaped."""
RECEIPT_BEGINS = b'"receipt": "'
"""The last that a refusal of the app says in JSON."""
NEEDED_FIELDS = {"_user_id", "csrf_token"}
SESSION_FIELDS = NEEDED_FIELDS | {"_id", "_fresh", "_permanent"}
"""What the session of somebody who is signed in may hold; with anything else, a message say, the app decides."""
MOST_BODY = 4096
FIRST_WAIT_S = 0.5
"""How long somebody waits for the page that another is making for the first time."""
MOST_KEPT = 1000
"""Answers that are the same for everybody and kept: redirects, refusals and pages in each language."""

Environ = dict[str, Any]
Session = dict[str, Any]
Headers = list[tuple[str, str]]
Answer = tuple[str, Headers, bytes]


class Lane:
    """A WSGI callable in front of the app's own, `plain`."""

    def __init__(self, app: Flask) -> None:
        interface = app.session_interface
        assert isinstance(interface, SecureCookieSessionInterface)
        self.app, self.plain = app, app.wsgi_app
        self.hosts: Hosts = app.extensions["hosts"]
        sessions = interface.get_signing_serializer(app)
        self.sessions = Seal(sessions) if sessions else None
        self.session_s = int(app.permanent_session_lifetime.total_seconds())
        self.tokens = Seal(URLSafeTimedSerializer(app.secret_key or "", salt="wtf-csrf-token"))
        name = app.config["SESSION_COOKIE_NAME"]
        self.ended = app.extensions["ended_sessions"]
        self.cookies = {secure: f"{cookie_name(name, secure=secure)}=" for secure in (False, True)}
        self.kept: dict[tuple[object, ...], Any] = {}
        self.first = threading.Lock()
        self.answers: dict[tuple[str, str | None], Callable[[int, Environ], Answer | None]] = {
            ("POST", "claim"): self._claim,
            ("GET", "ticket"): self._ticket,
            ("GET", "serving"): self._serving,
            ("GET", None): self._page,
        }

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        answer = self._answer(environ)
        if answer is None:
            return self.plain(environ, start_response)
        status, headers, body = answer
        start_response(status, list(headers))
        return [body]

    def _answer(self, environ: Environ) -> Answer | None:
        """Return the answer to a request that is in order, or None for every other."""
        found = ADDRESS.fullmatch(environ["PATH_INFO"])
        if found is None or not _is_plain(environ) or not self.hosts.know(environ):
            return None
        answer = self.answers.get((environ["REQUEST_METHOD"], found[2]))
        if answer is None:
            return None
        with self.app.app_context():
            try:
                return answer(int(found[1]), environ)
            except (redis.RedisError, SQLAlchemyError) as error:
                environ[STORE_FAILED] = error
            except Refused as refused:
                # The app refuses it in its own words; but nobody waits for the same thing twice.
                if refused.code == "busy":
                    environ[STORE_FAILED] = refused
        return None

    # The answers

    def _claim(self, coupon_id: int, environ: Environ) -> Answer | None:
        session = self._session(environ)
        if session is None or not _takes_page_or_json(environ) or not self._from_our_page(session, environ):
            return None
        try:
            ticket = issuing.claim(coupon_id, _visitor(session).id)
        except Refused as refused:
            if refused.code not in SHOWN_REFUSALS:
                raise
            return self._refusal(coupon_id, refused, environ)
        if _wants_json(environ):
            body = ticket_json(coupon_id, _visitor(session).id, ticket, claimed_next_ms(coupon_id, ticket))
            return "200 OK", _headers("application/json", KEPT_BY_NOBODY, body, environ), body
        return self._to_page(coupon_id, "already" if ticket.state == "issued" else None, environ)

    def _ticket(self, coupon_id: int, environ: Environ) -> Answer | None:
        session = self._session(environ)
        if session is None:
            return None
        user_id = _visitor(session).id
        ticket = issuing.standing(coupon_id, user_id)
        if ticket.state == "none" and "HTTP_X_TICKET_RECEIPT" in environ:
            return None
        body = ticket_json(coupon_id, user_id, ticket, ticket_next_ms(coupon_id, ticket))
        return "200 OK", _headers("application/json", KEPT_BY_NOBODY, body, environ), body

    def _serving(self, coupon_id: int, environ: Environ) -> Answer:
        self.ended.be_ready()
        body = served(coupon_id).body
        own = [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=1")]
        common = common_headers(_is_secure(environ)).items()
        others = [(name, value) for name, value in common if name != "Cache-Control"]
        return "200 OK", [*own, ("Content-Length", str(len(body))), *others], body

    def _page(self, coupon_id: int, environ: Environ) -> Answer | None:
        """Answer with the page before the start, which is the same for all who are signed in but for their tokens."""
        session = self._session(environ)
        if session is None or not environ.get("HTTP_ACCEPT", "").startswith("text/html,"):
            return None
        serving = served(coupon_id).serving
        if serving.state != "scheduled" or serving.last:
            return None
        key = ("page", coupon_id, _visitor(session).is_operator, *_language(environ), _is_secure(environ))
        if key not in self.kept and self.first.acquire(timeout=FIRST_WAIT_S):
            # All come at once: one makes the page, the others wait for it.
            try:
                if key not in self.kept:
                    return self._fresh_page(key, environ)
            finally:
                self.first.release()
        fresh_until, headers, parts = self.kept.get(key, (0.0, [], []))
        if time.monotonic() >= fresh_until:
            return self._fresh_page(key, environ)
        body = self.tokens.write(session["csrf_token"]).encode().join(parts)
        return "200 OK", [*headers, ("Content-Length", str(len(body)))], body

    def _fresh_page(self, key: tuple[object, ...], environ: Environ) -> Answer:
        """Have the app make the page, and keep it without the visitor's token."""
        until = time.monotonic() + SERVING_FRESH_S
        if key in self.kept:
            self.kept[key] = (until, *self.kept[key][1:])  # one makes it anew, the others take the old one
        answer = status, headers, body = _call(self.plain, environ)
        token, names = TOKEN.search(body), {name for name, _ in headers}
        if status == "200 OK" and token and "Set-Cookie" not in names:
            shared = [(name, value) for name, value in headers if name != "Content-Length"]
            self._keep(key, (until, shared, body.split(token[1])))
        return answer

    def _refusal(self, coupon_id: int, refused: Refused, environ: Environ) -> Answer | None:
        receipt = refusal_receipt(refused)
        if _wants_json(environ):
            return self._same_refusal(refused.code, receipt, environ) if receipt else None
        if receipt:
            return _redirection(f"/coupons/{coupon_id}?notice={refused.code}&refusal={receipt}", environ)
        return self._to_page(coupon_id, refused.code, environ)

    def _to_page(self, coupon_id: int, notice: str | None, environ: Environ) -> Answer:
        key = (coupon_id, notice, _is_secure(environ))
        if key not in self.kept:
            address = f"/coupons/{coupon_id}" + (f"?notice={notice}" if notice else "")
            self._keep(key, _redirection(address, environ))
        kept: Answer = self.kept[key]
        return kept

    def _same_refusal(self, code: str, receipt: str, environ: Environ) -> Answer | None:
        """Return what the app answered when it refused the same in the same language, or ask it for the first time;
        the receipt alone is everybody's own."""
        key = (code, *_language(environ), _is_secure(environ))
        if key not in self.kept:
            status, headers, body = answer = _call(self.plain, environ)
            words, begin, _theirs = body.rpartition(RECEIPT_BEGINS)
            if f'"code": "{code}"'.encode() in words and "Set-Cookie" not in dict(headers):
                shared = [(name, value) for name, value in headers if name != "Content-Length"]
                self._keep(key, (status, shared, words + begin))
            return answer
        status, shared, words = self.kept[key]
        body = words + receipt.encode() + b'"}'
        return status, [*shared, ("Content-Length", str(len(body)))], body

    def _keep(self, key: tuple[object, ...], answer: Any) -> None:
        if len(self.kept) >= MOST_KEPT:
            self.kept.clear()
        self.kept[key] = answer

    # Who asks

    def _session(self, environ: Environ) -> Session | None:
        """Return the signed session of somebody who is signed in, if there is nothing unusual about it."""
        name = self.cookies[_is_secure(environ)]
        cookies = [part for part in environ.get("HTTP_COOKIE", "").split("; ") if part.startswith(name)]
        if len(cookies) != 1 or self.sessions is None:
            return None
        try:
            session = self.sessions.read(cookies[0][len(name) :], max_age_s=self.session_s)
        except ValueError:
            return None
        if not isinstance(session, dict) or not NEEDED_FIELDS <= session.keys() <= SESSION_FIELDS:
            return None
        if not all(isinstance(session[name], str) for name in NEEDED_FIELDS):
            return None
        session["visitor"] = load_visitor(session["_user_id"], self.ended)
        return session if session["visitor"] else None

    def _from_our_page(self, session: Session, environ: Environ) -> bool:
        """Whether the request brings a CSRF token of this session, and over https comes from a page of ours."""
        if _is_secure(environ) and not is_from_us(environ):
            return False
        try:
            token = self.tokens.read(_csrf_token(environ))
        except ValueError:
            return False
        return isinstance(token, str) and compare_digest(session["csrf_token"].encode(), token.encode())


def _visitor(session: Session) -> Visitor:
    visitor: Visitor = session["visitor"]
    return visitor


def _is_plain(environ: Environ) -> bool:
    """Whether nothing about the request needs a closer look."""
    return not (
        environ.get("SCRIPT_NAME") or environ.get("QUERY_STRING") or "HTTP_TRANSFER_ENCODING" in environ
    )


def _takes_page_or_json(environ: Environ) -> bool:
    accept = environ.get("HTTP_ACCEPT", "")
    return bool(accept == "application/json" or accept.startswith("text/html,"))


def _wants_json(environ: Environ) -> bool:
    return bool(environ["HTTP_ACCEPT"] == "application/json")


def _is_secure(environ: Environ) -> bool:
    return bool(environ["wsgi.url_scheme"] == "https")


def _language(environ: Environ) -> tuple[object, ...]:
    """Return all that the choice of a language looks at."""
    name = f"{cookie_name('lang', secure=_is_secure(environ))}="
    chosen = [part for part in environ.get("HTTP_COOKIE", "").split("; ") if part.startswith(name)]
    return (environ.get("HTTP_ACCEPT_LANGUAGE"), *chosen)


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
        if alone := TOKEN_ALONE.fullmatch(body):
            return alone[1].decode()
        fields = parse_qs(body.decode("latin-1"), max_num_fields=10)
        if "csrf_token" in fields:
            return str(fields["csrf_token"][0])
    return str(environ.get("HTTP_X_CSRFTOKEN", ""))


def _headers(content_type: str, cache_control: str, body: bytes, environ: Environ) -> Headers:
    own = {"Content-Type": content_type, "Cache-Control": cache_control, "Content-Length": str(len(body))}
    return list((common_headers(_is_secure(environ)) | {"Vary": "Cookie"} | own).items())


def _redirection(address: str, environ: Environ) -> Answer:
    response = redirect(address, 303)
    headers = _headers("text/html; charset=utf-8", KEPT_BY_NOBODY, response.data, environ)
    return "303 SEE OTHER", [*headers, ("Location", response.location)], response.data


def _call(plain: Any, environ: Environ) -> Answer:
    started: list[tuple[str, Headers]] = []
    body = b"".join(plain(environ, lambda status, headers, exc_info=None: started.append((status, headers))))
    return (*started[-1], body)
