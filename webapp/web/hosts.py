"""The host that a request names: whether it is a host at all, and one of ours."""

from collections.abc import Collection, Iterable
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask, request
from werkzeug.exceptions import SecurityError

from webapp.values.hosts import host_name

HEALTH = frozenset({"/healthz", "/readyz"})
"""Addresses that answer under every host, because load balancers ask by the address of the machine."""
STRANGE = "firstcome.strange_host"
"""Marks a request whose host was replaced."""
MOST_KNOWN = 1000
"""The most hosts that a process remembers as good."""


def init_app(app: Flask) -> None:
    """Check every host before the framework and the fast path do."""
    app.extensions["hosts"] = hosts = Hosts(app.wsgi_app, app.config["ALLOWED_HOSTS"])
    app.wsgi_app = hosts  # type: ignore[method-assign]
    app.before_request(_refuse_strange_host)


class Hosts:
    """A WSGI callable in front of the app's own, `plain`, that lets no malformed or strange host get there.

    The framework fails at some malformed hosts before any page of ours could answer. So the host is replaced, and the
    request is marked for `_refuse_strange_host`.
    """

    def __init__(self, plain: WSGIApplication, allowed: Collection[str]) -> None:
        self.plain, self.allowed = plain, frozenset(allowed)
        self.known: set[str] = set()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self.know(environ):
            environ |= {"HTTP_HOST": "localhost", STRANGE: True}
        return self.plain(environ, start_response)

    def know(self, environ: WSGIEnvironment) -> bool:
        """Say whether the request may be answered under the host that it names."""
        host = environ.get("HTTP_HOST")
        if host in self.known:
            return True
        name = "" if host is None else host_name(host)  # none at all, as in HTTP/1.0
        if name is None or not (self._allows(name) or environ["PATH_INFO"] in HEALTH):
            return False
        # Attackers can send any number of hosts, so the memory is limited; the others are checked each time.
        if host and self._allows(name) and len(self.known) < MOST_KNOWN:
            self.known.add(host)
        return True

    def _allows(self, name: str) -> bool:
        # shop.example.com is allowed by its own name, by .shop.example.com and by .example.com.
        parents = (name[at:] for at, character in enumerate(name) if character == ".")
        return not self.allowed or not self.allowed.isdisjoint({name, f".{name}", *parents})


def _refuse_strange_host() -> None:
    if STRANGE in request.environ:
        raise SecurityError
