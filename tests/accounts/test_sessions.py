"""A session that ended, ended: in every web process, for everything, whatever becomes of Redis."""

import threading
import time
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import func, select, update

from deploy.processes import wait_until
from jobs import sweeper
from tests.builders import failing, make_coupon, make_user, session_cookie, sign_in
from tests.conftest import Browser, close, on_sqlite, settings
from tests.visits import BROWSER, PROGRAM, assert_refused, page_token, post, visit
from webapp import create_app
from webapp.accounts import sessions
from webapp.accounts.sessions import ENDED, KEPT, LIFE, PAGE, EndedSessions, end_sessions, ended_sessions
from webapp.accounts.visitor import load_visitor
from webapp.models import OWNER, EndedSession, User, utcnow
from webapp.sale import claims
from webapp.stores import swallowed
from webapp.stores.script_redis import ScriptRedis, line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("cheap_hashes")
PASSWORD = "correct horse\n"
WITHIN_S = 1.0


@pytest.fixture
def other(app, valkey):
    """The app of another web process on the same stores."""
    other = create_other(app, valkey.url)
    yield other
    with other.app_context():
        close(other)


def create_other(app: Flask, redis_url: str) -> Flask:
    other = create_app(settings(app.config["SQLALCHEMY_DATABASE_URI"], redis_url))
    other.jinja_env.bytecode_cache = app.jinja_env.bytecode_cache
    other.test_client_class = Browser
    return other


class Thief:
    """Somebody with a copied cookie, at one of the processes."""

    def __init__(self, app: Flask, cookie: tuple[str, str], coupon: int) -> None:
        self.app, self.coupon = app, coupon
        self.cookie, self.token = cookie

    def answers(self) -> dict[str, int]:
        """Ask for everything, each time with the cookie as it was copied, and return the status of each answer."""
        page = f"/coupons/{self.coupon}"
        claim = post(self._client(), f"{page}/claim", PROGRAM, token=self.token)
        click = post(self._client(), f"{page}/claim", token=self.token)
        asked = {path: visit(self._client(), path, PROGRAM) for path in (f"{page}/ticket", f"{page}/receipt")}
        asked |= {path: visit(self._client(), path, PROGRAM) for path in ("/wallet", "/admin/")}
        shown = "Sign out" in visit(self._client(), page).text
        return {
            "claim": claim.status_code,
            "click": 401 if "/login" in (click.location or "") else click.status_code,
            **{path.rpartition("/")[2] or "admin": answer.status_code for path, answer in asked.items()},
            "page": 200 if shown else 401,
        }

    def _client(self):
        client = self.app.test_client()
        client.set_cookie("session", self.cookie)
        return client


REFUSED = {
    "claim": 401,
    "click": 401,
    "ticket": 401,
    "receipt": 401,
    "wallet": 401,
    "admin": 404,
    "page": 401,
}


def sign_out(run, user):
    client = run.app.test_client()
    post(client, "/logout", token=sign_in(client, user))


def with_command(*verbs: str):
    def end(run, user):
        for verb in verbs:
            result = run("user", verb, user.email, stdin=PASSWORD)
            assert result.exit_code == 0, result.output

    return end


WAYS = {
    "sign-out": sign_out,
    "block": with_command("block"),
    "block and unblock": with_command("block", "unblock"),
    "new password": with_command("password"),
    "promote": with_command("promote"),
    "promote and demote": with_command("promote", "demote"),
    "anonymise": with_command("anonymise"),
    "delete": with_command("delete"),
}


@pytest.fixture
def run(app):
    def run(*args: str, stdin: str = ""):
        return app.test_cli_runner().invoke(args=list(args), input=stdin)

    run.app = app
    make_user("first@example.com", role=OWNER)
    return run


def knows(app: Flask, user: User) -> bool:
    with app.app_context():
        return ended_sessions().has_ended(user.id, 0)


def knows_by_and_by(app: Flask, user: User) -> bool:
    try:
        return knows(app, user)
    except sessions.CannotKnow:
        return False


