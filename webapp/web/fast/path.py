"""The fast path: a small WSGI callable in front of the app that answers what comes in thousands.

Everybody presses the button in the same second, and reloads the page before it. Most of what Flask does for these
requests is the same each time. The fast path does only what they need: it verifies the signed session and the CSRF
token, asks the line, and answers. A request that is not plainly in order goes on to the app as it came: one without a
session, with a wrong token or a query, or one whose store does not answer. There the app's own code
decides. A claim that was tried on the way does no harm, because it is idempotent.

The answers are those of the app, header by header; `tests/web/test_fast_path.py` compares them. FAST_PATH=off leaves
everything to the app, and changes nothing but the speed.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import redis
from flask import Flask
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.utils import redirect

from webapp.accounts.sessions import EndedSessions
from webapp.sale import claims
from webapp.sale.outcomes import Refused
from webapp.sale.turnout import Turnout
from webapp.web.errors import STORE_FAILED
from webapp.web.fast.kept import Kept, Page, PageKey
from webapp.web.fast.requests import (
    Headers,
    PassedOn,
    RawAnswer,
    answer_headers,
    ask_app,
    is_plain,
    is_secure,
    language_of,
    takes_page,
    wants_json,
)
from webapp.web.fast.sessions import Sessions
from webapp.web.hosts import Hosts
from webapp.web.pages.tickets import (
    SHOWN_REFUSALS,
    STATUS_FRESH_S,
    WITHOUT_RECEIPT,
    claimed_next_ms,
    count_refused,
    count_ticket_poll,
    is_worth_more,
    kept_status,
    note_shown,
    polled_status,
    refusal_receipt,
    ticket_json,
    ticket_next_ms,
)
from webapp.web.security import KEPT_BY_NOBODY, common_headers

OTHER = "other"
"""Every request that none of the answers is for."""
ADDRESS = re.compile(r"/coupons/([1-9][0-9]{0,17})(?:/(claim|ticket|serving))?")
TOKEN = re.compile(rb'name="csrf_token" value="([^"]+)"')
SCHEDULED = b'data-state="scheduled"'
RECEIPT_BEGINS = b'"receipt": "'
"""The last that a refusal of the app says in JSON."""
FIRST_WAIT_S = 0.5
"""How long a request waits for the page that another is making for the first time."""


class FastPath:
    """A WSGI callable in front of the app's own, `plain`.

    `counts` says what became of each request that this process got: by what it asked for, how it was answered here, or
    why it was passed on.
    """

    def __init__(self, app: Flask) -> None:
        self.app, self.plain = app, app.wsgi_app
        self.hosts: Hosts = app.extensions["hosts"]
        self.ended: EndedSessions = app.extensions["ended_sessions"]
        self.turnout: Turnout = app.extensions["turnout"]
        self.sessions = Sessions(app)
        self.pages: Kept[PageKey, Page] = Kept()
        self.redirects: Kept[tuple[int, str | None, bool], RawAnswer] = Kept()
        self.refusals: Kept[tuple[str, str, bool], RawAnswer] = Kept()
        self.first = threading.Lock()
        self.answers: dict[str, tuple[str, Callable[[int, WSGIEnvironment], RawAnswer]]] = {
            "claim": ("POST", self._claim),
            "ticket": ("GET", self._ticket),
            "serving": ("GET", self._serving),
            "page": ("GET", self._page),
        }
        self.counts: dict[str, Counter[str]] = {kind: Counter() for kind in (*self.answers, OTHER)}
        app.extensions["fast_path_counts"] = self.counts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found = ADDRESS.fullmatch(environ["PATH_INFO"])
        kind = (found[2] or "page") if found else OTHER
        answer: RawAnswer | None = None
        try:
            answer = self._answer(kind, found, environ)
            became = answer.how
        except PassedOn as passed_on:
            became = passed_on.why
        self.counts[kind][became] += 1
        if answer is None:
            return self.plain(environ, start_response)
        start_response(answer.status, list(answer.headers))
        return [answer.body]

    def _answer(self, kind: str, found: re.Match[str] | None, environ: WSGIEnvironment) -> RawAnswer:
        """Return the answer to a request that is in order. Raises PassedOn for every other."""
        if found is None:
            raise PassedOn("another address")
        method, answer = self.answers[kind]
        if environ["REQUEST_METHOD"] != method:
            raise PassedOn("another method")
        self._look_at(environ)
        with self.app.app_context():
            try:
                return answer(int(found[1]), environ)
            except (redis.RedisError, SQLAlchemyError) as error:
                environ[STORE_FAILED] = error
                raise PassedOn("store failed") from None
            except Refused as refused:
                # The app refuses it in its own words, but makes nobody wait for the same thing twice.
                if refused.code == "busy":
                    environ[STORE_FAILED] = refused
                raise PassedOn(refused.code) from None

    def _look_at(self, environ: WSGIEnvironment) -> None:
        if environ.get("QUERY_STRING"):
            raise PassedOn("with a query")
        if not is_plain(environ):
            raise PassedOn("unusual request")
        if not self.hosts.know(environ):
            raise PassedOn("another host")

    # The answers

    def _claim(self, coupon_id: int, environ: WSGIEnvironment) -> RawAnswer:
        session = self.sessions.read(environ)
        if not (wants_json(environ) or takes_page(environ)):
            raise PassedOn("another type")
        self.sessions.check_form(session, environ)
        user_id = session.visitor.id
        try:
            ticket = claims.claim(coupon_id, user_id)
        except Refused as refused:
            count_refused(self.turnout, coupon_id, refused, environ)
            if refused.code not in SHOWN_REFUSALS:
                raise
            return self._refusal(coupon_id, refused, environ)
        if wants_json(environ):
            next_ms = claimed_next_ms(coupon_id, ticket)
            note_shown(self.turnout, coupon_id, user_id, ticket)
            return _private(ticket_json(coupon_id, user_id, ticket, next_ms), environ)
        return self._to_page(coupon_id, "already" if ticket.state == "issued" else None, environ)

    def _ticket(self, coupon_id: int, environ: WSGIEnvironment) -> RawAnswer:
        user_id = self.sessions.read(environ).visitor.id
        ticket = claims.standing(coupon_id, user_id)
        if is_worth_more(environ.get("HTTP_X_TICKET_RECEIPT", ""), ticket):
            raise PassedOn("with a receipt")
        next_ms = ticket_next_ms(coupon_id, ticket)
        count_ticket_poll(self.turnout, coupon_id, next_ms)
        note_shown(self.turnout, coupon_id, user_id, ticket)
        return _private(ticket_json(coupon_id, user_id, ticket, next_ms), environ)

    def _serving(self, coupon_id: int, environ: WSGIEnvironment) -> RawAnswer:
        self.ended.be_ready()
        body = polled_status(self.turnout, coupon_id).body
        own = [("Content-Type", "application/json"), ("Cache-Control", "public, max-age=1")]
        common = common_headers(is_secure(environ)).items()
        others = [(name, value) for name, value in common if name != "Cache-Control"]
        return RawAnswer("200 OK", [*own, ("Content-Length", str(len(body))), *others], body)

    def _page(self, coupon_id: int, environ: WSGIEnvironment) -> RawAnswer:
        """Answer with the page before the start, which is the same for all signed-in visitors but for their tokens."""
        session = self.sessions.read(environ)
        if not takes_page(environ):
            raise PassedOn("another type")
        serving = kept_status(coupon_id).status
        if serving.state != "scheduled" or not serving.untouched:
            raise PassedOn("not before the start")
        key = PageKey(coupon_id, session.visitor.role, language_of(environ), is_secure(environ))
        if key not in self.pages and self.first.acquire(timeout=FIRST_WAIT_S):
            # All come at once: one makes the page, the others wait for it.
            try:
                if key not in self.pages:
                    return self._fresh_page(key, environ)
            finally:
                self.first.release()
        page = self.pages.get(key)
        if page is None or time.monotonic() >= page.fresh_until:
            return self._fresh_page(key, environ)
        return _with_length(page.headers, self.sessions.form_token(session).join(page.parts))

    def _fresh_page(self, key: PageKey, environ: WSGIEnvironment) -> RawAnswer:
        """Have the app make the page, and keep it without the visitor's token."""
        until = time.monotonic() + STATUS_FRESH_S
        if old := self.pages.get(key):
            # One makes it anew; the others take the old one meanwhile.
            self.pages[key] = old._replace(fresh_until=until)
        answer = ask_app(self.plain, environ)
        token = TOKEN.search(answer.body)
        # The start may just have passed: then the page is the visitor's own.
        same = token and SCHEDULED in answer.body and "Set-Cookie" not in dict(answer.headers)
        if answer.status == "200 OK" and token and same:
            self.pages[key] = Page(until, _without_length(answer.headers), answer.body.split(token[1]))
        return answer

    def _refusal(self, coupon_id: int, refused: Refused, environ: WSGIEnvironment) -> RawAnswer:
        receipt = refusal_receipt(refused)
        if wants_json(environ):
            if receipt is None and refused.code not in WITHOUT_RECEIPT:
                raise PassedOn(refused.code)
            return self._same_refusal(refused.code, receipt, environ)
        if receipt:
            return _redirection(f"/coupons/{coupon_id}?notice={refused.code}&refusal={receipt}", environ)
        return self._to_page(coupon_id, refused.code, environ)

    def _to_page(self, coupon_id: int, notice: str | None, environ: WSGIEnvironment) -> RawAnswer:
        key = (coupon_id, notice, is_secure(environ))
        answer = self.redirects.get(key)
        if answer is None:
            address = f"/coupons/{coupon_id}" + (f"?notice={notice}" if notice else "")
            answer = self.redirects[key] = _redirection(address, environ)
        return answer

    def _same_refusal(self, code: str, receipt: str | None, environ: WSGIEnvironment) -> RawAnswer:
        """Return what the app answered when it refused the same in the same language, or ask it for the first time.

        Only the receipt is the visitor's own, if there is one.
        """
        key = (code, language_of(environ), is_secure(environ))
        kept = self.refusals.get(key)
        if kept is None:
            return self._first_refusal(key, environ)
        own = receipt.encode() + b'"}' if receipt else b""
        return _with_length(kept.headers, kept.body + own, kept.status)

    def _first_refusal(self, key: tuple[str, str, bool], environ: WSGIEnvironment) -> RawAnswer:
        """Have the app refuse it, and keep what it says without the visitor's receipt."""
        answer = ask_app(self.plain, environ)
        words, begin, rest = answer.body.rpartition(RECEIPT_BEGINS)
        words = words if begin else rest
        if f'"code": "{key[0]}"'.encode() in words and "Set-Cookie" not in dict(answer.headers):
            self.refusals[key] = RawAnswer(answer.status, _without_length(answer.headers), words + begin)
        return answer


def _private(body: bytes, environ: WSGIEnvironment) -> RawAnswer:
    return RawAnswer("200 OK", answer_headers("application/json", KEPT_BY_NOBODY, body, environ), body)


def _redirection(address: str, environ: WSGIEnvironment) -> RawAnswer:
    response = redirect(address, 303)
    headers = answer_headers("text/html; charset=utf-8", KEPT_BY_NOBODY, response.data, environ)
    return RawAnswer("303 SEE OTHER", [*headers, ("Location", response.location)], response.data)


def _without_length(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name != "Content-Length"]


def _with_length(headers: Headers, body: bytes, status: str = "200 OK") -> RawAnswer:
    return RawAnswer(status, [*headers, ("Content-Length", str(len(body)))], body)
