"""The embedded database: what waits in C waits beside gevent's loop, and those who write take turns."""

import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.processes import ROOT
from webapp.stores import sqlite

OURS, PLAIN = "webapp.stores.sqlite.Connection", "sqlite3.Connection"
WAIT_S = 0.3
BEFORE = """
from gevent import monkey; monkey.patch_all()
import sqlite3, sys, threading, time, gevent, webapp.stores.sqlite

def connect(factory={factory}, wait_s=2):
    connection = sqlite3.connect(sys.argv[1], timeout=wait_s, factory=factory, check_same_thread=False)
    connection.cursor().execute("PRAGMA journal_mode=WAL")
    return connection

def begin_to_write(connection):
    connection.cursor().execute("INSERT INTO notes VALUES ('x')")

def turns_of_the_loop_during(call):
    def turn():
        while True:
            turns.append(1)
            gevent.sleep(0.001)
    turns = []
    loop = gevent.spawn(turn)
    call()
    loop.kill()
    return len(turns)

connection = connect()
connection.cursor().execute("CREATE TABLE notes (text TEXT)")
"""


def patched(tmp_path: Path, script: str, factory: str = OURS) -> str:
    """Run a script in a process that gevent has patched, and return what it prints; it must not complain."""
    whole = BEFORE.format(factory=factory) + textwrap.dedent(script)
    command = [sys.executable, "-c", whole, str(tmp_path / "notes.db")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.strip()


LONG = {
    "a query": """
        count = "SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 2000000) "
        print(turns_of_the_loop_during(lambda: connection.cursor().execute(count + "SELECT i FROM n)")))
        """,
    "a query that begins otherwise": """
        count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n LIMIT 2000000) SELECT count(*) FROM n"
        print(turns_of_the_loop_during(lambda: connection.cursor().execute(count)))
        """,
    "the lock": """
        other = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        release = gevent.get_hub().threadpool.spawn(lambda: (native_sleep(0.5), other.execute("ROLLBACK")))
        print(turns_of_the_loop_during(lambda: begin_to_write(connection)))
        """,
    "the lock that is asked for with many rows": """
        other = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        release = gevent.get_hub().threadpool.spawn(lambda: (native_sleep(0.5), other.execute("ROLLBACK")))
        rows = [("x",), ("y",)]
        write = connection.cursor().executemany
        print(turns_of_the_loop_during(lambda: write("INSERT INTO notes VALUES (?)", rows)))
        """,
}
FEW = 10


def fails(call: Callable[..., object], *args: object) -> None:
    with pytest.raises(sqlite3.Error):
        call(*args)


def opened(path: Path) -> sqlite.Connection:
    return sqlite3.connect(path, timeout=WAIT_S, factory=sqlite.Connection)


@pytest.mark.parametrize("what", LONG)
def test_the_loop_goes_on_while_sqlite_waits(tmp_path, what):
    """The control is Python's own connection, with which it makes no turn."""
    script = 'native_sleep = monkey.get_original("time", "sleep")\n' + textwrap.dedent(LONG[what])
    (tmp_path / "control").mkdir()
    assert int(patched(tmp_path, script)) > FEW
    assert int(patched(tmp_path / "control", script, PLAIN)) < FEW


def test_a_commit_waits_for_the_disk_in_a_thread_of_its_own(tmp_path):
    script = """
        native_id, ran = monkey.get_original("threading", "get_native_id"), {}
        connection.set_trace_callback(lambda statement: ran.setdefault(statement.split()[0], native_id()))
        begin_to_write(connection)
        connection.commit()
        print(ran["INSERT"] == native_id(), ran["COMMIT"] == native_id())
        """
    (tmp_path / "control").mkdir()
    assert patched(tmp_path, script) == "True False"
    assert patched(tmp_path / "control", script, PLAIN) == "True True"


def test_whoever_comes_first_writes_first(tmp_path):
    script = """
        order = []
        def write(number, connection):
            begin_to_write(connection)
            gevent.sleep(0.001)
            connection.commit()
            order.append(number)
        begin_to_write(connection)
        writers = [gevent.spawn(write, number, connect()) for number in range(15)]
        gevent.sleep(0.01)
        connection.commit()
        gevent.joinall(writers, raise_error=True)
        print(order == list(range(15)))
        """
    assert patched(tmp_path, script) == "True"


def test_whoever_holds_the_lock_gets_on_however_many_wait(tmp_path):
    """More wait than there are threads; with a wait in C in each of them nobody could commit."""
    script = """
        def write(connection):
            begin_to_write(connection)
            gevent.sleep(0.001)
            connection.commit()
        begin_to_write(connection)
        writers = [gevent.spawn(write, connect(wait_s=20)) for _ in range(2 * webapp.stores.sqlite.CONNECTIONS)]
        gevent.sleep(0.05)
        connection.commit()
        gevent.joinall(writers, raise_error=True)
        print(connection.cursor().execute("SELECT count(*) FROM notes").fetchone()[0])
        """
    assert patched(tmp_path, script) == str(2 * sqlite.CONNECTIONS + 1)


def test_when_one_gives_up_those_behind_do_too(tmp_path):
    """The control is how long one of them waits: ten in a row would wait ten times as long."""
    script = f"""
        other = sqlite3.connect(sys.argv[1], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        def refused(connection):
            try:
                begin_to_write(connection)
            except sqlite3.OperationalError as error:
                return "locked" in str(error)
        connections, began = [connect(wait_s={WAIT_S}) for _ in range(10)], time.monotonic()
        waiting = [gevent.spawn(refused, each) for each in connections]
        gevent.joinall(waiting)
        print(all(each.value for each in waiting), time.monotonic() - began < 5 * {WAIT_S})
        other.execute("ROLLBACK")
        begin_to_write(connections[0])
        """
    assert patched(tmp_path, script) == "True True"


def test_an_error_in_a_thread_is_raised_and_not_printed(tmp_path):
    script = """
        try:
            connection.cursor().execute("SELECT 1 FROM nowhere")
        except sqlite3.OperationalError as error:
            print(error)
        """
    assert patched(tmp_path, script) == "no such table: nowhere"


INSERT, TWICE = "INSERT INTO notes VALUES (1)", [(2,), (2,)]
ENDINGS: dict[str, Callable[[sqlite.Connection], object]] = {
    "commit": lambda connection: (connection.cursor().execute(INSERT), connection.commit()),
    "rollback": lambda connection: (connection.cursor().execute(INSERT), connection.rollback()),
    "close": lambda connection: (connection.cursor().execute(INSERT), connection.close()),
    "two commits": lambda connection: (
        connection.cursor().execute(INSERT),
        connection.commit(),
        connection.commit(),
    ),
    "nothing": lambda connection: (connection.commit(), connection.rollback()),
    "a row that is there, and rollback": lambda connection: (
        fails(connection.cursor().execute, "INSERT INTO notes VALUES (0)"),
        connection.rollback(),
    ),
    "many rows, one of them twice, and rollback": lambda connection: (
        fails(connection.cursor().executemany, "INSERT INTO notes VALUES (?)", TWICE),
        connection.rollback(),
    ),
    "bad grammar": lambda connection: fails(connection.cursor().execute, "INSERT INTO"),
    "no such table": lambda connection: fails(connection.cursor().execute, "DELETE FROM nowhere"),
    "a value of no type": lambda connection: (
        fails(connection.cursor().execute, "INSERT INTO notes VALUES (?)", (object(),)),
        connection.rollback(),
    ),
    "a new table": lambda connection: connection.cursor().execute("CREATE TABLE more (id INTEGER)"),
    "a pragma": lambda connection: connection.cursor().execute("PRAGMA synchronous=FULL"),
    "a query": lambda connection: connection.cursor().execute("SELECT 1").fetchall(),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_however_it_ends_the_next_one_can_write(tmp_path, ending):
    path = tmp_path / "notes.db"
    first, second = opened(path), opened(path)
    first.cursor().execute("CREATE TABLE notes (id INTEGER PRIMARY KEY)")
    first.cursor().execute("INSERT INTO notes VALUES (0)")
    first.commit()
    ENDINGS[ending](first)
    assert not first.line.turn.locked()
    second.cursor().execute("INSERT INTO notes VALUES (7)")
    assert second.line.turn.locked()
    second.close()
    first.close()


def test_what_was_read_before_is_no_obstacle_to_writing(tmp_path):
    """The control is a transaction that began to read, and is refused at once however long it would wait."""
    path = tmp_path / "notes.db"
    first, second = opened(path), opened(path)
    first.cursor().execute("PRAGMA journal_mode=WAL")
    first.cursor().execute("CREATE TABLE notes (id INTEGER PRIMARY KEY)")
    control = sqlite3.connect(path, isolation_level=None)
    control.execute("BEGIN")
    for reader in (second.cursor(), control):
        assert reader.execute("SELECT count(*) FROM notes").fetchall() == [(0,)]
    first.cursor().execute("INSERT INTO notes VALUES (1)")
    first.commit()
    second.cursor().execute("INSERT INTO notes VALUES (2)")
    second.commit()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        control.execute("INSERT INTO notes VALUES (3)")
    for connection in (first, second, control):
        connection.close()