@pytest.mark.parametrize("end", WAYS.values(), ids=WAYS)
def test_within_a_second_a_copied_cookie_is_refused_everywhere(app, other, run, end):
    user, coupon = make_user(), make_coupon()
    cookie = session_cookie(app, user)
    thieves = [Thief(each, cookie, coupon) for each in (app, other)]
    for thief in thieves:
        assert visit(thief._client(), f"/coupons/{coupon}/ticket").status_code == 200
    end(run, user)
    ended = time.monotonic()
    here, there = thieves
    assert here.answers() == REFUSED, "its own process knows at once"
    with other.app_context():
        assert wait_until(lambda: load_visitor(f"{user.id}.0.u") is None, wait_s=WITHIN_S)
    assert time.monotonic() - ended < WITHIN_S + 2  # the machine may be slow
    assert there.answers() == REFUSED
    assert claims.standing(coupon, user.id).state == "none"


def test_control_without_the_look_a_copied_cookie_goes_on(app, run, monkeypatch):
    monkeypatch.setattr(EndedSessions, "has_ended", lambda *_: False)
    user, coupon = make_user(), make_coupon()
    thief = Thief(app, session_cookie(app, user), coupon)
    sign_out(run, user)
    answers = thief.answers()
    assert (answers["claim"], answers["ticket"], answers["page"]) == (200, 200, 200)


def test_whoever_signs_in_again_is_in(app, other, run):
    user, coupon = make_user(), make_coupon()
    for _ in range(3):
        sign_out(run, user)
    db.session.refresh(user)
    for each in (app, other):
        thief = Thief(each, session_cookie(app, user), coupon)
        assert thief.answers()["claim"] == 200


def test_nobody_else_is_signed_out(app, other, run):
    user, neighbour, coupon = make_user(), make_user(), make_coupon()
    sign_out(run, user)
    for each in (app, other):
        assert Thief(each, session_cookie(app, neighbour), coupon).answers()["claim"] == 200


def test_a_claim_asks_redis_once_and_sql_never(app, client, monkeypatch):
    coupon, user = make_coupon(), make_user()
    token = sign_in(client, user)
    visit(client, f"/coupons/{coupon}/ticket")
    asked, run_script = [], ScriptRedis.run_script

    def noted(self, name, keys, args):
        asked.append((threading.get_ident(), name))
        return run_script(self, name, keys, args)

    monkeypatch.setattr(ScriptRedis, "run_script", noted)
    monkeypatch.setattr(EndedSessions, "_wait_for_news", lambda _: pytest.fail("waited"))
    ended_sessions().good_until += 60
    assert post(client, f"/coupons/{coupon}/claim", PROGRAM, token=token).status_code == 200
    assert [name for thread, name in asked if thread == threading.get_ident()] == ["claim"]


def test_a_redis_that_was_wiped_is_told_again(app, other, valkey, run):
    user = make_user()
    sign_out(run, user)
    assert wait_until(lambda: knows(other, user), wait_s=WITHIN_S)
    line_redis().flushall()
    assert knows(other, user)
    third = create_other(app, valkey.url)
    assert knows(third, user), "a process that starts now reads it from SQL"
    assert line_redis().zscore(ENDED, f"{user.id}:1") is not None
    with third.app_context():
        close(third)


@pytest.mark.parametrize("life", ["", "0123:4567", "nonsense", ":", "x" * 1000])
def test_a_set_of_an_earlier_run_of_the_server_is_not_believed(app, valkey, run, life):
    """As after a restart from an older file, or a replica that was behind."""
    user = make_user()
    sign_out(run, user)
    line_redis().delete(ENDED)
    line_redis().set(LIFE, life)
    third = create_other(app, valkey.url)
    assert knows(third, user)
    with third.app_context():
        close(third)


def test_what_redis_was_not_told_the_sweeper_tells(app, other, run, monkeypatch):
    user = make_user()
    assert not knows(other, user)
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "_tell", failing(sessions.CannotKnow("away")))
        before = swallowed.counts["ended session not told"]
        sign_out(run, user)
        assert swallowed.counts["ended session not told"] == before + 1
    assert line_redis().zscore(ENDED, f"{user.id}:1") is None
    sweeper.sweep()
    assert wait_until(lambda: knows(other, user), wait_s=WITHIN_S)


def test_the_sweeper_tells_all_at_first_and_then_what_is_new(app, run):
    long_ago, user = make_user(), make_user()
    end_sessions(long_ago.id)
    db.session.execute(update(EndedSession).values(ended_at=utcnow() - timedelta(days=13)))
    db.session.commit()
    line_redis().delete(ENDED)
    known = EndedSessions(app)
    known.tell_again()
    assert line_redis().zrange(ENDED, 0, -1) == [f"{long_ago.id}:1"]
    line_redis().delete(ENDED)
    end_sessions(user.id)
    known.tell_again()
    assert line_redis().zrange(ENDED, 0, -1) == [f"{user.id}:1"]


