"""Refusals and errors: problem+json if the client asked for JSON, else a page that says what to do next."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import redis
from flask import Flask, Response, render_template, request, url_for
from flask_babel import gettext as _
from flask_login import current_user
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException, SecurityError

from webapp.accounts.passwords import WAIT_S, TooManyFromNetwork, TooManyHashes
from webapp.sale.outcomes import Refused

log = logging.getLogger(__name__)

BUSY_RETRY_S = 2
STORE_FAILED = "firstcome.store_failed"
"""Where the fast path leaves the error of a store, so that Flask does not wait for the same store again."""


class Problem(NamedTuple):
    status: int
    title: str
    detail: str


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
    found = _problems().get(code) or _problems()["error"]
    if code == "busy" and retry_ms is None:
        retry_ms = BUSY_RETRY_S * 1000
    return _answer(code, found, retry_ms, errors=errors, receipt=receipt)


def status_of(code: str) -> int:
    return _problems()[code].status


def _answer(code: str, found: Problem, retry_ms: int | None = None, **more: object) -> Response:
    # Rounded up: a client that comes too early would be refused again.
    retry_s = None if retry_ms is None else max(1, -(-retry_ms // 1000))
    if wants_json():
        body: dict[str, object] = {"type": "about:blank", "code": code, **found._asdict()}
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
    # The template asks who is signed in. If no store can tell, the page is that of an anonymous visitor.
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
    if code == "unauthenticated":
        return {"url": url_for("accounts.login"), "label": _("Sign in")}
    # A referrer is the client's to choose, so only a page of this site becomes a link.
    if code == "bad_csrf" and request.referrer and request.referrer.startswith(request.host_url):
        return {"url": request.referrer, "label": _("Back to the page")}
    return {"url": url_for("coupons.index"), "label": _("See all coupons")}


def _http_error(error: HTTPException) -> Response | HTTPException:
    status = error.code or 500
    # To the framework a redirect is an exception, too.
    if status < 400:
        return error
    codes = {404: "not_found", 401: "unauthenticated", 403: "forbidden", 503: "busy"}
    code = codes.get(status, f"http_{status}")
    found = _problems().get(code) or Problem(status, *_http_words(status))
    response = _answer(code, found)
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(allowed)
    return response


def _busy(error: Exception) -> Response:
    log.warning("answered 503: %s", type(error).__name__)
    return problem("busy")


def _http_words(status: int) -> tuple[str, str]:
    words = {
        405: (_("This address takes another kind of request"), _("Open the page again and use its button.")),
        413: (_("That was too much"), _("What you sent is too large. Please shorten it and send it again.")),
        500: (
            _("Something went wrong on our side"),
            _("Your place in line is kept. Please try again in a moment."),
        ),
    }
    general = (_("This request could not be understood"), _("Open the page again and try once more."))
    return words.get(status, general)


def _problems() -> dict[str, Problem]:
    return {
        "not_open": Problem(
            409, _("Not open yet"), _("The coupon has not opened yet. The button opens by itself.")
        ),
        "closed": Problem(410, _("This event has ended"), _("The period for this coupon is over.")),
        "sold_out": Problem(410, _("All coupons are gone"), _("Every coupon has been given out.")),
        "not_found": Problem(
            404, _("Not found"), _("There is nothing at this address. The link may be old or mistyped.")
        ),
        "no_ticket": Problem(
            404,
            _("You have no number here"),
            _(
                "There is no receipt, because no request of yours got a number in this line. Requests before the "
                "start, after the end, or when all coupons are gone get none."
            ),
        ),
        "unauthenticated": Problem(401, _("Please sign in"), _("Sign in to take part.")),
        "forbidden": Problem(403, _("Not allowed"), _("Your account may not do this.")),
        "bad_csrf": Problem(
            400,
            _("Please try again"),
            _("The page was out of date. Open it again and press the button once more."),
        ),
        "bad_host": Problem(
            400,
            _("This is not our address"),
            _("This page does not exist under this name. Open it by its usual address."),
        ),
        "wrong_credentials": Problem(
            401, _("Not signed in"), _("The e-mail address or the password is wrong.")
        ),
        "limited": Problem(
            429, _("Please wait a moment"), _("That was too often in a short time. Please try again later.")
        ),
        "email_taken": Problem(
            409,
            _("This e-mail address is taken"),
            _("This e-mail address has an account already. Sign in instead."),
        ),
        "invalid": Problem(
            422,
            _("Please check what you typed"),
            _("Something is missing or not right. Each field says what."),
        ),
        "unreadable": Problem(
            422,
            _("This cannot be shown"),
            _("What Redis holds here is not as we write it, or not in a state for this."),
        ),
        "busy": Problem(503, _("Very busy"), _("Very busy. Retrying automatically")),
        "error": Problem(500, *_http_words(500)),
    }
