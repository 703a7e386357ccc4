"""The world of the simulation: the real stores, the simulated clock, and the faults that can befall them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flask import Flask
from redis.connection import UnixDomainSocketConnection
from sqlalchemy import insert, select

from tests.simulation import edges
from tests.simulation.actors import Actor
from tests.simulation.edges import BELL, COUPON
from tests.simulation.reading import Books, RedisReader, Seen, read_books
from webapp import create_app
from webapp.accounts.passwords import UNUSABLE
from webapp.models import Coupon, User
from webapp.sale.members import TOLD
from webapp.sale.publishing import REVOCATIONS_TOLD
from webapp.stores.script_redis import ROOMS
from webapp.stores.sql import db

PEOPLE = range(1, 9)
START_MS = int(time.time() // 86_400) * 86_400_000
"""Near the clock of the real server, which lets results expire 30 days after the end."""
LOCK_KEPT_MS = 30_000
"""SQL ends a session that is silent for so long, and gives its lock back."""
MEMBERS = f"{{coupon:{COUPON}}}:members"


class World:
    """Both stores with one coupon and a few people. Everything that an actor does goes through its edges."""

    def __init__(self, app: Flask, socket: Path) -> None:
        self.app = app
        self.own = UnixDomainSocketConnection(
            path=str(socket),
            decode_responses=True,
            encoding_errors="surrogateescape",
            protocol=2,
            driver_info=None,
        )
        self.reader = RedisReader(self.own, COUPON)
        self.sql: Any = db.engine.raw_connection()
        if db.engine.name != "sqlite":
            self.sql.driver_connection.autocommit(True)
        self.jobs = edges.Jobs(self)
        self.tables = [table.name for table in db.metadata.sorted_tables]
        self.redis_away = self.sql_away = False
        self.now_ms = START_MS
        self.load_scripts()

    # What every example starts from

    def begin(self, *, quota: int | None, standby: int, opens_in_s: float, closes_in_s: float) -> None:
        """Empty both stores, and write the coupon and its people."""
        self.redis_away = self.sql_away = False
        self.now_ms, self.redis_ahead_ms = START_MS, 0
        self.lock_holder: Actor | None = None
        self.lock_connection: Any = None
        self.lock_taken_ms = 0
        self.jobs.waiting = []
        self.runs, self.ran = 1, False
        self.backup: dict[str, list[Any]] = {}
        self.replica: list[tuple[str, bytes]] | None = None
        self.command("FLUSHALL")
        self._set_clock()
        self.processes_end()
        moment = datetime.fromtimestamp(self.now_ms / 1000, UTC)
        with db.engine.begin() as connection:
            for table in reversed(db.metadata.sorted_tables):
                connection.execute(table.delete())
            people = [
                {
                    "id": user,
                    "email": f"{user}@example.com",
                    "name": f"user {user}",
                    "password_hash": UNUSABLE,
                }
                for user in PEOPLE
            ]
            connection.execute(insert(User), people)
            period = {
                "issue_start_at": moment + timedelta(seconds=opens_in_s),
                "issue_end_at": moment + timedelta(seconds=closes_in_s),
            }
            offer = {"title": "Coupon", "total_quantity": quota, "standby_limit": standby}
            connection.execute(insert(Coupon).values(id=COUPON, **offer, **period))
        self.books_are_old = True

    # Reading

    def seen(self) -> Seen:
        return self.reader.read(self.run)

    def books(self) -> Books:
        if self.books_are_old:
            cursor = self.sql.cursor()
            self._books = read_books(cursor, COUPON)
            cursor.close()
            self.books_are_old = False
        return self._books

    def command(self, *words: Any, raw: bool = False) -> Any:
        self.own.send_command(*words)
        return self.own.read_response(disable_decoding=raw)

    def closes_ms(self) -> int:
        with db.engine.connect() as connection:
            end: Any = connection.scalar(select(Coupon.issue_end_at))
        return round(end.timestamp() * 1000)

    def load_scripts(self) -> None:
        for path in ROOMS.glob("*/lua/*.lua"):
            if path.stem != "prelude":
                self.command("SCRIPT", "LOAD", edges.simulated_script(path.stem)[0])

    # The clock

    @property
    def run(self) -> str:
        return f"run{self.runs}"

    @property
    def redis_ms(self) -> int:
        return self.now_ms + self.redis_ahead_ms

    def pass_time(self, ms: int) -> list[str]:
        """Let time pass, and return the stores that answer again: an outage ends with it."""
        self.now_ms += ms
        self._set_clock()
        self.jobs.time_passed(ms)
        holder = self.lock_holder
        if holder is not None and self.now_ms - self.lock_taken_ms >= LOCK_KEPT_MS:
            holder.session_lost = True
            self._roll_back()
        back = ["Redis"] * self.redis_away + ["SQL"] * self.sql_away
        self.redis_away = self.sql_away = False
        return back

    def step_redis_clock(self, ms: int) -> None:
        self.redis_ahead_ms += ms
        self._set_clock()

    def _set_clock(self) -> None:
        seconds, ms = divmod(self.redis_ms, 1000)
        self.command("HSET", edges.CLOCK, "s", seconds, "us", ms * 1000, "info", f"run_id:{self.run}\r\n")
        if 0 < int(self.command("GET", BELL) or 0) <= self.redis_ms:
            self.lose_bell()

    def lose_list(self) -> None:
        self.command("DEL", MEMBERS)

    def cut_list(self) -> None:
        """A part of the list stays, with its mark: no script of ours can leave it so, but a damaged file may."""
        self.command("SET", MEMBERS, self.command("GETRANGE", MEMBERS, 0, 20))

    def lose_bell(self) -> None:
        self.command("DEL", BELL)

    # The lock of writers: the machine never lets two actors wait for each other in one thread

    def take_lock(self, actor: Actor, connection: Any) -> None:
        self.lock_holder, self.lock_connection, self.lock_taken_ms = actor, connection, self.now_ms

    def give_lock_back(self, actor: Actor, *, committed: bool) -> None:
        if self.lock_holder is actor:
            self.lock_holder = self.lock_connection = None
            self.books_are_old |= committed

    def is_free_for(self, actor: Actor) -> bool:
        return not actor.wants_lock or self.lock_holder in (None, actor)

    def _roll_back(self) -> None:
        self.lock_connection.rollback()
        self.lock_holder = self.lock_connection = None

    def processes_end(self) -> None:
        """What a process remembers ends with it."""
        self.app.extensions.pop(REVOCATIONS_TOLD, None)
        self.app.extensions.pop(TOLD, None)

    # Faults of Redis

    def start_redis_again(self) -> None:
        self.runs += 1
        self._set_clock()

    def wipe_redis(self) -> None:
        self.command("FLUSHALL")
        self._set_clock()

    def keep_replica(self) -> None:
        """A replica receives nothing from now on."""
        keys = [key for key in self.command("KEYS", "{coupon:*") if not key.endswith("bell")]
        self.replica = [(key, self.command("DUMP", key, raw=True)) for key in sorted(keys)]

    def fail_over(self) -> None:
        """The replica that is behind takes over."""
        assert self.replica is not None
        self.wipe_redis()
        for key, value in self.replica:
            self.command("RESTORE", key, 0, value)
        self.start_redis_again()

    # Faults of SQL

    def back_sql_up(self) -> None:
        with db.engine.connect() as connection:
            self.backup = {
                table.name: [dict(row._mapping) for row in connection.execute(table.select())]
                for table in db.metadata.sorted_tables
            }

    def put_sql_back(self) -> None:
        """SQL comes back as it was at its backup; whoever held a lock has lost it."""
        if self.lock_holder is not None:
            self.lock_holder.session_lost = True
            self._roll_back()
        with db.engine.begin() as connection:
            for table in reversed(db.metadata.sorted_tables):
                connection.execute(table.delete())
            for table in db.metadata.sorted_tables:
                if rows := self.backup[table.name]:
                    connection.execute(insert(table), rows)
        self.books_are_old = True

    def note_command(self, names: list[str]) -> None:
        self.ran = True


@contextmanager
def open_world(database_url: str, socket: Path) -> Iterator[World]:
    """Make the app on these stores, with the simulation at its edges."""
    settings = {
        "TESTING": True,
        "SECRET_KEY": "594fb7e7b2c9a088b79ba90ae019dd53566808cb3544e842ec18a17ecbe31189",
        "SQLALCHEMY_DATABASE_URI": database_url,
        "REDIS_URL": f"unix://{socket}",
        "QUEUE_REDIS_URL": f"unix://{socket}",
    }
    app = create_app(settings)
    with app.app_context():
        db.create_all()
        world = World(app, socket)
        with edges.standing_between(world, app):
            yield world
        app.extensions["ended_sessions"].stop()
        db.session.remove()
        db.engine.dispose()
