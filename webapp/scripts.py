"""A Redis client that runs our Lua scripts with as little between us and the server as the protocol needs.

Every click and most polls are one script. The client's own way to run one (its pool, its retries, its parsing and its
events) costs several times what the script itself takes; `make bench ARGS=claims` shows what is left of that.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import sha1
from pathlib import Path
from typing import Any

import redis
from redis.exceptions import NoScriptError, ReadOnlyError

LUA = Path(__file__).parent / "lua"
Connection = Any
"""Of redis-py: its types do not fit its own pools."""
TRIED_AGAIN = (redis.ConnectionError, redis.TimeoutError, ReadOnlyError)


class ScriptRedis(redis.Redis):
    """A client as any other, with `run_script`, whose connections are its own and are kept."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        pool: Any = self.connection_pool
        self._free: list[Connection] = []
        self._places = threading.BoundedSemaphore(pool.max_connections)
        self.wait_s = pool.timeout

    def run_script(self, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run `lua/<name>.lua` and return its reply; it is loaded again after SCRIPT FLUSH.

        A script whose reply was lost runs a second time, on a new connection. Raises redis.RedisError.
        """
        with self._connection() as connection:
            try:
                return _ask(connection, name, keys, args)
            except TRIED_AGAIN:
                connection.disconnect()
                return _ask(connection, name, keys, args)

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        if not self._places.acquire(timeout=self.wait_s):
            raise redis.ConnectionError("every connection is in use")
        try:
            connection = self._free.pop() if self._free else self.connection_pool.make_connection()
            try:
                yield connection
            finally:
                self._free.append(connection)
        finally:
            self._places.release()


def _ask(connection: Connection, name: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    text, digest = _script(name)
    command = connection.pack_command("EVALSHA", digest, len(keys), *keys, *args)
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
