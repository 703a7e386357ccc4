"""A Redis client that runs our Lua scripts with little work of its own.

Every click and most polls are one script. redis-py's own way to run a script (pool, retries, parsing, events) takes
several times as long as the script itself; `make bench ARGS=claims` compares our way with `redis-benchmark`.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

import redis
from flask import current_app
from hiredis import pack_command
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ReadOnlyError
from redis.retry import Retry

ROOMS = Path(__file__).parents[1]
"""The rooms, each with or without scripts in `lua/`. `stores/lua/prelude.lua` is put in front of every script, and then
the prelude of its own room."""
Connection = Any
"""A connection of redis-py, whose types do not fit its own pools."""
TRIED_AGAIN = (redis.ConnectionError, redis.TimeoutError, ReadOnlyError)


class _Turn:
    """A caller that waits for a connection. The next caller that gives one back hands it over."""

    def __init__(self) -> None:
        self.come = threading.Event()
        self.connection: Connection = None


class ScriptRedis(redis.Redis):
    """A client with `run_script`, which has connections of its own and keeps them open.

    A caller that finds all of them in use waits; the connections go to the callers in the order in which they came.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        pool: Any = self.connection_pool
        self.wait_s = pool.timeout
        self._unmade = pool.max_connections
        self._free: list[Connection] = []
        self._turns: deque[_Turn] = deque()
        self._lock = threading.Lock()

    def run_script(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run the script `<name>.lua` of any room's `lua/` and return its reply.

        A script whose reply was lost runs a second time, on a new connection, so a repeat must change nothing. After
        SCRIPT FLUSH the script is loaded again. Raises redis.RedisError.
        """
        with self._connection() as connection:
            kept = connection.is_connected
            try:
                return _ask(connection, name, keys, args)
            except TRIED_AGAIN as error:
                connection.disconnect()
                if isinstance(error, redis.TimeoutError) and not kept:
                    raise  # a new connection got no answer, so another one would get none either
                return _ask(connection, name, keys, args)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _take(self) -> Connection:
        with self._lock:
            if self._free:
                return self._free.pop()
            # Connections are made when they are needed first: a small site has few.
            if self._unmade:
                self._unmade -= 1
                return self.connection_pool.make_connection()
            turn = _Turn()
            self._turns.append(turn)
        if not turn.come.wait(self.wait_s):
            with self._lock:
                # If the turn is gone, a connection was handed over just after the time was up: use it.
                if turn in self._turns:
                    self._turns.remove(turn)
                    raise redis.ConnectionError("every connection is in use")
        return turn.connection

    def _give_back(self, connection: Connection) -> None:
        with self._lock:
            if not self._turns:
                self._free.append(connection)
                return
            turn = self._turns.popleft()
            turn.connection = connection
        turn.come.set()


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
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=0.4,
        socket_timeout=0.7,
        socket_connect_timeout=0.3,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[ReadOnlyError],
        protocol=2,
        driver_info=None,
        **options,
    )
    return ScriptRedis(connection_pool=pool)


def line_redis() -> ScriptRedis:
    """Return the current app's connection to the Redis that holds the lines (text, not bytes)."""
    connection: ScriptRedis = current_app.extensions["line"]
    return connection
