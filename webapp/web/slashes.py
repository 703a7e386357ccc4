"""Redirects an address with a slash too many, or one too few, to the page that it must mean."""

import re
from urllib.parse import quote

from flask import Flask, redirect, request
from flask.globals import request_ctx
from werkzeug.exceptions import HTTPException, NotFound
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response


def init_app(app: Flask) -> None:
    """Check the slashes last: a visitor who may not know of a page has been refused before."""
    app.before_request(_lead_to_the_page)


def _lead_to_the_page() -> Response | None:
    """Redirect to the page and keep the query. The address names no host, unlike the framework's own redirect."""
    if not isinstance(request.routing_exception, NotFound | RequestRedirect):
        return None
    # 308 keeps the method, so a form that was sent to the wrong address is sent again.
    trimmed = re.sub("/+", "/", request.path).removesuffix("/")
    path = next((path for path in (trimmed, f"{trimmed}/") if _is_routed(path)), None)
    query = request.query_string.decode("latin-1")
    return None if path is None else redirect(quote(path) + (f"?{query}" if query else ""), 308)


def _is_routed(path: str) -> bool:
    adapter = request_ctx.url_adapter
    try:
        return adapter is not None and bool(adapter.match(path, request.method))
    except HTTPException:
        return False
