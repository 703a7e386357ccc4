"""What tests start from: accounts, coupons, somebody who is signed in, and what fails when it is called."""

import itertools
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from html import unescape
from typing import Any, NoReturn

from flask import Flask, session
from flask.testing import FlaskClient
from flask_login import login_user
from itsdangerous import URLSafeTimedSerializer
from sqlalchemy import insert, select

from jobs.worker import make_worker
from webapp.accounts.passwords import UNUSABLE, hash_password
from webapp.accounts.visitor import visitor_of
from webapp.models import USER, User, utcnow
from webapp.sale.coupons import create_coupon
from webapp.stores.queue import SWEEPER_ALIVE_KEY
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

_serial = itertools.count(1)


def make_user(
    email: str | None = None,
    *,
    role: str = USER,
    password: str | None = None,
    name: str = "Kim",
    **fields: Any,
) -> User:
    """Create an account; without a password nobody can sign in to it by form, and no time goes into a hash."""
    user = User(
        email=email or f"user{next(_serial)}@example.com",
        name=name,
        role=role,
        password_hash=hash_password(password) if password else UNUSABLE,
        **fields,
    )
    db.session.add(user)
    db.session.commit()
    return user


def make_users(count: int) -> list[int]:
    """Create that many accounts at once and return their ids, in ascending order."""
    series = f"series{next(_serial)}"
    rows = [
        {"email": f"{series}-{number}@example.com", "name": f"User {number}", "password_hash": UNUSABLE}
        for number in range(count)
    ]
    with db.engine.begin() as connection:
        connection.execute(insert(User), rows)
        return list(
            connection.scalars(select(User.id).where(User.email.like(f"{series}-%")).order_by(User.id))
        )


def make_coupon(
    *,
    quota: int | None = 5,
    opens_in: float = -60,
    closes_in: float = 3600,
    title: str = "Coupon",
    **fields: Any,
) -> int:
    """Create a coupon whose period starts and ends so many seconds from now, and return its id."""
    now = utcnow()
    period = {
        "issue_start_at": now + timedelta(seconds=opens_in),
        "issue_end_at": now + timedelta(seconds=closes_in),
    }
    return create_coupon(**{"title": title, "total_quantity": quota, **period, **fields})


def failing(error: Exception) -> Callable[..., NoReturn]:
    """Return a function that takes whatever it is called with and raises the error."""

    def fail(*_arguments: object, **_options: object) -> NoReturn:
        raise error

    return fail


def sign_in(client: FlaskClient, user: User | int, base_url: str = "http://localhost") -> str:
    """Sign the client in as `login` does, without a password, and return a CSRF token of the session."""
    contents = signed_in_session(client.application, user, client.environ_base)
    with client.session_transaction(base_url=base_url) as target:
        target.update(contents)
        target.permanent = True
    return csrf_token(client, base_url)


def csrf_token(client: FlaskClient, base_url: str = "http://localhost") -> str:
    """Return a token that the client's session accepts, as the hidden field `csrf_token` would carry it."""
    with client.session_transaction(base_url=base_url) as contents:
        token = contents.setdefault("csrf_token", secrets.token_hex(20))
    return _signed_token(client.application, token)


def session_cookie(app: Flask, user: User | int) -> tuple[str, str]:
    """Return the session cookie of a signed-in user and a CSRF token for it, to speak HTTP to a running server."""
    contents = signed_in_session(app, user, {}) | {"csrf_token": secrets.token_hex(20), "_permanent": True}
    serializer = app.session_interface.get_signing_serializer(app)
    return serializer.dumps(contents), _signed_token(app, contents["csrf_token"])


def signed_in_session(app: Flask, user: User | int, environ: dict[str, Any]) -> dict[str, Any]:
    with app.test_request_context(environ_base=environ):
        login_user(visitor_of(db.session.get_one(User, user) if isinstance(user, int) else user))
        return dict(session)


def _signed_token(app: Flask, token: str) -> str:
    return URLSafeTimedSerializer(app.secret_key, salt="wtf-csrf-token").dumps(token)


@contextmanager
def at_work() -> Iterator[None]:
    """Have a worker listen and a sweeper have swept, as the checks before going live want it."""
    worker = make_worker()
    worker.register_birth()
    line_redis().of(SWEEPER_ALIVE_KEY).set(SWEEPER_ALIVE_KEY, "1")
    yield
    worker.register_death()
    line_redis().of(SWEEPER_ALIVE_KEY).delete(SWEEPER_ALIVE_KEY)


def live_form(page: str) -> dict[str, Any]:
    """Return the form that goes live as a browser sends it with every warning confirmed, from the page of checks."""
    seen = re.search(r'name="seen" value="([^"]*)"', page)
    return {
        "seen": unescape(seen[1]) if seen else "",
        "confirm": re.findall(r'name="confirm" value="(\w+)"', page),
    }
