"""The settings: each is read from the environment, and this is the only list of them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environs import Env, EnvError
from marshmallow.validate import Range

from webapp.values.hosts import allowed_name
from webapp.values.texts import one_line

SECRET_KEY_BYTES, SECRET_KEY_BITS = 32, 75
"""The least length and the least `webapp.values.strength.bits` of SECRET_KEY; a server process refuses less."""

SHOP_NAME_LENGTH = 30


def load() -> dict[str, Any]:
    """Read the settings from the environment; an empty one counts as not set.

    Without REDIS_URL and DATABASE_URL the settings name the embedded stores that `make run` starts under VAR_DIR.
    Raises environs.EnvError, which names the variable, when a value cannot be read.
    """
    env = Env()

    def read(kind: Callable[..., Any], name: str, default: Any, **rules: Any) -> Any:
        return kind(name, **rules) if os.environ.get(name, "").strip() else default

    var = Path(read(env.str, "VAR_DIR", "var")).resolve()
    redis_url = read(env.str, "REDIS_URL", f"unix://{var}/valkey.sock")
    return {
        "VAR_DIR": var,
        # In whose name the pages speak; webapp/web/shop.py checks the colour and the picture.
        "SHOP_NAME": _shop_name(read(env.str, "SHOP_NAME", "FirstCome")),
        "SHOP_COLOUR": read(env.str, "SHOP_COLOUR", None),
        "SHOP_LOGO": read(env.str, "SHOP_LOGO", None),
        # Signs sessions, CSRF tokens and receipts.
        "SECRET_KEY": read(env.str, "SECRET_KEY", None) or _local_secret(var),
        "SQLALCHEMY_DATABASE_URI": read(env.str, "DATABASE_URL", f"sqlite:///{var}/firstcome.db"),
        # The lines, and RQ's queue: one server or two.
        "REDIS_URL": redis_url,
        "QUEUE_REDIS_URL": read(env.str, "QUEUE_REDIS_URL", redis_url),
        # Start with a Redis that keeps no append-only file, because replicas stand in for one.
        "ALLOW_REDIS_WITHOUT_AOF": read(env.bool, "ALLOW_REDIS_WITHOUT_AOF", False),
        # Answer what comes in thousands in front of Flask; off, Flask answers the same.
        "FAST_PATH": read(env.bool, "FAST_PATH", True),
        # What gives more, ends a sale or gives rights waits until a second person confirms it.
        "TWO_PERSON_RULE": read(env.bool, "TWO_PERSON_RULE", False),
        # Where gunicorn listens, and its processes; deploy/web.py reads them by itself.
        "PORT": read(env.int, "PORT", 8000, validate=Range(min=1, max=65535)),
        "WEB_CONCURRENCY": read(env.int, "WEB_CONCURRENCY", None, validate=Range(min=1, max=1000)),
        # The web server that a rehearsal from the console plays against; by default the one of this host.
        "REHEARSAL_URL": read(env.str, "REHEARSAL_URL", None),
        # The hosts under which this site answers, or every host; a dot in front allows all names below.
        "ALLOWED_HOSTS": _allowed_hosts(read(env.str, "ALLOWED_HOSTS", "")),
        # How many proxies in front of gunicorn set X-Forwarded-For and -Proto.
        "TRUSTED_PROXIES": read(env.int, "TRUSTED_PROXIES", 0, validate=Range(min=0, max=5)),
        # Password hashes at a time in one process; each takes 32 MB and about 0.3 s of a core.
        "HASHES_AT_ONCE": read(env.int, "HASHES_AT_ONCE", 2, validate=Range(min=1, max=64)),
        # For one IPv4 address or IPv6 /64; an office, a campus and many telephones share one.
        "SIGN_INS_PER_MINUTE": read(env.int, "SIGN_INS_PER_MINUTE", 100, validate=Range(min=1)),
        "REGISTRATIONS_PER_HOUR": read(env.int, "REGISTRATIONS_PER_HOUR", 30, validate=Range(min=1)),
        # Seconds to wait for an answer of MySQL; gunicorn.conf.py sets less for the web, where people wait.
        "SQL_ANSWER_S": read(env.float, "SQL_ANSWER_S", 10, validate=Range(min=0.1, max=300)),
        # Polls a second that all open pages together may cost; the pages are told to slow down to it.
        "POLLS_PER_SECOND": read(env.int, "POLLS_PER_SECOND", 2000, validate=Range(min=1)),
    }


def _allowed_hosts(text: str) -> list[str]:
    try:
        return [allowed_name(host) for host in text.replace(",", " ").split()]
    except ValueError as error:
        raise EnvError(f"ALLOWED_HOSTS: {error}") from error


def _shop_name(text: str) -> str:
    name = one_line(text)
    if not 1 <= len(name) <= SHOP_NAME_LENGTH:
        raise EnvError(f"SHOP_NAME has to have 1 to {SHOP_NAME_LENGTH} characters")
    return name


def _local_secret(var: Path) -> str | None:
    """Return the key that `make run` made for this directory, so that `flask` commands work beside it."""
    path = var / "secret_key"
    return path.read_text().strip() if path.is_file() else None


DEFAULTS: dict[str, Any] = {
    "MAX_CONTENT_LENGTH": 64 * 1024,
    "MAX_FORM_MEMORY_SIZE": 64 * 1024,
    "PERMANENT_SESSION_LIFETIME": 14 * 24 * 3600,
    "SESSION_COOKIE_NAME": "session",
    "SESSION_COOKIE_HTTPONLY": True,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_REFRESH_EACH_REQUEST": False,
    # A page that was opened an hour before the start must still be able to claim.
    "WTF_CSRF_TIME_LIMIT": None,
    "WTF_CSRF_CHECK_DEFAULT": True,
    # `webapp.web.security.OwnPages` checks the origin of a form instead, in a way that every browser passes.
    "WTF_CSRF_SSL_STRICT": False,
    "SEND_FILE_MAX_AGE_DEFAULT": 300,
    "BABEL_DEFAULT_LOCALE": "ko",
    "BABEL_DEFAULT_TIMEZONE": "Asia/Seoul",
    "BABEL_TRANSLATION_DIRECTORIES": "translations",
    # Seconds that a statement waits for a row lock; a visitor must not wait longer than 2.5 s in all.
    "SQL_LOCK_WAIT_S": 2,
    # Seconds that a request waits for a new epoch of a line that Redis lost; then it answers "busy".
    "GATE_WAIT_S": 0.5,
}
"""Settings that no installation needs to change, by name."""
