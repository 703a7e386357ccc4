"""The headers of every answer, the session cookie, and the requests that are refused."""

from wsgiref.types import WSGIEnvironment

from flask import Flask, Response, abort, g, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from flask_login import current_user
from flask_wtf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Some browsers show the origin of a form in the referrer only (see `is_from_us`).
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HSTS = "max-age=31536000"
KEPT_BY_NOBODY = "no-store"
"""Cache-Control for signed-in visitors: the back button shows no codes to the next person at the screen."""


def init_app(app: Flask) -> None:
    app.session_interface = SessionCookies()
    app.before_request(_refuse_transfer_encoding)
    app.after_request(_add_headers)


def _refuse_transfer_encoding() -> None:
    # A malformed chunk would surface as an error of ours while the form is read.
    if "Transfer-Encoding" in request.headers:
        abort(411)


# Headers


def common_headers(secure: bool) -> dict[str, str]:
    """Return the headers that every answer carries, over https or not."""
    return HEADERS | ({"Strict-Transport-Security": HSTS} if secure else {})


def _add_headers(response: Response) -> Response:
    # The header is looked at first: asking for the visitor adds "Vary: Cookie" to the answer.
    if "Cache-Control" not in response.headers and current_user.is_authenticated:
        response.headers["Cache-Control"] = KEPT_BY_NOBODY
    present = {name.lower() for name, _ in response.headers}
    for name, value in common_headers(request.is_secure).items():
        if name.lower() not in present:
            response.headers.add(name, value)
    return response


# Cookies


def cookie_name(name: str, *, secure: bool) -> str:
    """Return the name of a cookie, over https or not.

    A browser takes a name with `__Host-` only over https and only from this host. A cookie that a neighbouring host or
    an attacker on the wire sets under the plain name is ignored.
    """
    return f"__Host-{name}" if secure else name


class SessionCookies(SecureCookieSessionInterface):
    def get_cookie_name(self, app: Flask) -> str:
        return cookie_name(app.config["SESSION_COOKIE_NAME"], secure=request.is_secure)

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # An answer for shared caches carries no cookie and no `Vary`, so that they keep one copy for everybody.
        if not response.cache_control.public:
            super().save_session(app, session, response)


# Where a form comes from


class OwnPages(CSRFProtect):  # type: ignore[misc]
    """Flask-WTF's check of the token and, over https, our check of the form's origin.

    Flask-WTF's own check of the origin needs a referrer, which browsers inside other apps do not send.
    """

    def protect(self, *args: object, **options: object) -> None:
        super().protect(*args, **options)
        if g.get("csrf_valid") and request.is_secure and not is_from_us(request.environ):
            self._error_response("The request does not come from a page of ours.")


def is_from_us(environ: WSGIEnvironment) -> bool:
    """Say whether a request over https comes from a page of this very host, by its headers.

    Browsers send Sec-Fetch-Site, Origin or, without those, a referrer. A request with none of them is refused, because
    every supported browser sends one of them with a form.
    """
    ours = _origin(f"https://{environ.get('HTTP_HOST', '')}")
    site, origin = environ.get("HTTP_SEC_FETCH_SITE") or "none", environ.get("HTTP_ORIGIN") or None
    if site not in ("none", "same-origin"):
        return False
    if origin not in (None, "null"):
        return _origin(origin) == ours
    # Without an origin, Sec-Fetch-Site decides or the referrer. "null" may come from anywhere.
    referrer = "/".join(environ.get("HTTP_REFERER", "").split("/")[:3])
    return site == "same-origin" or (origin is None and _origin(referrer) == ours)


def _origin(text: str) -> str:
    """Return an origin over https in one spelling, with or without the usual port."""
    return text.lower().removesuffix(":443")


def trust_proxies(app: Flask) -> None:
    """Take the client's address, scheme and host from as many proxies in front as TRUSTED_PROXIES says."""
    # The outermost callable: hosts, fast path and Flask must all see the client that the proxies name.
    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)  # type: ignore[method-assign]


csrf = OwnPages()
