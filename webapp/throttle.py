"""Wrong passwords: after so many for one account from one address, the next try has to wait.

Counted in Redis, for all processes together. Other people of the same address, and the owner of the account elsewhere,
are not held up.
"""

import time
from hashlib import sha256

import redis
from flask import Flask, current_app
from limits import parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from webapp.swallowed import swallow

TRIES = parse("5 per minute")
"""Wrong passwords for one account from one address."""


def init_app(app: Flask) -> None:
    """Count in the Redis of the lines; nothing is sent before the first use. Its answer is awaited 0.8 s at most."""
    url = app.config["REDIS_URL"]
    pool = redis.ConnectionPool.from_url(
        url, socket_timeout=0.5, socket_connect_timeout=0.3, retry=Retry(NoBackoff(), 0)
    )
    app.extensions["throttle"] = FixedWindowRateLimiter(RedisStorage(url, connection_pool=pool))


def begin_try(email: str, address: str | None) -> int:
    """Count a try to sign in before its password is looked at, and return the seconds that it has to wait, 0 for none.

    Tries that come at once are counted one by one. Without Redis nobody has to wait: people can sign in, and what a
    hash costs holds up who guesses.
    """
    limiter, whose = current_app.extensions["throttle"], _whose(email, address)
    try:
        if limiter.hit(TRIES, whose):
            return 0
        return max(1, int(limiter.get_window_stats(TRIES, whose).reset_time - time.time()) + 1)
    except redis.RedisError as error:
        swallow("sign-in not counted", error, "hashes are few at a time, and hold up who guesses")
        return 0


def forget_tries(email: str, address: str | None) -> None:
    """Forget the tries of whoever knew the password."""
    try:
        current_app.extensions["throttle"].clear(TRIES, _whose(email, address))
    except redis.RedisError as error:
        swallow("sign-in not forgotten", error, "it is forgotten within a minute")


def _whose(email: str, address: str | None) -> str:
    """Return a key of fixed length, in which nothing stands as it was typed."""
    return sha256(f"{email}\n{address}".encode(errors="replace")).hexdigest()
