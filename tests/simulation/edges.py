"""The edges of the product, where the simulation stands: the wire to Redis, the driver of SQL, the clock, the queue.

Nothing inside the product is changed. A script is the product's own text behind `edge.lua`, which answers TIME from a
key of the simulation; so does the wire for a plain TIME or INFO, and for how long a bell still lives. A connection ends
with the run of the server to which it was made.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from hashlib import sha1
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

import redis
from flask import Flask
from hiredis import pack_command
from sqlalchemy import event

from tests.simulation.actors import Crossing, running, stop_before
from webapp.accounts import sessions
from webapp.line import together
from webapp.line.together import Together
from webapp.sale import admission, bells, claims, epochs
from webapp.stores import cluster, script_redis
from webapp.stores.pool import TCPConnection, UnixConnection
from webapp.stores.queue import BELL_TTL_S
from webapp.stores.sql import db

if TYPE_CHECKING:
    from tests.simulation.world import World

EDGE = (Path(__file__).parent / "edge.lua").read_text()
"""What stands in front of every script."""
COUPON = 1
CLOCK = f"simulated{{coupon:{COUPON}}}"
"""The key with the simulation's time and run of the server, on the node of the line: fields s, us, info."""
BELL = f"{{coupon:{COUPON}}}:bell"
ON_THE_WIRE = (
    (pack_command(("TIME",)), pack_command(("HMGET", CLOCK, "s", "us"))),
    (pack_command(("INFO", "server")), pack_command(("HGET", CLOCK, "info"))),
    (
        pack_command(("PTTL", BELL)),
        pack_command(("EVAL", EDGE + "return redis.call('PTTL', KEYS[1])", 1, BELL)),
    ),
)
WRITES = ("INSERT", "UPDATE", "DELETE")
_script = script_redis.script.__wrapped__
_names: dict[str, str] = {}


@cache
def simulated_script(name: str) -> tuple[str, str]:
    text = EDGE + _script(name)[0]
    digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
    _names[digest] = name
    return text, digest


def commands(packed: bytes) -> Iterator[list[bytes]]:
    """Yield each command of what is sent at once."""
    at = 0
    while at < len(packed):
        end = packed.index(b"\r\n", at)
        parts, at, found = int(packed[at + 1 : end]), end + 2, []
        for _ in range(parts):
            end = packed.index(b"\r\n", at)
            at = end + 2 + int(packed[at + 1 : end])
            found.append(packed[end + 2 : at])
            at += 2
        yield found


def users_of(command: list[bytes]) -> list[int]:
    """Return the users of one call of claim.lua, as it is sent: they stand between two settings and the run."""
    keys = int(command[2])
    return [int(user) for user in command[3 + keys + 2 : -1]]


def name_of(command: list[bytes]) -> str:
    name = command[0].decode()
    return f"{_names[command[1].decode()]}.lua" if name == "EVALSHA" else name


class Wire:
    """A connection to the real server on which commands can be refused, and replies lost."""

    world: "World"
    server = 0
    """The run of the server with which it was connected."""

    def _connect(self) -> Any:
        self.server = self.world.runs
        return super()._connect()  # type: ignore[misc]

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        packed = b"".join([command] if isinstance(command, bytes) else command)
        names = [name_of(each) for each in commands(packed)]
        crossing = Crossing.GOES if names == ["SCRIPT"] else stop_before(" + ".join(names))
        if crossing is Crossing.REFUSED or (self.world.redis_away and running()):
            raise redis.ConnectionError("refused by the simulation")
        if self.server != self.world.runs:
            self.disconnect()
            raise redis.ConnectionError("the server has ended, and its connections with it")
        self.world.note_command(names)
        self.world.pressed = users_of(next(commands(packed))) if names == ["claim.lua"] else []
        for asked, instead in ON_THE_WIRE:
            packed = packed.replace(asked, instead)
        super().send_packed_command([packed], check_health=False)  # type: ignore[misc]
        if crossing is Crossing.REPLY_LOST:
            for _ in names:
                self._read_anything()
            self.disconnect()
            raise redis.ConnectionError("reply lost by the simulation")

    def _read_anything(self) -> None:
        with suppress(redis.ResponseError):
            super().read_response()  # type: ignore[misc]


class UnixWire(Wire, UnixConnection):
    pass


class TCPWire(Wire, TCPConnection):
    pass


WIRES = {UnixConnection: UnixWire, TCPConnection: TCPWire}


