"""Password hashes: scrypt N=2^15, r=8, p=3 (a setting of OWASP's table), a limited number at a time.

One hash takes 32 MB and about 0.3 s of a core. Under gevent it runs in a native thread, so that the loop goes on.
"""

import threading
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from flask import current_app
from gevent import get_hub
from gevent.monkey import is_module_patched
from werkzeug.security import check_password_hash, generate_password_hash

METHOD = "scrypt:32768:8:3"
UNUSABLE = "!"
"""A stored hash that no password matches."""
WAIT_S = 10.0

T = TypeVar("T")


class TooManyHashes(Exception):
    """No slot for another hash came free within WAIT_S."""


def hash_password(password: str) -> str:
    return _run(generate_password_hash, password, METHOD)


def check_password(password_hash: str | None, password: str) -> bool:
    """Compare; an unknown account (None) costs as much time as a known one, so that it cannot be told apart."""
    if password_hash in (None, UNUSABLE):
        hash_password(password)
        return False
    return _run(check_password_hash, password_hash, password)


def _run(function: Callable[..., T], *args: Any) -> T:
    slots = _slots(current_app.config["HASHES_AT_ONCE"])
    if not slots.acquire(timeout=WAIT_S):
        raise TooManyHashes
    try:
        if is_module_patched("threading"):
            result: T = get_hub().threadpool.apply(function, args)
            return result
        return function(*args)
    finally:
        slots.release()


@cache
def _slots(count: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(count)
