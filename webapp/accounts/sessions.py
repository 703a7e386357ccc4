"""Sessions that ended: signed out, blocked, with a new password. A second later they are refused in every process.

A session is a signed cookie, which the server cannot delete. So SQL keeps the least session epoch that counts for each
account (`users.session_epoch`). It rises for few accounts, so every web process keeps those in memory. A sorted set in
Redis lists them, each process reads its new entries several times a second, and a request looks into the memory of its
process alone. The set is one key for all accounts and belongs to no line.

If the set is missing or of an earlier run of the server, a process fills it from `ended_sessions`. The sweeper repeats
the latest entries. A process that cannot know raises CannotKnow, and the visitor gets "busy".
"""

import re
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from datetime import datetime, timedelta

import redis
from flask import Flask, current_app
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from webapp.accounts.owners import keep_an_owner
from webapp.log import Entry, write
from webapp.models import OWNER, EndedSession, User, utcnow
from webapp.stores.script_redis import ScriptRedis, line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

ENDED, LIFE, FILLING = "{sessions}:ended", "{sessions}:life", "{sessions}:filling"
ENTRY = re.compile(r"(\d{1,19}):(\d{1,10})")
"""An entry of the set: user id and the least session epoch that counts."""
NO_MORE = 2**31 - 1
"""The least session epoch that counts for a deleted account: none does."""

KEPT = timedelta(days=15)
"""How long the end of a session is kept: a day longer than its cookie is accepted."""
READ_EACH_S, GOOD_S = 0.25, 0.75
"""How often a process reads the new entries, and for how long a reading is good."""
ASKED_S = 15
"""How long after the last request a process goes on reading; open pages ask more often."""
NEWS_S = 1.2
"""The longest wait of a request for a reading: with what follows it, the answer comes within 2.5 s. A dead store is
noticed sooner."""
FILLED_S = 5.0
"""How long a reading waits for the process that fills the set."""
ANEW_S = 3600
"""How often a process reads the whole set, and so forgets entries that are not kept any more."""
PAGE = 500
FILLING_MS, LOOK_AGAIN_S = 5000, 0.05
PUBLISHED_AGAIN = timedelta(minutes=10)


class CannotKnow(redis.RedisError):
    """At the moment this process cannot know which sessions have ended."""


def init_app(app: Flask) -> None:
    app.extensions["ended_sessions"] = EndedSessions(app)


def ended_sessions() -> "EndedSessions":
    """Return the ended sessions that this process knows."""
    known: EndedSessions = current_app.extensions["ended_sessions"]
    return known


def _redis() -> ScriptRedis:
    """Return the client for the keys of this module, which are all in one slot of a Cluster."""
    return line_redis().of(ENDED)


