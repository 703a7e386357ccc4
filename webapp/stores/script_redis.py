"""A Redis client that runs our Lua scripts with little work of its own.

Every click and most polls are one script. redis-py's own way to run a script (pool, retries, parsing, events) takes
several times as long as the script itself; `make bench ARGS=claims` compares our way with `redis-benchmark`.
"""

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any, Protocol

import redis
from flask import current_app
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError
from redis.retry import Retry

from webapp.stores.addresses import Address, read_address
from webapp.stores.pool import Connection, FairPool
from webapp.stores.sentinels import Sentinels

ROOMS = Path(__file__).parents[1]
"""The rooms, each with or without scripts in `lua/`. `stores/lua/prelude.lua` is put in front of every script, and then
the prelude of its own room."""
SERVER = [pack_command(("INFO", "server"))]  # type: ignore[arg-type]
RUN_ID = re.compile(r"run_id:(\w+)")
TRIED_AGAIN = (redis.ConnectionError, redis.TimeoutError)


class Lines(Protocol):
    """What holds the lines: one server, or a Cluster (`webapp.stores.cluster`)."""

    def of(self, key: str) -> "ScriptRedis":
        """Return the client for this key, and for all keys with the same text in braces."""

    def each(self) -> list["ScriptRedis"]:
        """Return a client for each server that takes writes. Raises redis.RedisError."""

    def keys_everywhere(self, name: str) -> list[str]:
        """Return keys that begin with a name, one on each server that takes writes. Raises redis.RedisError."""

    def ask_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Return the replies to commands, each of one key, its second word; one round trip for each server.

        Raises redis.RedisError.
        """

    def is_apart(self, error: Exception) -> bool:
        """Return whether an error is one server's alone, so that the lines on others may go on."""


class ScriptRedis(redis.Redis):
    """A client with `run_script`. Scripts and all other commands share the connections of one pool."""

    connection_pool: FairPool

    def of(self, key: str) -> "ScriptRedis":
        return self

    def each(self) -> list["ScriptRedis"]:
        return [self]

    def keys_everywhere(self, name: str) -> list[str]:
        return [name]

    def is_apart(self, error: Exception) -> bool:
        return False

    def ask_all(self, commands: Sequence[Sequence[Any]], *, raise_on_error: bool = True) -> list[Any]:
        with self.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
            return pipe.execute(raise_on_error=raise_on_error)

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
    command = [pack_command(("EVALSHA", digest, len(keys), *keys, *args, _run_of_server(connection)))]
    connection.send_packed_command(command, check_health=False)
    try:
        return connection.read_response()
    except NoScriptError:
        connection.send_command("SCRIPT LOAD", text)
        connection.read_response()
        connection.send_packed_command(command, check_health=False)
        return connection.read_response()


def _run_of_server(connection: Connection) -> str:
    """Return the run of the server to which the connection leads, and ask for it the first time."""
    if not connection.is_connected:
        connection.connect()
    if not connection.run_id:
        connection.send_packed_command(SERVER, check_health=False)
        connection.run_id = RUN_ID.findall(str(connection.read_response()))[0]
    return str(connection.run_id)


def is_shared(client: ScriptRedis) -> bool:
    """Return whether something on the way, such as a proxy, puts the commands of many connections on a few of its own.

    Then a connection may outlive the server that it was told of. Where the account may not ask, nobody knows, and False
    is returned. Nothing is changed. Raises redis.RedisError.
    """
    held = [client.connection_pool.get_connection() for _ in range(2)]
    try:
        ours, again, others, at_last = (_id_of(held[which]) for which in (0, 0, 1, 0))
        return not ours == again == at_last or ours == others
    except redis.exceptions.NoPermissionError:
        return False
    finally:
        for connection in held:
            client.connection_pool.release(connection)


def _id_of(connection: Connection) -> Any:
    connection.send_command("CLIENT", "ID")
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
    """Connect to one server, or to the master that sentinels name. Nothing is sent before the first use.

    Raises ValueError for an address that is none of these.
    """
    address = read_address(url)
    if address.kind == "cluster":
        raise ValueError("it names a Redis Cluster, and this has to be one Redis, or a Sentinel")
    if address.kind == "sentinel":
        sentinels = Sentinels(address.master, address.servers, address.sentinel_options)
        # They take 0.2 s of a request at most, so a reply may take so much less.
        options = {"socket_timeout": 0.6} | options | {"locate": sentinels.locate}
    return connect_server(address, **options)


def connect_server(address: Address, **options: Any) -> ScriptRedis:
    """Connect with short limits, so that a visitor gets "busy" soon when Redis is dead.

    A command whose reply was lost is sent once more. At most CONNECTIONS requests of a process talk to Redis at a time.
    The longest way to an error takes 2.1 s: 0.4 s for a free connection, 0.7 s for a reply, 0.3 s for a new connection,
    and 0.7 s for its reply. Who waits for another's call has waited 0.4 s before. A new connection sends nothing of its
    own before the first command (no HELLO, no CLIENT SETINFO, no PING) but the question which run of the server it is.
    """
    limits = {"timeout": 0.4, "socket_timeout": 0.7, "socket_connect_timeout": 0.3}
    fixed = {"retry": Retry(NoBackoff(), 1), "protocol": 2, "driver_info": None}
    pool = FairPool.of(address.options, max_connections=CONNECTIONS, **limits | fixed | options)
    return ScriptRedis(connection_pool=pool)


def line_redis() -> Lines:
    """Return the current app's connections to what holds the lines (text, not bytes)."""
    connections: Lines = current_app.extensions["line"]
    return connections
