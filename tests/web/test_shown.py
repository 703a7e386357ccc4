"""When a page first told somebody what was decided: what web processes note, and what operators read of it."""

from datetime import timedelta

import pytest
import redis
from sqlalchemy import update

from tests.builders import failing, make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.line.watching import shown, tell_shown
from webapp.models import OPERATOR, CouponIssue, utcnow
from webapp.sale import claims, redeeming, turnout
from webapp.sale.admission import admit
from webapp.sale.coupons import change_coupon
from webapp.sale.epochs import ensure_open
from webapp.sale.held import by_coupon
from webapp.sale.timeline import Chapter, timeline
from webapp.sale.turnout import MOST_SHOWN, Turnout
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

JSON, HTML = {"Accept": "application/json"}, {"Accept": "text/html"}
KO, EN = {"Accept-Language": "ko"}, {"Accept-Language": "en"}


@pytest.fixture
def winner(app) -> tuple[int, int]:
    """A coupon, and somebody who has won one."""
    coupon, user = make_coupon(quota=1), make_user().id
    claims.claim(coupon, user)
    admit(coupon)
    return coupon, user


@pytest.fixture
def process(app) -> Turnout:
    """What one process counts; it tells when the test says so."""
    counted = Turnout(app)
    counted.stopping.set()
    counted.process = "web"
    return counted


@pytest.fixture(params=[True, False], ids=["fast path", "Flask alone"])
def visitor(request, changed):
    client = changed(FAST_PATH=request.param)
    client.application.extensions["turnout"].stopping.set()
    return client


def told_by(client) -> Turnout:
    return client.application.extensions["turnout"]


def noted(client, coupon: int) -> list[int]:
    counted = told_by(client).counted.get(coupon)
    return list(counted.shown) if counted else []


def note_of(coupon: int, user: int):
    return shown(Line(line_redis(), coupon), user)


def chapter_of(coupon: int, user: int) -> Chapter:
    (chapter,) = timeline(user, coupon)
    return chapter


def kinds(chapter: Chapter) -> list[str]:
    return [event.kind for event in chapter.events]


def now_ms() -> int:
    seconds, microseconds = line_redis().time()
    return seconds * 1000 + microseconds // 1000


def writes() -> int:
    return line_redis().info("persistence")["rdb_changes_since_last_save"]


# What is noted


@on_sqlite
def test_the_time_is_that_of_the_answer_by_the_clock_of_redis(winner, process, monkeypatch):
    coupon, user = winner
    now = [1000.0]
    monkeypatch.setattr(turnout.time, "monotonic", lambda: now[0])
    process.shown(coupon, user)
    now[0] += 0.75
    before = now_ms()
    process.tell()
    assert before - 750 <= note_of(coupon, user).at_ms <= now_ms() - 750
    assert not process.counted


@on_sqlite
def test_the_first_time_stays(winner, process):
    coupon, user = winner
    assert tell_shown(line_redis(), coupon, {user: 5000}) == 1
    first = note_of(coupon, user)
    assert tell_shown(line_redis(), coupon, {user: 9000}) == 0
    process.shown(coupon, user)
    process.tell()
    assert note_of(coupon, user) == first


@on_sqlite
def test_a_repeat_writes_nothing(winner):
    coupon, user = winner
    tell_shown(line_redis(), coupon, {user: 0})
    before = writes()
    tell_shown(line_redis(), coupon, {user: 7})
    assert writes() == before
    tell_shown(line_redis(), coupon, {user + 1: 7})
    assert writes() > before


@on_sqlite
def test_what_redis_did_not_hear_is_told_later_with_its_own_time(winner, process, monkeypatch):
    coupon, user = winner
    now = [1000.0]
    monkeypatch.setattr(turnout.time, "monotonic", lambda: now[0])
    process.shown(coupon, user)
    tell = turnout.tell_shown
    monkeypatch.setattr(turnout, "tell_shown", failing(redis.ConnectionError()))
    with pytest.raises(redis.ConnectionError):
        process.tell()
    monkeypatch.setattr(turnout, "tell_shown", tell)
    now[0] += 20
    process.tell()
    assert note_of(coupon, user).at_ms <= now_ms() - 20_000


