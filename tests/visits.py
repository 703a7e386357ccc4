"""What tests of pages share: how a browser and a program ask, and what they may be answered."""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask, current_app, template_rendered
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from webapp.stores.sql import db

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
"""What Chromium and Firefox send as Accept."""
PROGRAM = "application/json"

both = pytest.mark.parametrize("accept", [BROWSER, PROGRAM], ids=["page", "json"])


def visit(client: FlaskClient, address: str, accept: str = BROWSER, **options: Any) -> TestResponse:
    headers = {"Accept": accept, "Accept-Language": "en"} | options.pop("headers", {})
    return client.get(address, headers=headers, buffered=True, **options)


def context_of(client: FlaskClient, address: str) -> dict[str, Any]:
    """Open a page and return what its own template was given."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def note(_app: Flask, template: Any, context: dict[str, Any], **_extra: Any) -> None:
        seen.append((template.name, context))

    with template_rendered.connected_to(note, client.application):
        assert visit(client, address).status_code == 200
    return seen[-1][1]


def page_token(client: FlaskClient, address: str = "/login") -> str:
    """Return the CSRF token of a page, as whoever opens it finds it there."""
    page = visit(client, address).text
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page) or re.search(
        r'<meta name="csrf-token" content="([^"]+)"', page
    )
    assert found, f"no CSRF token on {address}"
    return found.group(1)


def post(
    client: FlaskClient, address: str, accept: str = BROWSER, token: str | None = None, **fields: str
) -> TestResponse:
    """Send a form as a page does, or the same fields as a program does, with the token in a header."""
    token = page_token(client) if token is None else token
    headers = {"Accept": accept, "Accept-Language": "en"}
    if accept == BROWSER:
        fields["csrf_token"] = token
    else:
        headers["X-CSRFToken"] = token
    return client.post(address, data=fields, headers=headers)


def sentence_of(page: str) -> str:
    """Return the text of a page, without markup."""
    body = re.sub(r"(?s)<(script|style|head)\b.*?</\1>", " ", page)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def assert_refused(response: TestResponse, status: int, code: str) -> dict[str, Any]:
    """Check that whoever asked for JSON got a problem with the code, and anybody else a page that explains."""
    assert response.status_code == status
    if response.request.headers["Accept"] != PROGRAM:
        assert response.mimetype == "text/html"
        assert re.search(r"<h1[^>]*>\s*[^<\s]", response.text), "an error page needs a heading"
        assert "Traceback" not in response.text
        assert len(sentence_of(response.text)) > 20
        return {}
    assert response.mimetype == "application/problem+json"
    body: dict[str, Any] = response.get_json()
    assert (body["status"], body["code"]) == (status, code)
    assert len(body["title"]) > 3
    assert re.fullmatch(r"[A-Z][^{}<>_]{10,}", body["detail"])
    return body


def everything() -> dict[str, Any]:
    """Return all that SQL and Redis hold, but for counts of tries and for what processes know of ended sessions."""
    db.session.rollback()
    tables = {
        table.name: sorted(map(repr, db.session.execute(select(table))))
        for table in db.metadata.sorted_tables
    }
    db.session.rollback()
    redis = current_app.extensions["bells"]
    kept = (name for name in redis.scan_iter() if not name.startswith((b"LIMITS:", b"{sessions}:")))
    return tables | {name: redis.dump(name) for name in kept}


@contextmanager
def nothing_changes() -> Iterator[None]:
    before = everything()
    yield
    assert everything() == before
