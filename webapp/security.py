"""What every answer carries and what no request may bring."""

from flask import Flask, Response, abort, request
from flask.sessions import SecureCookieSessionInterface, SessionMixin
from werkzeug.middleware.proxy_fix import ProxyFix

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # Flask-WTF's check over https needs the referrer of our own pages.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
HSTS = "max-age=31536000"


class SessionCookies(SecureCookieSessionInterface):
    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        # What shared caches may keep carries no cookie and, with no `Vary`, is one copy for everybody.
        if not response.cache_control.public:
            super().save_session(app, session, response)


def init_app(app: Flask) -> None:
    app.session_interface = SessionCookies()
    app.before_request(_refuse_transfer_encoding)
    app.after_request(_add_headers)


def _refuse_transfer_encoding() -> None:
    # A malformed chunk would surface as an error of ours while the form is read.
    if "Transfer-Encoding" in request.headers:
        abort(411)


def trust_proxies(app: Flask) -> None:
    """Believe what that many proxies in front say of the client; nothing that comes before sees it."""
    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)  # type: ignore[method-assign]


def common_headers(secure: bool) -> dict[str, str]:
    """Return what every answer carries, over https or not."""
    return HEADERS | ({"Strict-Transport-Security": HSTS} if secure else {})


def _add_headers(response: Response) -> Response:
    present = {name.lower() for name, _ in response.headers}
    for name, value in common_headers(request.is_secure).items():
        if name.lower() not in present:
            response.headers.add(name, value)
    return response
