"""SQLite under gevent: while one request waits for the database, the process answers others.

A web process is one thread, gevent's loop. SQLite waits in C: for its lock, for the disk at a commit, and during a long
query. The loop stands still meanwhile. The holder of the lock may be a request of the same process that waits for
Redis, and then both would wait forever.

So SQLite never waits for its lock here. In one process one transaction writes at a time. It asks for the lock again and
again, and the other writers of the process stand in line. Commits and queries wait in native threads.
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
"""Connections of a process, and a native thread for each, so that the holder of the lock finds one to commit in."""
LINE_WAIT_S = 10.0
"""How long a writer stands in line, as long as the line moves."""
PAUSE_S = 0.003
"""The pause between two attempts to take the lock."""
BEGINNERS = ("INSERT", "UPDATE", "DELETE", "REPLACE")
"""Statements before which Python begins a transaction, if none is open."""

T = TypeVar("T")


class Writers:
    """The writers of this process: one has the turn, the others get it in the order in which they came."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.given_up_at = 0.0

    def join(self) -> None:
        """Wait for the turn. Raises sqlite3.OperationalError when it does not come, or a writer before has given up."""
        came_at = time.monotonic()
        if not self.turn.acquire(timeout=LINE_WAIT_S):
            raise sqlite3.OperationalError("database is locked by this process")
        # Another process holds the lock for long: this writer has waited for it already, in line.
        if self.given_up_at > came_at:
            self.turn.release()
            raise sqlite3.OperationalError("database is locked, as it was for those before")


_lines: dict[str, Writers] = defaultdict(Writers)


class Connection(sqlite3.Connection):
    """A connection that takes the lock with its first statement that writes, and tries for `timeout` seconds.

    Reads before that keep no snapshot. SQLite refuses the lock to an old snapshot, however long one tries.
    """

    def __init__(self, database: str, *, timeout: float, **options: Any) -> None:
        super().__init__(database, **options | {"timeout": 0, "isolation_level": "IMMEDIATE"})
        self.lock_wait_s = timeout
        self.line, self.has_turn = _lines[database], False

    def cursor(self, *_: object) -> "Cursor":  # type: ignore[override]
        return super().cursor(Cursor)

    def commit(self) -> None:
        """Commit in a native thread, because that waits for the disk."""
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
        # The transaction has gone with the connection, and `in_transaction` cannot be asked any more.
        self._pass_on()

    def begin(self, call: Callable[..., T], *args: object) -> T:
        """Wait for the turn, and make a call that begins a transaction."""
        self.line.join()
        self.has_turn = True
        try:
            return self.patiently(call, *args)
        finally:
            # After an error no transaction is open, and the turn goes on at once.
            self.pass_on()

    def patiently(self, call: Callable[..., T], *args: object) -> T:
        """Make a call again and again while another process holds the lock; such a call has changed nothing."""
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
    """A cursor that reads in a native thread and writes in its own.

    A statement that writes is shorter than the way to a thread and back, and other writers wait for it.
    """

    connection: Connection

    def execute(self, statement: str, *args: object) -> "Cursor":
        return self._run(super().execute, statement, *args)

    def executemany(self, statement: str, *args: object) -> "Cursor":
        return self._run(super().executemany, statement, *args)

    def _run(self, call: Callable[..., "Cursor"], statement: str, *args: object) -> "Cursor":
        # In a transaction this connection has the lock, so no statement waits.
        if self.connection.in_transaction:
            return call(statement, *args)
        if statement.startswith(BEGINNERS):
            return self.connection.begin(call, statement, *args)
        return self.connection.patiently(partial(beside, call), statement, *args)


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def beside(call: Callable[..., T], *args: object) -> T:
    """Call in a native thread if gevent has patched the process, so that its loop goes on; else in this one."""
    if not is_module_patched("threading"):
        return call(*args)
    # gevent prints an error that is raised in its threads, so it is returned instead.
    result: Any = _threads().apply(wrap_errors(sqlite3.Error, call), args)
    if isinstance(result, sqlite3.Error):
        raise result
    return result  # type: ignore[no-any-return]


@cache
def _threads() -> ThreadPool:
    return ThreadPool(CONNECTIONS)