@on_sqlite
def test_many_are_told_some_at_a_time(winner, process, monkeypatch):
    coupon, _user = winner
    calls, tell = [], turnout.tell_shown
    monkeypatch.setattr(turnout, "tell_shown", lambda *args: calls.append(len(args[2])) or tell(*args))
    for user in range(1, 2 * MOST_SHOWN + 2):
        process.shown(coupon, user)
    process.tell()
    assert calls == [MOST_SHOWN, MOST_SHOWN, 1]
    assert line_redis().hlen(Line(line_redis(), coupon).shown_key) == 2 * MOST_SHOWN + 1


@on_sqlite
def test_notes_leave_redis_after_the_results(winner):
    coupon, user = winner
    line = Line(line_redis(), coupon)
    tell_shown(line_redis(), coupon, {user: 0})
    assert line_redis().pexpiretime(line.shown_key) == line_redis().pexpiretime(line.results_key)
    line.forget()
    assert line_redis().keys("*coupon*") == []


@on_sqlite
def test_without_an_open_epoch_nothing_is_noted(winner):
    coupon, user = winner
    line = Line(line_redis(), coupon)
    line.end_epoch()
    assert tell_shown(line_redis(), coupon, {user: 0}) == 0
    assert tell_shown(line_redis(), 99, {user: 0}) == 0
    assert not line_redis().exists(line.shown_key)


@on_sqlite
def test_a_note_that_cannot_be_read_is_none_and_a_key_of_another_type_is_set_aside(winner):
    coupon, user = winner
    line = Line(line_redis(), coupon)
    line_redis().hset(line.shown_key, str(user), "yesterday")
    assert note_of(coupon, user) is None
    line_redis().delete(line.shown_key)
    line_redis().set(line.shown_key, "x")
    assert line.set_aside() == 1
    assert tell_shown(line_redis(), coupon, {user: 0}) == 1


# Which answers tell somebody


def claim_again(client, coupon: int, user: int, headers: dict[str, str]):
    token = sign_in(client, user)
    data = {"csrf_token": token}
    return client.post(f"/coupons/{coupon}/claim", headers=headers, data=data, follow_redirects=True)


TELLING = {
    "a poll": lambda client, coupon: client.get(f"/coupons/{coupon}/ticket", headers=JSON),
    "the page": lambda client, coupon: client.get(f"/coupons/{coupon}", headers=HTML),
    "the receipt": lambda client, coupon: client.get(f"/coupons/{coupon}/receipt", headers=HTML),
    "the wallet": lambda client, coupon: client.get("/wallet", headers=HTML),
    "the list": lambda client, coupon: client.get("/", headers=HTML),
}


@on_sqlite
@pytest.mark.parametrize("name", TELLING)
def test_whoever_reads_that_they_have_won_is_noted(name, winner, visitor):
    coupon, user = winner
    sign_in(visitor, user)
    assert TELLING[name](visitor, coupon).status_code == 200
    assert noted(visitor, coupon) == [user]


@on_sqlite
@pytest.mark.parametrize("headers", [JSON, HTML], ids=["JSON", "page"])
def test_a_click_that_is_answered_with_a_result_is_noted(headers, winner, visitor):
    coupon, user = winner
    assert claim_again(visitor, coupon, user, headers).status_code == 200
    assert noted(visitor, coupon) == [user]


@on_sqlite
def test_the_page_of_one_coupon_in_the_wallet_is_noted(winner, visitor):
    coupon, user = winner
    sign_in(visitor, user)
    assert visitor.get(f"/wallet/{by_coupon(user, coupon).id}", headers=HTML).status_code == 200
    assert noted(visitor, coupon) == [user]


