"""What REDIS_URL and QUEUE_REDIS_URL may name: one server, the sentinels that know a master, or nodes of a Cluster."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult, unquote, urlsplit

import redis
from redis.connection import parse_url

Server = tuple[str, int]
"""The host and the port of a server."""

TRANSPORTS, ONE_SERVER = ("redis", "rediss"), ("redis", "rediss", "unix")
PORTS = {"sentinel": 26379, "cluster": 6379}
SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}
KNOWN = (
    "it has to begin with redis:// or rediss:// (TLS) and a host, with unix:// and a path, "
    "with redis+sentinel:// or rediss+sentinel:// and sentinels, "
    "or with redis+cluster:// or rediss+cluster:// and nodes"
)


@dataclass(frozen=True)
class Address:
    """An address as it was read. `options` are redis-py's, for connections to the servers that hold data.

    `servers` are the sentinels, or some nodes of the Cluster; of one server its host is among the options.
    """

    kind: Literal["one", "sentinel", "cluster"]
    options: Mapping[str, Any]
    servers: tuple[Server, ...] = ()
    master: str = ""
    sentinel_options: Mapping[str, Any] = field(default_factory=dict)


def read_address(url: str) -> Address:
    """Read an address. Raises ValueError, whose words say what is wrong and hold no password."""
    scheme = url.partition("://")[0] if "://" in url else ""
    transport, _, kind = scheme.partition("+")
    if scheme not in ONE_SERVER and (transport not in TRANSPORTS or kind not in PORTS):
        raise ValueError(KNOWN)
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("a host of IPv6 stands in whole brackets, as in [::1]:6379") from None
    if scheme in ONE_SERVER:
        return _one_server(url, parts)
    return _sentinels(transport, parts) if kind == "sentinel" else _cluster(transport, parts)


def _one_server(url: str, parts: SplitResult) -> Address:
    if parts.scheme == "unix":
        if not parts.path:
            raise ValueError("it names no socket")
        return Address("one", _options(url))
    _server(parts.netloc.rpartition("@")[2] or "localhost", 6379)
    if not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("behind the host stands the number of a database, or nothing")
    return Address("one", _options(url))


def _sentinels(transport: str, parts: SplitResult) -> Address:
    account, servers = _account_and_servers(parts, PORTS["sentinel"])
    found = re.fullmatch(r"/([^/]+)(?:/(\d*))?", parts.path)
    if not found:
        raise ValueError(
            "behind the sentinels stands the name of their master, and then the number of a database or nothing, "
            "as in redis+sentinel://host:26379,host:26379/mymaster/0"
        )
    options = _options(f"{transport}://{account}/{found[2] or ''}?{parts.query}")
    own = {ours: options.pop(name) for name, ours in SENTINEL_OPTIONS.items() if name in options}
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if transport == "rediss":
        tls["connection_class"] = redis.SSLConnection
    return Address("sentinel", options, servers, unquote(found[1]), tls | own)


def _cluster(transport: str, parts: SplitResult) -> Address:
    account, servers = _account_and_servers(parts, PORTS["cluster"])
    options = _options(f"{transport}://{account}?{parts.query}")
    if parts.path not in ("", "/") or "db" in options:
        raise ValueError("a Redis Cluster has no numbered databases; behind its nodes stands nothing")
    return Address("cluster", options, servers)


def _account_and_servers(parts: SplitResult, port: int) -> tuple[str, tuple[Server, ...]]:
    account, at, servers = parts.netloc.rpartition("@")
    return account + at, tuple(_server(each, port) for each in servers.split(","))


def _server(text: str, port: int) -> Server:
    """Read "host" or "host:port"."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:@\s]+)(?::(\d{0,5}))?", text)
    if not found:
        raise ValueError(
            "each server is a host, or host:port; special characters of a password are written as %XX"
        )
    if found[2] and not 1 <= int(found[2]) <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    return found[1].strip("[]"), int(found[2] or port)


def _options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    return options
