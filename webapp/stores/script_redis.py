"""A Redis client that runs our Lua scripts with little work of its own.

Every click and most polls are one script. redis-py's own way to run a script (pool, retries, parsing, events) takes
several times as long as the script itself; `make bench ARGS=claims` compares our way with `redis-benchmark`.
"""

from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

import redis
from flask import current_app
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from webapp.stores.pool import Connection, FairPool

ROOMS = Path(__file__).parents[1]
"""The rooms, each with or without scripts in `lua/`. `stores/lua/prelude.lua` is put in front of every script, and then
the prelude of its own room."""
TRIED_AGAIN = (redis.ConnectionError, redis.TimeoutError)


class ScriptRedis(redis.Redis):
    """A client with `run_script`. Scripts and all other commands share the connections of one pool."""

    connection_pool: FairPool

    def run_script(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script `<name>.lua` of any room's `lua/` and return its reply.

        A script whose reply was lost runs a second time, on a new connection, so a repeat must change nothing. After
        SCRIPT FLUSH the script is loaded again. Raises redis.RedisError.
        """
        connection = self.connection_pool.take()
        try:
            return _ask_twice(connection, name, keys, args)
        except redis.ResponseError:
            raise  # a whole reply was read
        except BaseException:
            # A reply that is still on its way would be taken for that to the next script.
            connection.disconnect()
            raise
        finally:
            self.connection_pool.give_back(connection)


def _ask_twice(connection: Connection, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    kept = connection.is_connected
    try:
        return _ask(connection, name, keys, args)
    except TRIED_AGAIN as error:
        connection.disconnect()
        if isinstance(error, redis.TimeoutError) and not kept:
            raise  # a new connection got no answer, so another one would get none either
        return _ask(connection, name, keys, args)


def _ask(connection: Connection, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    text, digest = script(name)
    command = [pack_command(("EVALSHA", digest, len(keys), *keys, *args))]
    connection.send_packed_command(command, check_health=False)
    try:
        return connection.read_response()
    except NoScriptError:
        connection.send_command("SCRIPT LOAD", text)
        connection.read_response()
        connection.send_packed_command(command, check_health=False)
        return connection.read_response()


@cache
def script(name: str) -> tuple[str, str]:
    """Return the text of `lua/<name>.lua` as Redis gets it, and its digest."""
    # Each room keeps its scripts in a lua/ of its own, and no two scripts have one name.
    path = next(ROOMS.glob(f"*/lua/{name}.lua"))
    preludes = {ROOMS / "stores/lua/prelude.lua": None, path.with_name("prelude.lua"): None}
    text = "".join(each.read_text() for each in (*preludes, path) if each.exists())
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


CONNECTIONS = 50
"""The most connections of one process to one Redis."""


def connect_redis(url: str, **options: Any) -> ScriptRedis:
    """Connect with short limits, so that a visitor gets "busy" soon when Redis is dead.

    A command whose reply was lost is sent once more. At most CONNECTIONS requests of a process talk to Redis at a time.
    The longest way to an error takes 2.1 s: 0.4 s for a free connection, 0.7 s for a reply, 0.3 s for a new connection,
    and 0.7 s for its reply. A connection sends no commands of its own before the first (no HELLO, no CLIENT SETINFO, no
    PING), because each would add to that.
    """
    pool = FairPool.of(
        url,
        max_connections=CONNECTIONS,
        timeout=0.4,
        socket_timeout=0.7,
        socket_connect_timeout=0.3,
        retry=Retry(NoBackoff(), 1),
        protocol=2,
        driver_info=None,
        **options,
    )
    return ScriptRedis(connection_pool=pool)


def line_redis() -> ScriptRedis:
    """Return the current app's connection to the Redis that holds the lines (text, not bytes)."""
    connection: ScriptRedis = current_app.extensions["line"]
    return connection
