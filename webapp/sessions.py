"""Sessions that ended: signed out, blocked, with a new password. Within a second they claim and read nothing, anywhere.

A session is a signed cookie, which nobody can take back. So SQL says from which session epoch on the sessions of an
account count (`users.session_epoch`), and those for whom that rose lately are few: every web process knows them all. A
sorted set in Redis tells of them, each process reads several times a second what is new in it, and a request looks into
the memory of its process alone. The set is one key for all accounts and belongs to no line.

What Redis lost is told again: a process that finds no set, or one of an earlier run of the server, fills it from
`ended_sessions`, and the sweeper repeats what was told lately. Whoever cannot know says so.
"""

import re
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from datetime import datetime, timedelta
from typing import Any

import redis
from flask import Flask, current_app
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from webapp.extensions import db, line_redis
from webapp.models import EndedSession, User, utcnow
from webapp.swallowed import swallow

ENDED, LIFE, FILLING = "{sessions}:ended", "{sessions}:life", "{sessions}:filling"
ENTRY = re.compile(r"(\d{1,19}):(\d{1,10})")
"""User id and the least session epoch that counts."""
NO_MORE = 2**31 - 1
"""The session epoch of an account that was deleted."""

KEPT = timedelta(days=15)
"""How long it is known that a session ended: a day longer than its cookie is accepted."""
READ_EACH_S, GOOD_S = 0.25, 0.75
"""How often a process reads what is new, and for how long what it read is good."""
ASKED_S = 15
"""How long after the last question a process goes on reading: open pages ask more often."""
NEWS_S = 5.0
"""The longest wait for a reading; a store that is dead is known to be sooner."""
ANEW_S = 3600
"""How often a process reads the whole set, so that it forgets what is no longer kept."""
PAGE = 500
FILLING_MS, LOOK_AGAIN_S = 5000, 0.05
TOLD_AGAIN = timedelta(minutes=10)


class CannotKnow(redis.RedisError):
    """Nobody can tell at the moment which sessions ended."""


def init_app(app: Flask) -> None:
    app.extensions["ended_sessions"] = EndedSessions(app)


def ended_sessions() -> "EndedSessions":
    """Return what the process of the current app knows."""
    known: EndedSessions = current_app.extensions["ended_sessions"]
    return known


