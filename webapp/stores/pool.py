"""The connections of one process to one Redis, for our scripts and for redis-py's own commands alike.

The callers get them in the order in which they came. A server that has become a replica counts as a lost connection: it
would answer reads with old data for as long as a connection to it is kept.
"""

import re
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from socket import socket
from typing import Any, ClassVar, cast

import redis
from redis.exceptions import MasterDownError, ReadOnlyError

Connection = Any
"""A connection of redis-py, whose types do not fit its own pools."""
CODE = re.compile(r"(?:^|: -?)([A-Z]{2,}) ")
"""The code of an error. Redis 6.2 puts that of a command inside a script behind the script's own words."""
DEMOTED = frozenset({"READONLY", "MASTERDOWN", "UNBLOCKED"})
"""What a server says that is a replica, or has just become one."""


class Demoted(redis.ConnectionError):
    """The server has become a replica. Every connection to it is dropped, and a new one leads to the new master."""


def code_of(error: redis.ResponseError) -> str:
    """Return the code in the text of an error, or "": redis-py takes away ERR, and every code that has a class."""
    # A pipeline puts the command before the error, so the last one is Redis's own.
    found = CODE.findall(str(error))
    return str(found[-1]) if found else ""


def is_demoted(error: redis.ResponseError) -> bool:
    return isinstance(error, ReadOnlyError | MasterDownError) or code_of(error) in DEMOTED


class _Watched:
    """What our connections do beside those of redis-py: they notice a server that has become a replica."""

    pool: "FairPool"
    made_in = 0
    """The generation of the pool in which it was connected."""
    run_id = ""
    """The run of the server to which it leads, once that was asked for: no connection outlives its server."""
    host: str
    port: int

    def _connect(self) -> socket:
        self.made_in, self.run_id = self.pool.generation, ""
        if self.pool.locate is not None:
            self.host, self.port = self.pool.locate()
        return cast(socket, super()._connect())  # type: ignore[misc]

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.ResponseError as error:
            if not is_demoted(error):
                raise
            self.pool.drop(self)
            raise Demoted(str(error)) from error


class TCPConnection(_Watched, redis.Connection):
    pass


class UnixConnection(_Watched, redis.UnixDomainSocketConnection):
    pass


class TLSConnection(_Watched, redis.SSLConnection):
    """A connection that shares the certificates that an earlier one of the process has read.

    redis-py reads all authorities of the machine for every connection, which takes 24 ms of a core.
    """

    read: ClassVar[dict[str, ssl.SSLContext]] = {}

    def _wrap_socket_with_ssl(self, sock: socket) -> ssl.SSLSocket:
        settings = {name: value for name, value in self.pool.connection_kwargs.items() if "ssl" in name}
        context = self.read.get(key := repr(sorted(settings.items())))
        if context is None or self.ssl_validate_ocsp or self.ssl_validate_ocsp_stapled:
            wrapped: ssl.SSLSocket = super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
            self.read[key] = wrapped.context
            return wrapped
        return context.wrap_socket(sock, server_hostname=self.host)


CLASSES: dict[type | None, type] = {
    redis.SSLConnection: TLSConnection,
    redis.UnixDomainSocketConnection: UnixConnection,
}


class _Turn:
    """A caller that waits for a connection. The next caller that gives one back hands it over."""

    def __init__(self) -> None:
        self.come = threading.Event()
        self.connection: Connection = None


class FairPool(redis.ConnectionPool):
    """A pool of redis-py whose callers wait `timeout` seconds at most, and get connections in the order they came.

    Connections are made when they are needed first, and kept open: a small site has few.
    """

    def __init__(
        self, *, timeout: float, locate: Callable[[], tuple[str, int]] | None = None, **options: Any
    ) -> None:
        """`locate` returns the host and the port of the server, and is asked for each new connection."""
        self.timeout, self.locate = timeout, locate
        self.generation = 0
        super().__init__(**options)

    @classmethod
    def of(cls, named: Mapping[str, Any], **options: Any) -> "FairPool":
        """Return a pool for the options of an address; nothing is sent before the first use."""
        kind = CLASSES.get(named.get("connection_class"), TCPConnection)
        return cls(**options | {**named, "connection_class": kind})

    def reset(self) -> None:
        self._order = threading.Lock()
        self._free: list[Connection] = []
        self._made: list[Connection] = []
        self._turns: deque[_Turn] = deque()
        super().reset()

    def make_connection(self) -> Connection:
        connection: Connection = super().make_connection()
        connection.pool = self
        self._made.append(connection)
        return connection

    def take(self) -> Connection:
        """Return a connection, connected or not, which the caller gives back. Raises redis.ConnectionError."""
        with self._order:
            if self._free:
                return self._free.pop()
            if len(self._made) < self.max_connections:
                return self.make_connection()
            turn = _Turn()
            self._turns.append(turn)
        if not turn.come.wait(self.timeout):
            with self._order:
                # If the turn is gone, a connection was handed over just after the time was up: use it.
                if turn in self._turns:
                    self._turns.remove(turn)
                    raise redis.ConnectionError("every connection is in use")
        return turn.connection

    def give_back(self, connection: Connection) -> None:
        if connection.made_in != self.generation:
            connection.disconnect()
        with self._order:
            if not self._turns:
                self._free.append(connection)
                return
            turn = self._turns.popleft()
            turn.connection = connection
        turn.come.set()

    def drop(self, demoted: Connection) -> None:
        """Drop every connection that was made before this one was found to lead to a replica.

        Those in use are dropped when they are given back.
        """
        with self._order:
            if demoted.made_in != self.generation:
                return  # another connection has noticed it before
            self.generation += 1
            for connection in self._free:
                connection.disconnect()

    def open(self, count: int) -> None:
        """Connect so many connections ahead of their first use. Raises redis.RedisError."""
        held = [self.take() for _ in range(count)]
        try:
            for connection in held:
                connection.connect()
        finally:
            for connection in held:
                self.give_back(connection)

    # What redis-py's own commands ask of a pool

    def get_connection(self, command_name: object = None, *keys: object, **options: object) -> Connection:
        self._checkpid()
        connection = self.take()
        try:
            connection.connect()
            if not _is_clean(connection):
                connection.disconnect()
                connection.connect()
        except BaseException:
            self.give_back(connection)
            raise
        return connection

    def release(self, connection: Connection) -> None:
        self._checkpid()
        if self.owns_connection(connection):
            self.give_back(connection)

    def disconnect(self, inuse_connections: bool = True) -> None:
        for connection in list(self._made if inuse_connections else self._free):
            connection.disconnect()


def _is_clean(connection: Connection) -> bool:
    """Whether nothing waits to be read: neither the end of the connection nor a reply that nobody has read."""
    try:
        return not connection.can_read()
    except (redis.RedisError, OSError):
        return False