@on_sqlite
@pytest.mark.parametrize("name", ["a poll", "the page"])
def test_the_control_whoever_waits_or_is_in_standby_is_not(name, winner, visitor):
    coupon, _user = winner
    waiting, late = make_users(2)
    claims.claim(open_coupon := make_coupon(), waiting)
    change_coupon(coupon, standby_limit=5)
    claims.claim(coupon, late)
    for where, user in ((open_coupon, waiting), (coupon, late)):
        sign_in(visitor, user)
        assert TELLING[name](visitor, where).status_code == 200
        assert noted(visitor, where) == []


@on_sqlite
def test_a_poll_waits_for_no_note(winner, visitor):
    """Neither SQL nor Redis is asked for it in the request."""
    coupon, user = winner
    sign_in(visitor, user)
    before = line_redis().info("commandstats")
    visitor.get(f"/coupons/{coupon}/ticket", headers=JSON)
    after = line_redis().info("commandstats")
    for name in ("cmdstat_hset", "cmdstat_hsetnx", "cmdstat_pexpireat"):
        assert after.get(name) == before.get(name)
    assert note_of(coupon, user) is None
    told_by(visitor).tell()
    assert note_of(coupon, user) is not None


# What operators read


def test_whoever_was_shown_their_coupon(winner, process):
    coupon, user = winner
    process.shown(coupon, user)
    process.tell()
    chapter = chapter_of(coupon, user)
    assert (kinds(chapter), chapter.shown) == (["arrived", "issued", "shown"], "yes")
    redeeming.revoke(by_coupon(user, coupon).code, None, "a test")
    chapter = chapter_of(coupon, user)
    assert (kinds(chapter), chapter.shown) == (["arrived", "issued", "shown", "revoked"], "yes")


def test_whoever_never_came_back_has_not_seen_it(winner):
    chapter = chapter_of(*winner)
    assert (kinds(chapter), chapter.shown) == (["arrived", "issued"], "no")


def test_nothing_is_said_of_it_while_nothing_is_decided(app):
    coupon, user = make_coupon(), make_user().id
    claims.claim(coupon, user)
    assert chapter_of(coupon, user).shown == ""


def test_after_a_wipe_it_is_not_known(winner, process):
    coupon, user = winner
    process.shown(coupon, user)
    process.tell()
    line_redis().flushall()
    assert chapter_of(coupon, user).shown == "unknown"
    ensure_open(coupon)
    assert chapter_of(coupon, user).shown == "unknown"
    process.shown(coupon, user)
    process.tell()
    chapter = chapter_of(coupon, user)
    assert (kinds(chapter), chapter.shown) == (["issued", "shown"], "perhaps before")


def test_a_note_that_outlived_the_epoch_still_counts(winner, process):
    coupon, user = winner
    process.shown(coupon, user)
    process.tell()
    Line(line_redis(), coupon).end_epoch()
    ensure_open(coupon)
    assert chapter_of(coupon, user).shown == "yes"


def test_long_after_the_decision_it_is_not_known(winner):
    coupon, user = winner
    with db.engine.begin() as connection:
        connection.execute(update(CouponIssue).values(issued_at=utcnow() - timedelta(days=31)))
    assert chapter_of(coupon, user).shown == "unknown"


def test_without_redis_it_is_not_known(winner, monkeypatch):
    monkeypatch.setattr("webapp.sale.timeline.Line.standing", failing(redis.ConnectionError("away")))
    chapter = chapter_of(*winner)
    assert (chapter.line_answers, chapter.shown) == (False, "unknown")


def test_the_page_says_so_in_both_languages(winner, process, client):
    coupon, user = winner
    sign_in(client, make_user(role=OPERATOR))
    page = f"/admin/people/{user}"
    assert "기록으로는 아직 이 결과를 본 적이 없어요" in client.get(page, headers=KO).text
    assert "no page has shown them this yet" in client.get(page, headers=EN).text
    process.shown(coupon, user)
    process.tell()
    assert "화면에 결과가 처음 표시됨" in client.get(page, headers=KO).text
    assert "A page showed it for the first time" in client.get(page, headers=EN).text
    line_redis().flushall()
    assert "이 결과를 언제 봤는지는 이제 알 수 없어요" in client.get(page, headers=KO).text
