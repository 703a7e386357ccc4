"""The embedded database in a process that has others to answer: nobody else waits while SQLite waits.

A web process is one thread, gevent's loop. SQLite waits in C, for its lock, for the disk at a commit, through a long
query; the loop would stand still with it, and with the loop whoever holds the lock, if that is a request of the same
process which waits for Redis. So SQLite never waits for its lock: of one process one transaction writes at a time, who
comes first asks again until it is free, and the others stand in line. The other two waits are those of native threads.
"""

import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeVar

from gevent.monkey import is_module_patched
from gevent.threadpool import ThreadPool
from gevent.util import wrap_errors

CONNECTIONS = 20
"""Connections a process, and a native thread for each: whoever holds the lock finds one to commit in."""
LINE_WAIT_S = 10.0
"""How long to stand in line, as long as it moves."""
PAUSE_S = 0.003
"""Between two questions whether the lock is free."""
BEGINNERS = ("INSERT", "UPDATE", "DELETE", "REPLACE")
"""Before these Python begins a transaction, if none is open."""

T = TypeVar("T")


class Line:
    """Who wants to write in this process: one has the turn, the others get it in the order in which they came."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.given_up_at = 0.0

    def join(self) -> None:
        """Wait for the turn. Whoever saw somebody give up in front of them need not wait for the same in vain."""
        came_at = time.monotonic()
        if not self.turn.acquire(timeout=LINE_WAIT_S):
            raise sqlite3.OperationalError("database is locked by this process")
        if self.given_up_at > came_at:
            self.turn.release()
            raise sqlite3.OperationalError("database is locked, as it was for those before")


_lines: dict[str, Line] = defaultdict(Line)


class Connection(sqlite3.Connection):
    """Takes the lock with the first statement that writes, and asks for it up to `timeout` seconds.

    What was read before holds no snapshot, for which the lock could be refused however long one asks.
    """

    def __init__(self, database: str, *, timeout: float, **options: Any) -> None:
        super().__init__(database, **options | {"timeout": 0, "isolation_level": "IMMEDIATE"})
        self.lock_wait_s = timeout
        self.line, self.has_turn = _lines[database], False

    def cursor(self, *_: Any) -> "Cursor":  # type: ignore[override]
        return super().cursor(Cursor)

    def commit(self) -> None:
        try:
            if self.in_transaction:
                beside(super().commit)
        finally:
            self.pass_on()

    def rollback(self) -> None:
        super().rollback()
        self.pass_on()

    def close(self) -> None:
        super().close()
        self._pass_on()

    def begin(self, call: Callable[..., T], *args: Any) -> T:
        """Call what begins a transaction, in turn."""
        self.line.join()
        self.has_turn = True
        try:
            return self.patiently(call, *args)
        finally:
            self.pass_on()

    def patiently(self, call: Callable[..., T], *args: Any) -> T:
        """Call, again while another process holds the lock: nothing was done then."""
        until = time.monotonic() + self.lock_wait_s
        while True:
            try:
                return call(*args)
            except sqlite3.OperationalError as error:
                if not _is_locked(error):
                    raise
                if time.monotonic() > until:
                    self.line.given_up_at = time.monotonic()
                    raise
            time.sleep(PAUSE_S)

    def pass_on(self) -> None:
        """Give the turn to the next in line, unless a transaction is open."""
        if not self.in_transaction:
            self._pass_on()

    def _pass_on(self) -> None:
        if self.has_turn:
            self.has_turn = False
            self.line.turn.release()


class Cursor(sqlite3.Cursor):
    """Reads in a native thread, and writes where it is: others wait for the lock, and to a thread and back takes longer
    than a statement that writes."""

    connection: Connection

    def execute(self, statement: str, *args: Any) -> "Cursor":
        return self._run(super().execute, statement, *args)

    def executemany(self, statement: str, *args: Any) -> "Cursor":
        return self._run(super().executemany, statement, *args)

    def _run(self, call: Callable[..., "Cursor"], statement: str, *args: Any) -> "Cursor":
        if self.connection.in_transaction:
            return call(statement, *args)
        if statement.startswith(BEGINNERS):
            return self.connection.begin(call, statement, *args)
        return self.connection.patiently(partial(beside, call), statement, *args)


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def beside(call: Callable[..., T], *args: Any) -> T:
    """Call in a native thread where gevent has patched the process, so that its loop goes on; else right here."""
    if not is_module_patched("threading"):
        return call(*args)
    # An error that is raised in a thread of gevent's would be printed, too.
    result: Any = _threads().apply(wrap_errors(sqlite3.Error, call), args)
    if isinstance(result, sqlite3.Error):
        raise result
    return result  # type: ignore[no-any-return]


@cache
def _threads() -> ThreadPool:
    return ThreadPool(CONNECTIONS)
