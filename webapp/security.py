"""What every answer carries and what no request may bring."""

from typing import Any

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
    # Browsers that say nothing else of where a form comes from say it in the referrer.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HSTS = "max-age=31536000"
KEPT_BY_NOBODY = "no-store"
"""For whoever is signed in: the back button shows no codes to whoever comes after them."""

Environ = dict[str, Any]


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
    """Return what every answer carries, over https or not."""
    return HEADERS | ({"Strict-Transport-Security": HSTS} if secure else {})


def _add_headers(response: Response) -> Response:
    # Who is signed in is asked last: with the question an answer becomes one of a session.
    if "Cache-Control" not in response.headers and current_user.is_authenticated:
        response.headers["Cache-Control"] = KEPT_BY_NOBODY
    present = {name.lower() for name, _ in response.headers}
    for name, value in common_headers(request.is_secure).items():
        if name.lower() not in present:
            response.headers.add(name, value)
    return response


# Cookies


def cookie_name(name: str, *, secure: bool) -> str:
    """Return the name under which a cookie goes over https or not.

    A browser takes `__Host-` only over https, for the whole of this host and from no other: what a neighbour or
    somebody on the wire plants under the plain name is not looked at.
    """
    return f"__Host-{name}" if secure else name


class SessionCookies(SecureCookieSessionInterface):
    def get_cookie_name(self, app: Flask) -> str:
        return cookie_name(app.config["SESSION_COOKIE_NAME"], secure=request.is_secure)

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # What shared caches may keep carries no cookie and, with no `Vary`, is one copy for everybody.
        if not response.cache_control.public:
            super().save_session(app, session, response)


# Where a form comes from


class OwnPages(CSRFProtect):  # type: ignore[misc]
    """Flask-WTF's check of the token, and over https our own of where the form comes from.

    Flask-WTF's own wants a referrer, which browsers inside of other apps do not send.
    """

    def protect(self, *args: Any, **options: Any) -> None:
        super().protect(*args, **options)
        if g.get("csrf_valid") and request.is_secure and not is_from_us(request.environ):
            self._error_response("The request does not come from a page of ours.")


def is_from_us(environ: Environ) -> bool:
    """Whether the browser says that a request over https comes from a page of this very host.

    It says so in Sec-Fetch-Site, in Origin, or, where it sends neither, in the referrer. Whoever says nothing is not
    believed: every browser that is served says one of them with a form.
    """
    ours = _origin(f"https://{environ.get('HTTP_HOST', '')}")
    site, origin = environ.get("HTTP_SEC_FETCH_SITE") or "none", environ.get("HTTP_ORIGIN") or None
    if site not in ("none", "same-origin"):
        return False
    if origin not in (None, "null"):
        return _origin(origin) == ours
    referrer = "/".join(environ.get("HTTP_REFERER", "").split("/")[:3])
    return site == "same-origin" or (origin is None and _origin(referrer) == ours)


def _origin(text: str) -> str:
    """Return an origin over https in one spelling, whether or not it names the usual port."""
    return text.lower().removesuffix(":443")


def trust_proxies(app: Flask) -> None:
    """Believe what that many proxies in front say of the client; nothing that comes before sees it."""
    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)  # type: ignore[method-assign]