class EndedSessions:
    """The ended sessions that a process knows. A thread (a greenlet under gevent) reads on as long as requests ask."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.count_from: dict[int, int] = {}
        self.life, self.score = "", "0"
        self.good_until = self.asked_at = self.anew_at = 0.0
        self.failing = self.is_reading = False
        self.news: Future[bool] = Future()
        self.turn = threading.Lock()
        self.stopping = threading.Event()
        self.reader: threading.Thread | None = None
        self.told_until: datetime | None = None

    def has_ended(self, user_id: int, session_epoch: int) -> bool:
        """Say whether a session of that epoch has ended, from memory. Raises CannotKnow after NEWS_S at most.

        Only the first who ask wait for a reading that is late: until it has come, the others hear at once.
        """
        now = self.asked_at = time.monotonic()
        if now >= self.good_until:
            self._wait_for_news()
        return self.count_from.get(user_id, 0) > session_epoch

    def be_ready(self) -> None:
        """Begin to read without waiting. A visitor who looks at the page before the start will soon click."""
        self.asked_at = time.monotonic()
        if not self.is_reading:
            with self.turn:
                self._begin_to_read()

    def note(self, user_id: int, session_epoch: int) -> None:
        """Keep an entry in memory at once, before the next reading."""
        _note(self.count_from, user_id, session_epoch)

    def stop(self) -> None:
        """Stop reading for good, and return when nothing is read any more: close connections after that."""
        self.stopping.set()
        if self.reader is not None:
            self.reader.join()

    def tell_again(self) -> None:
        """Write the entries again that a process may have failed to write: all at first, then the latest.

        Raises redis.RedisError, SQLAlchemyError.
        """
        now = utcnow()
        # PUBLISHED_AGAIN overlaps the last time, for a transaction that was open then and committed later.
        _tell_since(self.told_until - PUBLISHED_AGAIN if self.told_until else now - KEPT)
        self.told_until = now

    def _wait_for_news(self) -> None:
        with self.turn:
            if time.monotonic() < self.good_until:
                return
            self._begin_to_read()
            if self.failing:
                raise CannotKnow  # the last reading failed just now, or is late: nobody waits for the same again
            news = self.news
        try:
            known = news.result(NEWS_S)
        except NotInTime:
            known = False
            with self.turn:
                self.failing = self.failing or self.news is news
        if not known:
            raise CannotKnow

    def _begin_to_read(self) -> None:
        if not self.is_reading:
            self.is_reading, self.failing = True, False
            self.reader = threading.Thread(target=self._read_on, name="ended sessions", daemon=True)
            self.reader.start()

    def _read_on(self) -> None:
        try:
            with self.app.app_context():
                while self._is_asked():
                    self._read_once()
                    self.stopping.wait(READ_EACH_S)
        except BaseException:
            self.is_reading = False  # the next request begins to read again
            raise

    def _is_asked(self) -> bool:
        with self.turn:
            asked = time.monotonic() < self.asked_at + ASKED_S
            self.is_reading = asked and not self.stopping.is_set()
            return self.is_reading

    def _read_once(self) -> None:
        began, known = time.monotonic(), True
        try:
            self._read(anew=began >= self.anew_at)
        except (redis.RedisError, SQLAlchemyError, UnicodeDecodeError) as error:
            swallow("ended sessions not read", error, "who is signed in hears busy", again=self.failing)
            known = False
            if isinstance(error, UnicodeDecodeError):  # an entry that no process of ours has written
                fill_anew()
        with self.turn:
            self.failing = not known
            if known:
                self.good_until = began + GOOD_S
            news, self.news = self.news, Future()
        news.set_result(known)

    def _read(self, *, anew: bool) -> None:
        """Read the new entries page by page; or all into a new memory, for `anew` or when the set began anew."""
        life, score, count_from = ("", "0", {}) if anew else (self.life, self.score, self.count_from)
        more, until = True, time.monotonic() + FILLED_S
        while more:
            told, *found = _redis().run_script("read_ended", (ENDED, LIFE), (life, score, PAGE))
            # Without a life the reply is the run id of the server alone: the set is not complete.
            if ":" not in told:
                if not _fill(told) and time.monotonic() > until:
                    raise CannotKnow("another process is filling the set")
                continue
            if told != life:
                life, count_from = told, {}
            for entry in found[::2]:
                _note(count_from, *_read_entry(entry))
            score, more = found[-1] if found else score, len(found) == 2 * PAGE
        self.life, self.score, self.count_from = life, score, count_from
        if anew:
            self.anew_at = time.monotonic() + ANEW_S


def end_sessions(user_id: int, *, entry: Entry | None = None, **changes: object) -> None:
    """Change an account and end all of its sessions, in one transaction, with the log's entry if it is a decision.

    Every web process knows within a second. If Redis is away, the sweeper writes the entry later; meanwhile signed-in
    users get "busy" there. Raises RoleRefused when the change would leave no owner who can sign in, and
    SQLAlchemyError.
    """
    if changes.get("blocked_at") or changes.get("role", OWNER) != OWNER:
        keep_an_owner(losing=user_id)
    raised = {"session_epoch": User.session_epoch + 1, **changes}
    db.session.execute(update(User).where(User.id == user_id).values(raised))
    _commit(user_id, db.session.scalars(select(User.session_epoch).where(User.id == user_id)).one(), entry)


def delete_account(user_id: int, *, by: int | None) -> None:
    """Delete an account and end its sessions. `by` is the operator, None for a command.

    Raises IntegrityError when it holds coupons, and RoleRefused for the last owner.
    """
    keep_an_owner(losing=user_id)
    db.session.execute(delete(User).where(User.id == user_id))
    _commit(user_id, NO_MORE, Entry(verb="delete account", by=by, user=user_id))


def fill_anew() -> None:
    """Delete the set, so that a process fills it from SQL again. Raises redis.RedisError.

    SQL may have been put back to older data, so no entry of the set is certain.
    """
    _redis().delete(ENDED, LIFE)


def _commit(user_id: int, count_from: int, entry: Entry | None) -> None:
    # Each end removes the rows that are too old, so that no job has to.
    db.session.execute(delete(EndedSession).where(EndedSession.ended_at < utcnow() - KEPT))
    db.session.add(EndedSession(user_id=user_id, session_epoch=count_from))
    if entry:
        db.session.flush()
        write(db.session.connection(), entry)
    db.session.commit()
    try:
        _tell([f"{user_id}:{count_from}"])
    except redis.RedisError as error:
        swallow("ended session not told", error, "the sweeper tells it when Redis is back", user_id=user_id)
    # This process knows at once; the others read it within READ_EACH_S.
    ended_sessions().note(user_id, count_from)


def _fill(run_id: str) -> bool:
    """Fill the set from SQL and mark it as complete in this run of the server; False when another process does it."""
    if not _redis().set(FILLING, "1", nx=True, px=FILLING_MS):
        time.sleep(LOOK_AGAIN_S)  # another process is filling the set
        return False
    try:
        _tell_since(utcnow() - KEPT)
        _redis().set(LIFE, f"{run_id}:{secrets.token_hex(4)}")
    finally:
        # Another process may go on at once after an error; the mark would expire in FILLING_MS.
        _redis().delete(FILLING)
    return True


def _tell_since(moment: datetime) -> None:
    ended = (
        select(EndedSession.user_id, func.max(EndedSession.session_epoch))
        .where(EndedSession.ended_at > moment)
        .group_by(EndedSession.user_id)
    )
    # A connection of its own: the caller may be a thread, or in the middle of a transaction.
    with db.engine.connect() as connection:
        for page in connection.execute(ended).partitions(PAGE):
            _tell([f"{user_id}:{count_from}" for user_id, count_from in page])


def _tell(entries: Sequence[str]) -> None:
    kept_ms = int(KEPT.total_seconds() * 1000)
    _redis().run_script("tell_ended", (ENDED,), (kept_ms, *entries))


def _read_entry(entry: str) -> tuple[int, int]:
    """Return user id and session epoch of an entry; those of nobody when it is malformed."""
    if found := ENTRY.fullmatch(entry):
        return int(found[1]), int(found[2])
    swallow("ended session not read", ValueError("malformed"), "SQL knows whose it is")
    return 0, 0


def _note(count_from: dict[int, int], user_id: int, session_epoch: int) -> None:
    count_from[user_id] = max(session_epoch, count_from.get(user_id, 0))
