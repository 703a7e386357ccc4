"""Refusals and errors: problem+json if the client asked for JSON, else a page that says what to do next."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress

import redis
from flask import Flask, Response, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, SecurityError

from webapp.accounts.passwords import WAIT_S, TooManyFromNetwork, TooManyHashes
from webapp.accounts.sessions import CannotKnow
from webapp.accounts.visitor import be_nobody
from webapp.models import USER
from webapp.sale.outcomes import Refused
from webapp.web.problems import PROBLEMS, Problem, problem_of
from webapp.web.rights import home_of, role_now

log = logging.getLogger(__name__)

BUSY_RETRY_S = 2
STORE_FAILED = "firstcome.store_failed"
"""Where the fast path leaves the error of a store, so that Flask does not wait for the same store again."""


class Unauthenticated(Exception):
    """The request needs a signed-in user."""


def init_app(app: Flask) -> None:
    app.before_request(_raise_what_the_fast_path_met)
    app.register_error_handler(Refused, lambda error: problem(error.code, retry_ms=error.retry_ms))
    app.register_error_handler(CSRFError, lambda error: problem("bad_csrf"))
    app.register_error_handler(Unauthenticated, lambda error: problem("unauthenticated"))
    app.register_error_handler(
        TooManyFromNetwork, lambda error: problem("limited", retry_ms=int(WAIT_S * 1000))
    )
    app.register_error_handler(SecurityError, lambda error: problem("bad_host"))
    app.register_error_handler(HTTPException, _http_error)
    for overload in (redis.RedisError, OperationalError, PoolTimeout, TooManyHashes):
        app.register_error_handler(overload, _busy)


def _raise_what_the_fast_path_met() -> None:
    if failed := request.environ.get(STORE_FAILED):
        raise failed


def wants_json() -> bool:
    """Say whether the client asked for JSON; the two polled addresses answer nothing else."""
    if request.endpoint in ("tickets.ticket", "tickets.serving"):
        return True
    if request.headers.get("Accept") == "application/json":
        return True
    # A browser's */* is as good for both, and gets the page.
    accepted = request.accept_mimetypes
    return max(accepted["application/json"], accepted["application/problem+json"]) > accepted["text/html"]


def problem(
    code: str,
    *,
    retry_ms: int | None = None,
    errors: Mapping[str, list[str]] | None = None,
    receipt: str | None = None,
) -> Response:
    """Answer with the problem of a stable code, as JSON or as a page.

    `retry_ms` becomes Retry-After, in whole seconds, rounded up. `errors` names the errors of each field. `receipt`
    proves the refusal.
    """
    found = PROBLEMS.get(code) or PROBLEMS["error"]
    if code == "busy" and retry_ms is None:
        retry_ms = BUSY_RETRY_S * 1000
    return _answer(code, found, retry_ms, errors=errors, receipt=receipt)


def status_of(code: str) -> int:
    return PROBLEMS[code].status


def _answer(code: str, found: Problem, retry_ms: int | None = None, **more: object) -> Response:
    # Rounded up: a client that comes too early would be refused again.
    retry_s = None if retry_ms is None else max(1, -(-retry_ms // 1000))
    if wants_json():
        words = {"title": str(found.title), "detail": str(found.detail)}
        body: dict[str, object] = {"type": "about:blank", "code": code, "status": found.status, **words}
        if retry_ms is not None:
            body["retry_ms"] = retry_ms
        body |= {name: value for name, value in more.items() if value is not None}
        response = Response(
            json.dumps(body, ensure_ascii=False), found.status, content_type="application/problem+json"
        )
    else:
        response = Response(_page(code, found, retry_s), found.status)
    if retry_s is not None:
        response.headers["Retry-After"] = str(retry_s)
    response.headers["Cache-Control"] = "no-store"
    return response


def _page(code: str, found: Problem, retry_s: int | None) -> str:
    # The template asks who is signed in. If no store can tell, the page is that of an anonymous visitor; whoever has
    # waited in vain to hear it does not wait for SQL as well.
    if isinstance(request.environ.get(STORE_FAILED), CannotKnow):
        be_nobody()
    with suppress(redis.RedisError, SQLAlchemyError):
        current_user.is_authenticated  # noqa: B018
    return render_template(
        "errors/error.html",
        status=found.status,
        code=code,
        title=found.title,
        sentence=found.detail,
        next_step=_next_step(code),
        sign_in_url=_sign_in_url(code),
        retry_s=retry_s if found.status == 503 else None,
        retry_url=_retry_url(),
    )


def _retry_url() -> str | None:
    """Return the address that the page of a busy server loads; a POST cannot be loaded again, so its page is."""
    if request.endpoint != "tickets.claim":
        return None
    return url_for("coupons.show", **(request.view_args or {}))


def _sign_in_url(code: str) -> str | None:
    """Return an address to sign in and come back, for a page that is not found: it may belong to an account."""
    if code != "not_found" or request.method != "GET" or current_user.is_authenticated:
        return None
    return url_for("accounts.login", next=request.full_path.rstrip("?"))


def _next_step(code: str) -> dict[str, str]:
    if code in ("unauthenticated", "role_ended"):
        here = request.full_path.rstrip("?") if request.method == "GET" else None
        return {"url": url_for("accounts.login", next=here), "label": _("Sign in")}
    # A referrer is the client's to choose, so only a page of this site becomes a link.
    if code == "bad_csrf" and request.referrer and request.referrer.startswith(request.host_url):
        return {"url": request.referrer, "label": _("Back to the page")}
    if role_now() != USER:
        return {"url": home_of(role_now()), "label": _("To your pages")}
    return {"url": url_for("coupons.index"), "label": _("See all coupons")}


def _http_error(error: HTTPException) -> Response | HTTPException:
    status = error.code or 500
    # To the framework a redirect is an exception, too.
    if status < 400:
        return error
    response = _answer(*problem_of(status))
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(allowed)
    return response


def _busy(error: Exception) -> Response:
    log.warning("answered 503: %s", type(error).__name__)
    return problem("busy")
