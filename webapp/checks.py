"""Refuse to start in a state in which a promise could not be kept. `python -m webapp.checks` runs the checks alone."""

import os
import sys
from typing import Any, NoReturn

import redis
from environs import EnvError
from redis.connection import parse_url
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from webapp.config import SECRET_KEY_BYTES, load
from webapp.extensions import connect_redis


def refuse_unsafe_start() -> None:
    """Return when it is safe to start; else print one line that says why not, and raise SystemExit(1)."""
    settings = read_settings()
    _check_secret(os.environ.get("SECRET_KEY", ""))
    for name in ("REDIS_URL", "QUEUE_REDIS_URL"):
        _check_redis(name, settings)


def read_settings() -> dict[str, Any]:
    """Return the settings; print one line and raise SystemExit(1) when one of them cannot be what it says."""
    try:
        settings = load()
    except EnvError as error:
        _refuse(str(error))
    _check_database_url(settings["SQLALCHEMY_DATABASE_URI"])
    for name in ("REDIS_URL", "QUEUE_REDIS_URL"):
        _check_redis_url(name, settings[name])
    return settings


def _check_secret(secret: str) -> None:
    if len(secret.encode()) < SECRET_KEY_BYTES:
        _refuse(
            f"SECRET_KEY must be set to at least {SECRET_KEY_BYTES} random bytes, "
            "e.g. from: python -c 'import secrets; print(secrets.token_hex(32))'"
        )


def _check_database_url(url: str) -> None:
    try:
        make_url(url).get_dialect()
    except ArgumentError:
        _refuse(
            "DATABASE_URL is not an address such as mysql+pymysql://user:password@host/name?charset=utf8mb4"
        )


def _check_redis_url(name: str, url: str) -> None:
    try:
        parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError as error:
        _refuse(f"{name} is not an address of a Redis ({error})")


def _check_redis(name: str, settings: dict[str, Any]) -> None:
    try:
        connection = connect_redis(settings[name], decode_responses=True)
        policy = connection.info("memory").get("maxmemory_policy")
    except redis.RedisError as error:
        _refuse(f"{name} does not answer ({error})")
    if policy != "noeviction":
        _refuse(f"the Redis of {name} may evict keys (maxmemory-policy {policy}); set it to noeviction")


def _refuse(reason: str) -> NoReturn:
    print("firstcome: refusing to start: " + " ".join(reason.split()), file=sys.stderr, flush=True)
    raise SystemExit(1)


if __name__ == "__main__":
    refuse_unsafe_start()