class EndedSessions:
    """What a process knows of them. A thread reads it, a greenlet under gevent, as long as anybody asks."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.count_from: dict[int, int] = {}
        self.life, self.score = "", "0"
        self.good_until = self.asked_at = self.anew_at = 0.0
        self.failing = self.is_read = False
        self.news: Future[bool] = Future()
        self.turn = threading.Lock()
        self.told_until: datetime | None = None

    def has_ended(self, user_id: int, session_epoch: int) -> bool:
        """Say whether a session of that epoch has ended; a look into memory. Raises CannotKnow."""
        now = self.asked_at = time.monotonic()
        if now >= self.good_until:
            self._wait_for_news()
        return self.count_from.get(user_id, 0) > session_epoch

    def be_ready(self) -> None:
        """Have what is new read, without waiting for it: whoever looks on before the start will soon press."""
        self.asked_at = time.monotonic()
        if not self.is_read:
            with self.turn:
                self._begin_to_read()

    def note(self, user_id: int, session_epoch: int) -> None:
        _note(self.count_from, user_id, session_epoch)

    def tell_again(self) -> None:
        """Tell Redis of all that ended, then of what ended since this last worked: whoever ended it may have failed to.

        Raises redis.RedisError, SQLAlchemyError.
        """
        now = utcnow()
        _tell_since(self.told_until - TOLD_AGAIN if self.told_until else now - KEPT)
        self.told_until = now

    def _wait_for_news(self) -> None:
        with self.turn:
            if time.monotonic() < self.good_until:
                return
            self._begin_to_read()
            if self.failing:
                raise CannotKnow  # nobody waits for a store of which another has just heard that it is dead
            news = self.news
        try:
            known = news.result(NEWS_S)
        except NotInTime:
            known = False
        if not known:
            raise CannotKnow

    def _begin_to_read(self) -> None:
        if not self.is_read:
            self.is_read, self.failing = True, False
            threading.Thread(target=self._read_on, name="ended sessions", daemon=True).start()

    def _read_on(self) -> None:
        try:
            with self.app.app_context():
                while self._is_asked():
                    self._read_once()
                    time.sleep(READ_EACH_S)
        except BaseException:
            self.is_read = False  # whoever asks next has it begun again
            raise

    def _is_asked(self) -> bool:
        with self.turn:
            self.is_read = time.monotonic() < self.asked_at + ASKED_S
            return self.is_read

    def _read_once(self) -> None:
        began, known = time.monotonic(), True
        try:
            self._read(anew=began >= self.anew_at)
        except (redis.RedisError, SQLAlchemyError, UnicodeDecodeError) as error:
            swallow("ended sessions not read", error, "who is signed in hears busy", again=self.failing)
            known = False
            if isinstance(error, UnicodeDecodeError):
                fill_anew()
        with self.turn:
            self.failing = not known
            if known:
                self.good_until = began + GOOD_S
            news, self.news = self.news, Future()
        news.set_result(known)

    def _read(self, *, anew: bool) -> None:
        """Read page by page what is new, or all of it into a new memory, also when the set itself began anew."""
        life, score, count_from = ("", "0", {}) if anew else (self.life, self.score, self.count_from)
        more, until = True, time.monotonic() + NEWS_S
        while more:
            told, *found = line_redis().run_script("read_ended", (ENDED, LIFE), (life, score, PAGE))
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


def end_sessions(user_id: int, **changes: Any) -> None:
    """Change an account and end all of its sessions, in one transaction.

    Every web process knows within a second. A Redis that is away is told by the sweeper, and meanwhile nobody who is
    signed in claims or reads anything there.
    """
    raised = {"session_epoch": User.session_epoch + 1, **changes}
    db.session.execute(update(User).where(User.id == user_id).values(raised))
    _commit(user_id, db.session.scalars(select(User.session_epoch).where(User.id == user_id)).one())


def delete_account(user_id: int) -> None:
    """Delete an account and end its sessions. Raises IntegrityError when it holds coupons."""
    db.session.execute(delete(User).where(User.id == user_id))
    _commit(user_id, NO_MORE)


def fill_anew() -> None:
    """Have the set filled from SQL again, whatever it holds: SQL may have come back with older data."""
    line_redis().delete(ENDED, LIFE)


def _commit(user_id: int, count_from: int) -> None:
    db.session.execute(delete(EndedSession).where(EndedSession.ended_at < utcnow() - KEPT))
    db.session.add(EndedSession(user_id=user_id, session_epoch=count_from))
    db.session.commit()
    try:
        _tell([f"{user_id}:{count_from}"])
    except redis.RedisError as error:
        swallow("ended session not told", error, "the sweeper tells it when Redis is back", user_id=user_id)
    ended_sessions().note(user_id, count_from)


def _fill(run_id: str) -> bool:
    """Tell of all that ended, and mark the set as complete in this run of the server; False when another does it."""
    if not line_redis().set(FILLING, "1", nx=True, px=FILLING_MS):
        time.sleep(LOOK_AGAIN_S)
        return False
    try:
        _tell_since(utcnow() - KEPT)
        line_redis().set(LIFE, f"{run_id}:{secrets.token_hex(4)}")
    finally:
        line_redis().delete(FILLING)
    return True


def _tell_since(moment: datetime) -> None:
    ended = (
        select(EndedSession.user_id, func.max(EndedSession.session_epoch))
        .where(EndedSession.ended_at > moment)
        .group_by(EndedSession.user_id)
    )
    with db.engine.connect() as connection:
        for page in connection.execute(ended).partitions(PAGE):
            _tell([f"{user_id}:{count_from}" for user_id, count_from in page])


def _tell(entries: Sequence[str]) -> None:
    kept_ms = int(KEPT.total_seconds() * 1000)
    line_redis().run_script("tell_ended", (ENDED,), (kept_ms, *entries))


def _read_entry(entry: str) -> tuple[int, int]:
    """Return user id and session epoch; nobody's when it is malformed."""
    if found := ENTRY.fullmatch(entry):
        return int(found[1]), int(found[2])
    swallow("ended session not read", ValueError("malformed"), "SQL knows whose it is")
    return 0, 0


def _note(count_from: dict[int, int], user_id: int, session_epoch: int) -> None:
    count_from[user_id] = max(session_epoch, count_from.get(user_id, 0))
