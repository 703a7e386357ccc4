"""A Redis client that runs our Lua scripts with as little between us and the server as the protocol needs.

Every click and most polls are one script. The client's own way to run one (its pool, its retries, its parsing and its
events) costs several times what the script itself takes; `make bench ARGS=claims` shows what is left of that.
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
from hiredis import pack_command
from redis.exceptions import NoScriptError, ReadOnlyError

LUA = Path(__file__).parent / "lua"
Connection = Any
"""Of redis-py: its types do not fit its own pools."""
TRIED_AGAIN = (redis.ConnectionError, redis.TimeoutError, ReadOnlyError)


class _Turn:
    """Somebody's turn to get a connection, which whoever gives one back hands over."""

    def __init__(self) -> None:
        self.come = threading.Event()
        self.connection: Connection = None


class ScriptRedis(redis.Redis):
    """A client as any other, with `run_script`, whose connections are its own and are kept.

    Whoever finds all of them in use waits in line: the first to come is the first to get one.
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
        """Run `lua/<name>.lua` and return its reply; it is loaded again after SCRIPT FLUSH.

        A script whose reply was lost runs a second time, on a new connection. Raises redis.RedisError.
        """
        with self._connection() as connection:
            kept = connection.is_connected
            try:
                return _ask(connection, name, keys, args)
            except TRIED_AGAIN as error:
                connection.disconnect()
                if isinstance(error, redis.TimeoutError) and not kept:
                    raise  # it was new and got no answer: the next would get none either, and somebody waits
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
            if self._unmade:
                self._unmade -= 1
                return self.connection_pool.make_connection()
            turn = _Turn()
            self._turns.append(turn)
        if not turn.come.wait(self.wait_s):
            with self._lock:
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
    text, digest = _script(name)
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
def _script(name: str) -> tuple[str, str]:
    text = (LUA / f"{name}.lua").read_text()
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()
