"""Limits: wrong passwords for one account, and sign-ins and new accounts from one network.

They are counted in the queue's Redis, for all processes together, before a password is hashed. A network is an IPv4
address or an IPv6 /64. Wrong passwords are counted for one account from one network. So other people of that network,
and the owner of the account elsewhere, are not held up. Without Redis nothing is counted. A guesser is then held up by
the cost of a hash, and because networks take turns with the slots for hashes (`webapp.accounts.turns`).
"""

import logging
import time
from hashlib import sha256

import redis
from flask import Flask, current_app, g, request
from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from webapp.accounts.networks import network_of_request
from webapp.models import User
from webapp.stores.script_redis import connect_redis
from webapp.stores.swallowed import swallow

log = logging.getLogger(__name__)

TRIES = RateLimitItemPerMinute(5)
"""The limit of wrong passwords for one account from one network."""


def init_app(app: Flask) -> None:
    """Count in the queue's Redis, which is no Cluster; nothing is sent before the first use.

    A reply is awaited 0.8 s at most, and sentinels 0.2 s before.
    """
    retry = Retry(NoBackoff(), 0)
    client = connect_redis(
        app.config["QUEUE_REDIS_URL"],
        timeout=0.3,
        socket_timeout=0.5,
        socket_connect_timeout=0.3,
        retry=retry,
    )
    counts = RedisStorage("redis://", connection_pool=client.connection_pool)
    app.extensions["throttle"] = FixedWindowRateLimiter(counts)


def begin_sign_in() -> int:
    """Count a sign-in of this network, and return the seconds that it has to wait, 0 for none."""
    return _hit_of_network(RateLimitItemPerMinute(current_app.config["SIGN_INS_PER_MINUTE"]), "sign-in")


def begin_registration() -> int:
    """Count a new account of this network, and return the seconds that it has to wait, 0 for none."""
    return _hit_of_network(RateLimitItemPerHour(current_app.config["REGISTRATIONS_PER_HOUR"]), "registration")


def begin_try(user: User | None, email: str) -> int:
    """Count a try before its password is checked, and return the seconds that it has to wait, 0 for none.

    The account counts, however its address was spelled. An address without an account counts by itself, so that the two
    look the same from outside. Tries that come at once are counted one by one.
    """
    return _hit(TRIES, _whose(user, email))


def forget_tries(user: User | None, email: str) -> None:
    """Forget the tries of a user who knew the password."""
    if "uncounted" in g:
        return
    try:
        current_app.extensions["throttle"].clear(TRIES, _whose(user, email))
    except redis.RedisError as error:
        swallow("sign-in not forgotten", error, "it is forgotten within a minute")


def _hit_of_network(limit: RateLimitItem, what: str) -> int:
    wait_s = _hit(limit, _key(what, network_of_request()))
    if wait_s and "X-Forwarded-For" in request.headers and not current_app.config["TRUSTED_PROXIES"]:
        log.warning("%s limited: everybody behind a proxy is one address until TRUSTED_PROXIES is set", what)
    return wait_s


def _hit(limit: RateLimitItem, whose: str) -> int:
    limiter = current_app.extensions["throttle"]
    if "uncounted" in g:
        return 0
    try:
        if limiter.hit(limit, whose):
            return 0
        # Rounded up: a second too early would be refused again.
        return max(1, int(limiter.get_window_stats(limit, whose).reset_time - time.time()) + 1)
    except redis.RedisError as error:
        swallow("sign-in not counted", error, "hashes are few at a time, and hold up who guesses")
        g.uncounted = True  # a request does not wait for a dead Redis twice
        return 0


def _whose(user: User | None, email: str) -> str:
    return _key(f"account {user.id}" if user else email, network_of_request())


def _key(*parts: str | None) -> str:
    """Return a key of fixed length that contains no text as it was typed."""
    return sha256("\n".join(map(str, parts)).encode(errors="replace")).hexdigest()