class Jobs:
    """The queue of bells, as a list of coupon ids. RQ itself is not simulated."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.waiting: list[int] = []
        self.key, self.connection = "queue", SimpleNamespace(ltrim=lambda *_: None)

    def time_passed(self, ms: int) -> None:
        """A job that waits for longer than it may is gone."""
        if ms >= BELL_TTL_S * 1000:
            self.waiting = []

    def enqueue(self, _function: str, coupon_id: int, **_options: object) -> None:
        crossing = stop_before("the queue")
        if crossing is Crossing.REFUSED or self.world.redis_away:
            raise redis.ConnectionError("refused by the simulation")
        self.waiting.append(coupon_id)
        if crossing is Crossing.REPLY_LOST:
            raise redis.ConnectionError("reply lost by the simulation")


class Driver:
    """The edge of SQL: stops an actor before it takes the lock of writers and before it commits; lets SQL refuse."""

    def __init__(self, world: "World", dialect: Any) -> None:
        self.world, self.dialect = world, dialect
        self.commit, self.roll_back = dialect.do_commit, dialect.do_rollback

    def do_execute(self, cursor: Any, statement: str, *_: object) -> None:
        actor = running()
        if actor is None:
            return
        if statement.lstrip().startswith(WRITES) and self.world.lock_holder is not actor:
            crossing = stop_before("the row lock", wants_lock=True)
            if crossing is not Crossing.GOES:
                raise self.error("the lock was not given")
            self.world.take_lock(actor, cursor.connection)
        if self.world.sql_away or actor.session_lost:
            self.lose(cursor.connection)

    def do_commit(self, connection: Any) -> None:
        actor = running()
        if actor is None or self.world.lock_holder is not actor:
            self.commit(connection)
            return
        crossing = stop_before("the commit")
        if crossing is Crossing.REFUSED or self.world.sql_away or actor.session_lost:
            self.lose(connection)
        self.commit(connection)
        self.world.give_lock_back(actor, committed=True)
        if crossing is Crossing.REPLY_LOST:
            raise self.error("the answer to the commit is lost")

    def do_rollback(self, connection: Any) -> None:
        self.roll_back(connection)
        if actor := running():
            self.world.give_lock_back(actor, committed=False)

    def lose(self, connection: Any) -> NoReturn:
        """Lose the connection: the server rolls back."""
        self.do_rollback(connection)
        raise self.error("the connection is lost")

    def error(self, words: str) -> Exception:
        error: Exception = self.dialect.loaded_dbapi.OperationalError(words)
        return error

    @contextmanager
    def watching(self) -> Iterator[None]:
        for statements in ("do_execute", "do_executemany"):
            event.listen(db.engine, statements, self.do_execute)
        with (
            patch.object(self.dialect, "do_commit", self.do_commit),
            patch.object(self.dialect, "do_rollback", self.do_rollback),
        ):
            yield


class Travellers:
    """Stands where people ask together: says in which order they came, and stops an actor that waits for its turn."""

    def __init__(self, world: "World", app: Flask) -> None:
        self.world, self.app, self.ask = world, app, Together.ask

    def ask_in_order(self, together: Together[Any], coupon_id: int, user_id: int) -> Any:
        asked = next(self.world.asks)
        if actor := running():
            pressed = together is self.app.extensions["clicks"]
            actor.asks = "claim.lua" if pressed else "read_standing.lua"
        self.world.asking[asked] = user_id
        try:
            return self.ask(together, coupon_id, user_id)
        finally:
            del self.world.asking[asked]

    def wait_for_turn(self, seat: Any) -> bool:
        if actor := running():
            actor.seat = seat
            try:
                stop_before("its turn")
            finally:
                actor.seat = None
        return bool(seat.come.is_set())


def simulated_time(world: "World") -> Any:
    """Return a module `time` for the admission: a pause is a crossing like any other."""
    return SimpleNamespace(monotonic=lambda: world.now_ms / 1000, sleep=lambda _s: stop_before("a pause"))


def simulated_datetime(world: "World") -> type[datetime]:
    class Simulated(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(world.now_ms / 1000, tz or UTC)

    return Simulated


@contextmanager
def standing_between(world: "World", app: Flask) -> Iterator[None]:
    """Put the simulation between the app and its stores."""
    Wire.world = world
    for server in app.extensions["line"].each():
        pool = server.connection_pool
        pool.disconnect()
        pool.reset()
        pool.connection_class = WIRES[pool.connection_class]
    travellers = Travellers(world, app)
    with ExitStack() as stack:
        stack.enter_context(Driver(world, db.engine.dialect).watching())
        for target, name, instead in (
            (together, "wait_for_turn", travellers.wait_for_turn),
            (Together, "ask", lambda *asked: travellers.ask_in_order(*asked)),
            (script_redis, "script", simulated_script),
            (admission, "time", simulated_time(world)),
            (bells, "bell_queue", lambda: world.jobs),
            # One thread: a request makes the gate itself, as the thread would that it waits for.
            (claims, "wait_for_gate", epochs.ensure_open),
            # No time passes but by the machine's choice, so nobody waits for another node.
            (cluster, "FOLLOWED_S", -1),
            (sessions.EndedSessions, "tell_again", lambda _self: None),
        ):
            stack.enter_context(patch.object(target, name, instead))
        stack.enter_context(patch("webapp.models.columns.datetime", simulated_datetime(world)))
        yield
