"""The pauses of a sale, as the log tells them: on the page of a person, and beside a receipt, in both languages."""

from datetime import timedelta
from html import unescape
from itertools import pairwise

import pytest
from markupsafe import Markup

from deploy.processes import wait_until
from tests.builders import make_coupon, make_user, make_users, sign_in
from tests.sale.test_pausing import paused_for
from webapp.line.keys import BUCKET_MS
from webapp.log import writing
from webapp.models import OPERATOR, utcnow
from webapp.sale import admission, claims
from webapp.sale import timeline as timeline_module
from webapp.sale.coupons import change_coupon
from webapp.sale.pause_history import Pause, among, pauses_between, pauses_of
from webapp.sale.pause_message import PauseMessage
from webapp.sale.pausing import pause, resume
from webapp.sale.timeline import timeline
from webapp.stores.script_redis import line_redis

pytestmark = pytest.mark.usefixtures("app")
KO, EN = {"Accept-Language": "ko"}, {"Accept-Language": "en"}
HOUR = timedelta(hours=1)


def kinds(user: int, coupon: int) -> list[str]:
    (chapter,) = timeline(user, coupon)
    assert all(first.at <= second.at for first, second in pairwise(chapter.events))
    return [event.kind for event in chapter.events]


def text_of(client, address: str, headers=KO) -> str:
    return " ".join(unescape(Markup(client.get(address, headers=headers).text).striptags()).split())


def paused_before(monkeypatch, coupon: int) -> None:
    """Pause and resume a minute ago: a time of arrival is told to the tenth of a second, and may seem earlier."""
    with monkeypatch.context() as earlier:
        earlier.setattr(writing, "utcnow", lambda: utcnow() - timedelta(minutes=1))
        pause(coupon)
        resume(coupon)


def await_another_tenth() -> None:
    """Return in a later tenth of a second by Redis's clock, or a time of arrival would tell of what was before."""
    now = tenth()
    assert wait_until(lambda: tenth() != now, wait_s=10)


def tenth() -> int:
    seconds, microseconds = line_redis().time()
    return (seconds * 1000 + microseconds // 1000) // BUCKET_MS


def test_a_pause_goes_from_its_row_to_the_one_that_ends_it():
    coupon, other = make_coupon(), make_coupon()
    assert pauses_of([coupon]) == {}
    pause(coupon, by=3)
    pause(coupon, PauseMessage("error"), by=4)  # another message is no other pause
    pause(other)
    (first,) = pauses_of([coupon])[coupon]
    assert (first.by, first.until) == (3, None)
    resume(coupon, by=5)
    pause(coupon)
    change_coupon(coupon, step="close", by=6)
    resume(coupon)  # from closed: it ends no pause
    found = pauses_of([coupon, other])
    assert [(each.by, each.end, each.ended_by) for each in found[coupon]] == [
        (3, "resume", 5),
        (None, "close", 6),
    ]
    assert [each.until for each in found[other]] == [None]


@pytest.mark.parametrize(
    ("begun", "ended", "met"),
    [
        (-3, -2, False),
        (-3, -1, False),
        (-3, 0, True),
        (-3, 9, True),
        (0, 0.5, True),
        (0, None, True),
        (1, None, False),
    ],
)
def test_a_pause_fell_between_two_times_if_it_lasted_at_any_time_between(begun, ended, met):
    now = utcnow()
    told = Pause(now + begun * HOUR, until=None if ended is None else now + ended * HOUR)
    assert bool(among([told], now - HOUR, now + HOUR)) == met


def test_a_persons_page_tells_the_pauses_while_they_waited_and_no_others(monkeypatch):
    coupon, (early, late) = make_coupon(), make_users(2)
    paused_before(monkeypatch, coupon)
    claims.claim(coupon, early)
    pause(coupon, by=7)
    assert kinds(early, coupon) == ["arrived", "pause"]
    resume(coupon)
    assert kinds(early, coupon) == ["arrived", "pause", "resume"]
    admission.admit(coupon)
    await_another_tenth()
    claims.claim(coupon, late)
    pause(coupon)
    change_coupon(coupon, step="close")
    assert kinds(early, coupon) == ["arrived", "pause", "resume", "issued"]
    monkeypatch.setattr(timeline_module, "utcnow", lambda: utcnow() + timedelta(minutes=2))
    assert kinds(late, coupon) == ["arrived", "pause", "close"]


def test_without_the_time_of_a_number_nobody_knows_which_pauses_it_waited_for():
    coupon, user = make_coupon(), make_user().id
    claims.claim(coupon, user)
    pause(coupon)
    resume(coupon)
    admission.admit(coupon)
    line_redis().flushall()
    assert kinds(user, coupon) == ["issued"]


@pytest.mark.parametrize(("headers", "words"), [(KO, "일시 중지했어요"), (EN, "Paused the sale")])
def test_the_page_says_who_paused_and_that_it_is_paused_now(client, headers, words):
    boss, user, coupon = make_user(role=OPERATOR, name="Boss"), make_user(), make_coupon()
    claims.claim(coupon, user.id)
    pause(coupon, by=boss.id)
    sign_in(client, boss)
    text = text_of(client, f"/admin/people/{user.id}", headers)
    assert f"{words} · {boss.email}" in text
    assert ("순번은 그대로예요." if headers is KO else "The sale is paused, and places are kept.") in text
    resume(coupon)
    assert "places are kept" not in text_of(client, f"/admin/people/{user.id}", EN)


def test_a_receipt_says_from_when_to_when_it_was_paused(client, monkeypatch):
    user, coupon = make_user(), make_coupon()
    address = f"/coupons/{coupon}/receipt"
    sign_in(client, user)
    paused_before(monkeypatch, coupon)
    claims.claim(coupon, user.id)
    assert "멈" not in text_of(client, address)
    pause(coupon)
    assert "부터 발급이 잠시 멈춰 있어요. 순번은 그대로예요." in text_of(client, address)
    assert "The line has been paused since" in text_of(client, address, EN)
    resume(coupon)
    admission.admit(coupon)
    pause(coupon)  # after the coupon was issued
    assert text_of(client, address).count("까지 발급이 잠시 멈췄어요. 순번은 그대로였어요.") == 1
    assert "멈춰 있어요" not in text_of(client, address)
    assert text_of(client, address, EN).count("The line was paused from") == 1


def test_whoever_came_in_the_middle_of_a_pause_reads_of_the_whole_of_it(client):
    user, coupon = make_user(), paused_for(20)
    (began,) = pauses_of([coupon])[coupon]
    claims.claim(coupon, user.id)
    assert pauses_between(coupon, utcnow(), utcnow() + HOUR) == [began]
    sign_in(client, user)
    assert "멈춰 있어요" in text_of(client, f"/coupons/{coupon}/receipt")


def test_a_loser_reads_of_no_pause_after_the_last_coupon_had_gone(client):
    user, coupon = make_user(), make_coupon(quota=1)
    claims.claim(coupon, make_user().id)
    claims.claim(coupon, user.id)
    admission.admit(coupon)
    pause(coupon)
    sign_in(client, user)
    assert "멈" not in text_of(client, f"/coupons/{coupon}/receipt")