def test_a_repeat_adds_nothing_and_every_score_is_above_the_last(app, run):
    line_redis().zadd(ENDED, {"1:1": 9e12})  # the clock was ahead, and is put back
    users = [make_user() for _ in range(5)]
    for user in users:
        end_sessions(user.id)
    for _ in range(3):
        ended_sessions().tell_again()
    found = line_redis().zrange(ENDED, 0, -1, withscores=True)
    scores = [score for _, score in found]
    assert len(found) == 6
    assert scores == sorted(set(scores))
    assert scores[1] > 9e12


def test_many_are_read_page_by_page(app, other):
    first = make_user().id
    rows = [{"user_id": first + number, "session_epoch": 1} for number in range(2 * PAGE + 7)]
    with db.engine.begin() as connection:
        connection.execute(EndedSession.__table__.insert(), rows)
    sessions.fill_anew()
    with other.app_context():
        known = ended_sessions()
        assert known.has_ended(first + 2 * PAGE + 6, 0)
        assert len(known.count_from) == len(rows)


def test_what_is_no_longer_kept_is_forgotten(app, other):
    old, new = make_user(), make_user()
    end_sessions(old.id)
    assert knows(other, old)
    line_redis().zadd(ENDED, {f"{old.id}:1": 1})
    db.session.execute(update(EndedSession).values(ended_at=utcnow() - KEPT - timedelta(hours=1)))
    db.session.commit()
    end_sessions(new.id)
    assert db.session.scalar(select(func.count(EndedSession.id))) == 1
    assert line_redis().zrange(ENDED, 0, -1) == [f"{new.id}:1"]
    with other.app_context():
        ended_sessions()._read(anew=True)
        assert ended_sessions().count_from == {new.id: 1}


@on_sqlite
@pytest.mark.parametrize(
    "entry", ["", "x", "1", "1:", ":1", "1:2:3", "-1:1", "9" * 40 + ":1", "1:x", b"\xff:1", b"\0"]
)
def test_what_is_malformed_is_set_aside(app, other, entry):
    user = make_user()
    line_redis().zadd(ENDED, {entry: 1})
    end_sessions(user.id)
    assert wait_until(lambda: knows_by_and_by(other, user), wait_s=5)


def test_a_database_that_was_put_back_ends_nobody_who_signs_in(app, other, run):
    user = make_user()
    for _ in range(3):
        end_sessions(user.id)
    assert knows(other, user)
    db.session.execute(update(User).where(User.id == user.id).values(session_epoch=0))
    db.session.execute(EndedSession.__table__.delete())
    db.session.commit()
    assert run("reconcile").exit_code == 0
    assert wait_until(lambda: not knows(other, user), wait_s=WITHIN_S + 1)


def test_whoever_was_signed_out_elsewhere_signs_in_at_the_first_try(client):
    user = make_user(password=PASSWORD.strip())
    sign_in(client, user)
    end_sessions(user.id)
    assert post(client, "/login", email=user.email, password=PASSWORD.strip()).status_code == 303
    assert visit(client, "/wallet").status_code == 200


def test_an_ended_session_names_nobody_and_is_never_signed_again(app, client, run):
    user = make_user()
    sign_in(client, user)
    end_sessions(user.id)
    for path in ("/", "/login", f"/coupons/{make_coupon()}"):
        visit(client, path)
        with client.session_transaction() as kept:
            assert "_user_id" not in kept


@pytest.mark.parametrize("accept", [BROWSER, PROGRAM])
def test_whoever_cannot_know_says_busy(app, client, monkeypatch, accept):
    """The line itself would answer: it is the look at ended sessions that fails."""
    coupon, user = make_coupon(), make_user()
    token = sign_in(client, user)

    def cannot(*_):
        raise sessions.CannotKnow

    monkeypatch.setattr(EndedSessions, "has_ended", cannot)
    for path in ("/ticket", "/claim"):
        address = f"/coupons/{coupon}{path}"
        answer = (
            post(client, address, accept, token=token) if path == "/claim" else visit(client, address, accept)
        )
        assert_refused(answer, 503, "busy") if answer.mimetype != "application/problem+json" else None
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert claims.standing(coupon, user.id).state == "none"


