"""The world of the simulation: the real stores, the simulated clock, and the faults that can befall them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from typing import Any

from flask import Flask
from sqlalchemy import Connection, func, insert, select

from deploy.stores import Valkey
from tests.simulation import edges
from tests.simulation.actors import Actor
from tests.simulation.edges import BELL, COUPON
from tests.simulation.reading import OTHER, Books, RedisReader, Seen, read_books
from tests.tables import emptied_tables
from webapp import create_app
from webapp.accounts.passwords import UNUSABLE
from webapp.models import DRAFT, OPERATOR, USER, Coupon, LogEntry, LogHead, PoolCode, Upload, User
from webapp.models import OWNER as OF_OWNERS
from webapp.models.uploads import COUNTED
from webapp.sale import claims
from webapp.sale.drawing import CODES
from webapp.sale.members import TOLD
from webapp.sale.publishing import REVOCATIONS_TOLD
from webapp.stores.script_redis import ROOMS, ScriptRedis, connect_redis
from webapp.stores.sql import db

PEOPLE = range(1, 9)
OWNER, OPERATORS = 100, (101, 102, 103)
"""Who decides, where two people do."""
ROLES = {OWNER: OF_OWNERS, **dict.fromkeys(OPERATORS, OPERATOR)}
START_MS = int(time.time() // 86_400) * 86_400_000
"""Near the clock of the real server, which lets results expire 30 days after the end."""
LOCK_KEPT_MS = 30_000
"""SQL ends a session that is silent for so long, and gives its lock back."""
MEMBERS, ELSEWHERE = (f"{{coupon:{COUPON}}}:{key}" for key in ("members", "elsewhere"))


class World:
    """Both stores with one coupon and a few people. Everything that an actor does goes through its edges."""

    def __init__(self, app: Flask, server: Valkey) -> None:
        self.app = app
        read: Any = {"decode_responses": True, "encoding_errors": "surrogateescape"}
        # The wire is not in its way.
        self.own = connect_redis(server.url, **read).connection_pool.make_connection()
        self.reader = RedisReader(self.own, COUPON)
        self.sql: Any = db.engine.raw_connection()
        if db.engine.name != "sqlite":
            self.sql.driver_connection.autocommit(True)
        self.jobs = edges.Jobs(self)
        self.redis_away = self.sql_away = False
        self.runs = 1
        self.asks = count()
        self.asking: dict[int, int] = {}
        """Who asks the line and has no answer yet, in the order in which they came."""
        self.pressed: list[int] = []
        """Whose clicks the last command took to Redis, in their order there."""
        self.now_ms = START_MS
        self.load_scripts()

    # What every example starts from

    def begin(
        self,
        *,
        quota: int | None,
        standby: int,
        opens_in_s: float,
        closes_in_s: float,
        pool: int | None,
        waves: bool,
        two: bool = False,
    ) -> None:
        """Empty both stores, and write the coupon and its people, and another wave if there are `waves`.

        With `two`, two people decide what the rule names.
        """
        self.two = self.app.config["TWO_PERSON_RULE"] = two
        self.redis_away = self.sql_away = False
        self.now_ms, self.redis_ahead_ms, self.leaps = START_MS, 0, 0
        self.lock_holder: Actor | None = None
        self.lock_connection: Any = None
        self.lock_taken_ms = 0
        self.jobs.waiting = []
        self.runs, self.ran, self.codes = 1, False, 0
        self.backup: dict[str, list[Any]] = {}
        self.replica: list[tuple[str, bytes]] | None = None
        self.command("FLUSHALL")
        self._set_clock()
        self.new_connections()
        self.processes_end()
        moment = datetime.fromtimestamp(self.now_ms / 1000, UTC)
        with db.engine.begin() as connection:
            for table in emptied_tables():
                connection.execute(table.delete())
            people = [
                {
                    "id": user,
                    "email": f"{user}@example.com",
                    "name": f"user {user}",
                    "password_hash": UNUSABLE,
                    # Accounts that are new are told to the lines one by one, which would mend what is wrong there.
                    "changed_at": moment - timedelta(days=1),
                }
                for user in (*PEOPLE, *((OWNER, *OPERATORS) if two else ()))
            ]
            for person in people:
                person["role"] = ROLES.get(person["id"], USER)
            connection.execute(insert(User), people)
            # The log is never emptied.
            self.log_from = connection.scalar(select(func.max(LogEntry.id))) or 0
            period = {
                "issue_start_at": moment + timedelta(seconds=opens_in_s),
                "issue_end_at": moment + timedelta(seconds=closes_in_s),
            }
            offer = {"title": "Coupon", "total_quantity": quota, "standby_limit": standby}
            wave = {"campaign_id": COUPON if waves else None, "one_per_campaign": waves}
            connection.execute(insert(Coupon).values(id=COUPON, **offer, **period, **wave, pool_left=pool))
            if waves:
                # Nobody sweeps a draft: what happens in the other wave, others do.
                connection.execute(
                    insert(Coupon).values(id=OTHER, title="Other", **period, **wave, status=DRAFT)
                )
            if pool is not None:
                self._write_pool(connection, pool)
        self.books_are_old = True

    def _write_pool(self, connection: Connection, count: int) -> None:
        """Write a file of codes that counts."""
        file = {"kind": CODES, "coupon_id": COUPON, "state": COUNTED, "good": count, "percent": 100}
        connection.execute(insert(Upload).values(id=1, **file))
        lines = enumerate(self.new_codes(count), 1)
        connection.execute(
            insert(PoolCode), [{"upload_id": 1, "line": line, "code": code} for line, code in lines]
        )

    def new_codes(self, count: int) -> list[str]:
        """Return codes that were in no file before."""
        self.codes += count
        return [f"CODE-{number:03}" for number in range(self.codes - count + 1, self.codes + 1)]

    # Reading

    def seen(self) -> Seen:
        return self.reader.read(self.run)

    def books(self) -> Books:
        if self.books_are_old:
            cursor = self.sql.cursor()
            self._books = read_books(cursor, COUPON, self.log_from if self.two else None)
            cursor.close()
            self.books_are_old = False
        return self._books

    def command(self, *words: Any, raw: bool = False) -> Any:
        self.own.send_command(*words)
        return self.own.read_response(disable_decoding=raw)

    def closes_ms(self) -> int:
        with db.engine.connect() as connection:
            end: Any = connection.scalar(select(Coupon.issue_end_at).where(Coupon.id == COUPON))
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
        self.leaps += ms > 0
        self._set_clock()

    def _set_clock(self) -> None:
        seconds, ms = divmod(self.redis_ms, 1000)
        self.command("HSET", edges.CLOCK, "s", seconds, "us", ms * 1000, "info", f"run_id:{self.run}\r\n")
        if 0 < int(self.command("GET", BELL) or 0) <= self.redis_ms:
            self.lose_bell()

    def lose_list(self) -> None:
        self.command("DEL", MEMBERS)

    def lose_elsewhere(self) -> None:
        self.command("DEL", ELSEWHERE)

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
        has_lock = not actor.wants_lock or self.lock_holder in (None, actor)
        return has_lock and not actor.waits_for_turn

    def _roll_back(self) -> None:
        self.lock_connection.rollback()
        self.lock_holder = self.lock_connection = None

    def new_connections(self) -> None:
        """Leave no connection of an earlier run: each asks once who its server is, and that is a crossing."""
        for server in self.servers:
            server.connection_pool.disconnect()
            server.connection_pool.reset()

    @cached_property
    def servers(self) -> list[ScriptRedis]:
        """Those that hold lines, as they are before anything breaks."""
        found: list[ScriptRedis] = self.app.extensions["line"].each()
        return found

    def processes_end(self) -> None:
        """What a process remembers ends with it."""
        self.app.extensions.pop(REVOCATIONS_TOLD, None)
        self.app.extensions.pop(TOLD, None)
        claims.init_app(self.app)

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
                for table in emptied_tables()
            }

    def put_sql_back(self) -> None:
        """SQL comes back as it was at its backup; whoever held a lock has lost it."""
        if self.lock_holder is not None:
            self.lock_holder.session_lost = True
            self._roll_back()
        with db.engine.begin() as connection:
            for table in emptied_tables():
                connection.execute(table.delete())
            for table in reversed(emptied_tables()):
                if rows := self.backup[table.name]:
                    connection.execute(insert(table), rows)
        self.books_are_old = True

    def note_command(self, names: list[str]) -> None:
        self.ran = True


@contextmanager
def open_world(database_url: str, lines_url: str, server: Valkey) -> Iterator[World]:
    """Make the app on these stores, with the simulation at its edges; `server` is the one that holds the line."""
    settings = {
        "TESTING": True,
        "SECRET_KEY": "594fb7e7b2c9a088b79ba90ae019dd53566808cb3544e842ec18a17ecbe31189",
        "SQLALCHEMY_DATABASE_URI": database_url,
        "REDIS_URL": lines_url,
        # The queue is the simulation's own.
        "QUEUE_REDIS_URL": "redis://127.0.0.1:1",
    }
    app = create_app(settings)
    with app.app_context():
        db.create_all()
        with db.engine.begin() as connection:
            # As its migration does; without it no decision of an operator could be written.
            connection.execute(insert(LogHead).values(id=1, entries=0))
        world = World(app, server)
        with edges.standing_between(world, app):
            yield world
        app.extensions["ended_sessions"].stop()
        db.session.remove()
        db.engine.dispose()
