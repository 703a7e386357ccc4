"""Work that takes a core for a while, done beside gevent's loop."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from gevent import get_hub
from gevent.monkey import is_module_patched

P = ParamSpec("P")
T = TypeVar("T")


def natively(function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Return what the function returns; in a web process a native thread runs it, and other requests go on."""
    if not is_module_patched("threading"):
        return function(*args, **options)
    result: T = get_hub().threadpool.apply(function, args, options)
    return result
