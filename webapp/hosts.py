"""The host that a request names: whether it is one, and one of ours."""

import re
from collections.abc import Collection
from ipaddress import IPv6Address
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import SecurityError

HEALTH = frozenset({"/healthz", "/readyz"})
"""Load balancers ask for these by the machine's own address, so they answer under every host."""
STRANGE = "firstcome.strange_host"
"""Marks a request whose host was replaced."""
MOST_KNOWN = 1000
"""Hosts that a process remembers to have looked at."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = rf"(?=[^:]{{1,254}}(?::|$))(?P<name>{_LABEL}(?:\.{_LABEL})*\.?)"
_HOST = re.compile(rf"(?:{_NAME}|\[(?P<ipv6>[0-9a-f:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII)

Environ = dict[str, Any]


def init_app(app: Flask) -> None:
    """Look at every host before the framework and the lane do."""
    app.extensions["hosts"] = hosts = Hosts(app.wsgi_app, app.config["ALLOWED_HOSTS"])
    app.wsgi_app = hosts  # type: ignore[method-assign]
    app.before_request(_refuse_strange_host)


class Hosts:
    """A WSGI callable in front of the app's own, `plain`: a host that is none, or not ours, does not get there.

    The framework fails at some of them before any page of ours could say so. So the host is replaced, and the request
    marked for `_refuse_strange_host`.
    """

    def __init__(self, plain: Any, allowed: Collection[str]) -> None:
        self.plain, self.allowed = plain, frozenset(allowed)
        self.known: set[str] = set()

    def __call__(self, environ: Environ, start_response: Any) -> Any:
        if not self.know(environ):
            environ |= {"HTTP_HOST": "localhost", STRANGE: True}
        return self.plain(environ, start_response)

    def know(self, environ: Environ) -> bool:
        """Whether the request may be answered under the host that it names."""
        host = environ.get("HTTP_HOST")
        if host in self.known:
            return True
        name = "" if host is None else host_name(host)  # none at all, as in HTTP/1.0
        if name is None or not (self._allows(name) or environ["PATH_INFO"] in HEALTH):
            return False
        if host and self._allows(name) and len(self.known) < MOST_KNOWN:
            self.known.add(host)
        return True

    def _allows(self, name: str) -> bool:
        parents = (name[at:] for at, character in enumerate(name) if character == ".")
        return not self.allowed or not self.allowed.isdisjoint({name, f".{name}", *parents})


def host_name(host: str) -> str | None:
    """Return the name in a Host header, in one spelling and without its port, or None when it is no host."""
    found = _HOST.fullmatch(host.lower())
    if found is None or not 0 < int(found["port"] or 80) < 65536:
        return None
    try:
        if found["ipv6"]:
            return str(IPv6Address(found["ipv6"]))
        found["name"].encode().decode("idna")
    except ValueError:
        return None
    return found["name"].removesuffix(".")


def allowed_name(text: str) -> str:
    """Return what somebody wrote into ALLOWED_HOSTS as `Hosts` compares it; with a dot in front it is all below it.

    Raises ValueError.
    """
    dot = "." if text.startswith(".") else ""
    name = host_name(text.removeprefix(".").encode("idna").decode())
    if name is None:
        raise ValueError(f"{text!r} is no host")
    return dot + name


def _refuse_strange_host() -> None:
    if STRANGE in request.environ:
        raise SecurityError
