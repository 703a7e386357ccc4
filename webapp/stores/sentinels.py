"""The sentinels that know which server is the master."""

from collections.abc import Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from webapp.stores.addresses import Server
from webapp.stores.pool import FairPool

ANSWER_S = 0.2
"""How long each is waited for, because a visitor waits meanwhile."""


class MasterUnknown(redis.ConnectionError):
    """No sentinel that answers knows the master."""


class Sentinels:
    """Several sentinels of one master. The one that answered last is asked first, in each process for itself."""

    def __init__(self, master: str, servers: Sequence[Server], options: Mapping[str, Any]) -> None:
        self.master = master
        self.sentinels = [_connect(server, options) for server in servers]

    def locate(self) -> Server:
        """Return the host and the port of the master. Raises redis.ConnectionError."""
        why: list[str] = []
        for sentinel in self.sentinels:
            try:
                found: Any = sentinel.sentinel_get_master_addr_by_name(self.master)
            except redis.RedisError as error:
                why.append(str(error))
                continue
            if found:
                self.sentinels = sorted(self.sentinels, key=lambda each: each is not sentinel)
                return str(found[0]), int(found[1])
            why.append("it knows no such master")
        raise MasterUnknown(f"no sentinel names the master {self.master}: {'; '.join(why)}")


def _connect(server: Server, options: Mapping[str, Any]) -> redis.Redis:
    pool = FairPool.of(
        {**options, "host": server[0], "port": server[1]},
        max_connections=4,
        timeout=ANSWER_S,
        socket_timeout=ANSWER_S,
        socket_connect_timeout=ANSWER_S,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
        decode_responses=True,
    )
    return redis.Redis(connection_pool=pool)