def test_while_redis_is_away_sql_says_whose_wallet_it_is(app, client, monkeypatch):
    """The control of the one before: pages that need no Redis go on, and a session that ended reads none of them."""
    user = make_user()
    sign_in(client, user)
    copied = client.get_cookie("session").value

    def cannot(*_):
        raise sessions.CannotKnow

    monkeypatch.setattr(EndedSessions, "has_ended", cannot)
    assert visit(client, "/wallet").status_code == 200
    assert "Sign out" in visit(client, "/").text
    end_sessions(user.id)
    assert "Sign out" not in visit(client, "/").text
    client.set_cookie("session", copied)
    assert visit(client, "/wallet").status_code == 303


def test_nobody_waits_for_a_redis_of_which_another_heard_that_it_is_dead(app, monkeypatch):
    known = ended_sessions()
    failed = threading.Event()

    def dead(*_, **__):
        failed.set()
        raise sessions.CannotKnow

    monkeypatch.setattr(known, "_read", dead)
    with pytest.raises(sessions.CannotKnow):
        known.has_ended(1, 0)
    assert failed.is_set()
    monkeypatch.setattr(sessions, "NEWS_S", 0.0)
    with pytest.raises(sessions.CannotKnow):
        known.has_ended(1, 0)


def test_nobody_waits_for_a_reading_of_which_another_heard_that_it_is_late(app, monkeypatch):
    known, go_on = ended_sessions(), threading.Event()
    monkeypatch.setattr(known, "_read", lambda **_: go_on.wait(30))
    monkeypatch.setattr(sessions, "NEWS_S", 0.05)
    with pytest.raises(sessions.CannotKnow):
        known.has_ended(1, 0)
    monkeypatch.setattr(sessions, "NEWS_S", 20)
    began = time.monotonic()
    with pytest.raises(sessions.CannotKnow):
        known.has_ended(1, 0)
    assert time.monotonic() - began < 10
    go_on.set()
    assert wait_until(lambda: not known.failing, wait_s=10)
    assert not known.has_ended(1, 0)


def test_a_process_that_nobody_asks_stops_reading(app, monkeypatch):
    known = ended_sessions()
    known.has_ended(1, 0)
    assert known.is_reading
    known.asked_at = 0.0
    assert wait_until(lambda: not known.is_reading, wait_s=5)
    known.good_until = 0.0
    assert known.has_ended(1, 0) is False
    assert known.is_reading


def test_polls_before_the_start_have_the_process_know_when_the_first_press_comes(app, client):
    coupon, known = make_coupon(opens_in=60), ended_sessions()
    assert not known.is_reading
    visit(client, f"/coupons/{coupon}/serving", PROGRAM)
    assert wait_until(lambda: known.good_until > time.monotonic(), wait_s=5)


# The CSRF secret


def test_a_new_csrf_secret_at_sign_in_and_at_sign_out(app, client):
    before = page_token(client)
    user = make_user(password=PASSWORD.strip())
    sign_in_by_form = {"email": user.email, "password": PASSWORD.strip()}
    with client.session_transaction() as kept:
        anonymous = kept["csrf_token"]
    assert post(client, "/login", token=before, **sign_in_by_form).status_code == 303
    with client.session_transaction() as kept:
        signed_in = kept["csrf_token"]
    coupon = make_coupon()
    assert_refused(post(client, f"/coupons/{coupon}/claim", PROGRAM, token=before), 400, "bad_csrf")
    token = page_token(client, "/")
    assert post(client, f"/coupons/{coupon}/claim", PROGRAM, token=token).status_code == 200
    post(client, "/logout", token=token)
    visit(client, "/login")
    with client.session_transaction() as kept:
        signed_out = kept["csrf_token"]
    assert len({anonymous, signed_in, signed_out}) == 3


def test_nothing_of_the_session_before_lives_on_in_that_of_who_signs_in(app, client):
    page_token(client)
    with client.session_transaction() as kept:
        kept["planted"] = "by somebody else"
    post(client, "/register", email="new@example.com", name="New", password=PASSWORD.strip())
    with client.session_transaction() as kept:
        assert set(kept) >= {"_user_id", "csrf_token"}
        assert "planted" not in kept
