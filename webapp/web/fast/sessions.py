"""The signed session and the token of the form, read in the format of Flask and Flask-WTF."""

from hmac import compare_digest
from typing import NamedTuple
from wsgiref.types import WSGIEnvironment

from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from itsdangerous import URLSafeTimedSerializer

from webapp.accounts.sessions import EndedSessions
from webapp.accounts.visitor import Visitor, load_visitor
from webapp.web.fast.requests import PassedOn, csrf_token, is_secure
from webapp.web.fast.seals import Seal
from webapp.web.security import cookie_name, is_from_us

FIELDS = {"_user_id", "csrf_token", "_id", "_fresh", "_permanent"}
"""What the session of a signed-in visitor may hold; with anything else, a message say, the app decides."""


class Session(NamedTuple):
    visitor: Visitor
    token: str


class Sessions:
    def __init__(self, app: Flask) -> None:
        interface = app.session_interface
        assert isinstance(interface, SecureCookieSessionInterface)
        serializer = interface.get_signing_serializer(app)
        self.seal = Seal(serializer) if serializer else None
        self.max_age_s = int(app.permanent_session_lifetime.total_seconds())
        self.tokens = Seal(URLSafeTimedSerializer(app.secret_key or "", salt="wtf-csrf-token"))
        self.ended: EndedSessions = app.extensions["ended_sessions"]
        name = app.config["SESSION_COOKIE_NAME"]
        self.cookies = {secure: f"{cookie_name(name, secure=secure)}=" for secure in (False, True)}

    def read(self, environ: WSGIEnvironment) -> Session:
        """Return the session of a signed-in visitor. Raises PassedOn where it is not plainly one."""
        fields = self._fields(environ)
        session_id, token = fields.get("_user_id"), fields.get("csrf_token")
        if session_id is None:
            raise PassedOn("not signed in")
        if not (isinstance(session_id, str) and isinstance(token, str) and fields.keys() <= FIELDS):
            raise PassedOn("unusual session")
        visitor = load_visitor(session_id, self.ended)
        if visitor is None:
            raise PassedOn("ended session")
        return Session(visitor, token)

    def _fields(self, environ: WSGIEnvironment) -> dict[str, object]:
        name = self.cookies[is_secure(environ)]
        cookies = [part for part in environ.get("HTTP_COOKIE", "").split("; ") if part.startswith(name)]
        if not cookies or self.seal is None:
            return {}
        try:
            fields = self.seal.read(cookies[0][len(name) :], max_age_s=self.max_age_s)
        except ValueError:
            fields = None
        if len(cookies) > 1 or not isinstance(fields, dict):
            raise PassedOn("unusual session")
        return fields

    def check_form(self, session: Session, environ: WSGIEnvironment) -> None:
        """Raise PassedOn unless the form has a token of this session, and over https comes from a page of ours."""
        if is_secure(environ) and not is_from_us(environ):
            raise PassedOn("from another page")
        try:
            token = self.tokens.read(csrf_token(environ))
        except ValueError:
            token = None
        if not (isinstance(token, str) and compare_digest(session.token.encode(), token.encode())):
            raise PassedOn("wrong token")

    def form_token(self, session: Session) -> bytes:
        """Return the token for a form of this session, with a signature of now."""
        return self.tokens.write(session.token).encode()
