"""A crowd: many signed-in users, and the requests that their browsers would send, as bytes."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer

from webapp.accounts.visitor import Visitor
from webapp.models import USER


@dataclass(frozen=True)
class Crowd:
    """Users in the order of `user_ids`. `sessions` are their Cookie headers; one CSRF token fits them all."""

    user_ids: Sequence[int]
    sessions: list[str]
    csrf_token: str
    host: str

    def claim(self, coupon_id: int, index: int) -> bytes:
        """Return the click as the page's script sends it; its answer is the ticket as JSON."""
        return (
            f"{self._post(coupon_id, index)}X-CSRFToken: {self.csrf_token}\r\nAccept: application/json\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode()

    def form_claim(self, coupon_id: int, index: int) -> bytes:
        """Return the click as a plain form sends it; its answer is a redirect to the page."""
        body = f"csrf_token={self.csrf_token}"
        return (
            f"{self._post(coupon_id, index)}Accept: text/html,*/*;q=0.8\r\n"
            f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def _post(self, coupon_id: int, index: int) -> str:
        return f"POST /coupons/{coupon_id}/claim HTTP/1.1\r\nHost: {self.host}\r\nCookie: {self.sessions[index]}\r\n"

    def claims(self, coupon_id: int) -> list[bytes]:
        return [self.claim(coupon_id, index) for index in range(len(self.sessions))]

    def get(self, path: str, index: int) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\nCookie: {self.sessions[index]}\r\n\r\n".encode()


def signed_in(app: Flask, user_ids: Sequence[int], host: str) -> Crowd:
    """Sign everybody in as the sign-in form would, with the installation's SECRET_KEY instead of passwords."""
    interface = app.session_interface
    assert isinstance(interface, SecureCookieSessionInterface)
    serializer = interface.get_signing_serializer(app)
    assert serializer is not None
    csrf = secrets.token_hex(20)
    common = {"_fresh": True, "_permanent": True, "csrf_token": csrf}
    name = app.config["SESSION_COOKIE_NAME"]
    sessions = [
        f"{name}={serializer.dumps({'_user_id': Visitor(user_id, 0, USER).get_id(), **common})}"
        for user_id in user_ids
    ]
    token = URLSafeTimedSerializer(app.secret_key or "", salt="wtf-csrf-token").dumps(csrf)
    return Crowd(user_ids, sessions, str(token), host)
