"""Somebody with a browser, who fills in forms on a running server."""

import html
import http.client
import re
import time
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from tests.builders import session_cookie
from tests.faults.site import Site

HIDDEN = re.compile(r"<input\b(?=[^>]*\btype=\"hidden\")[^>]*>")
PATIENCE_S = 30


class Seen(NamedTuple):
    status: int
    seconds: float
    page: str


class Visitor:
    """One visitor with a connection of their own; `user` is signed in already."""

    def __init__(self, site: Site, user: int | None = None) -> None:
        self.cookies: dict[str, str] = {}
        if user is not None:
            self.cookies["session"] = session_cookie(site.app, user)[0]
        self.connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def get(self, path: str) -> Seen:
        return self._ask("GET", path)

    def form(self, page: str) -> dict[str, str]:
        """Return what the forms of a page send without being asked."""
        return dict(map(_field, HIDDEN.findall(self.get(page).page)))

    def post(self, path: str, fields: dict[str, str]) -> Seen:
        return self._ask("POST", path, urlencode(fields))

    def _ask(self, method: str, path: str, body: str | None = None) -> Seen:
        headers = {"Accept": "text/html,*/*;q=0.8", "Accept-Language": "en"}
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        began = time.perf_counter()
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        page = answer.read().decode(errors="replace")
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return Seen(answer.status, time.perf_counter() - began, page)


def _field(element: str) -> tuple[str, str]:
    attributes: dict[str, Any] = dict(re.findall(r'\b(name|value)="([^"]*)"', element))
    return attributes["name"], html.unescape(attributes.get("value", ""))
