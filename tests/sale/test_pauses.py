"""After a wipe admission waits as long as the pages of the line that was lost were told to pause."""

import random

import pytest

from tests.builders import make_coupon, make_users
from webapp.line.line import Line
from webapp.models import PAUSED
from webapp.sale import admission, claims, epochs, pauses
from webapp.sale.coupons import change_coupon
from webapp.sale.epochs import EPOCH_STEP, GRACE_MS
from webapp.sale.outcomes import Ticket
from webapp.stores.script_redis import line_redis

pytestmark = pytest.mark.usefixtures("app")
LENGTHS = [1, 2, 10, 499, 500, 1999, 2001, 8000, 9999, 10_001, 12_000, 20_001, 50_000, 100_000]


def line_of(coupon_id: int) -> Line:
    return Line(line_redis(), coupon_id)


def waits_ms(coupon_id: int) -> int:
    """Return how long admission waits for receipts in this epoch, from its opening."""
    since, until = line_redis().hmget(line_of(coupon_id).gate_key, "grace_from", "grace_until")
    return int(until) - int(since)


def wiped(coupon_id: int) -> None:
    line_redis().flushall()
    epochs.ensure_open(coupon_id)


def asked_at(ahead: int, waiting: int, rng: random.Random) -> float:
    """Return when a page hears of the new epoch: with its first poll whose answer a proxy did not keep."""
    pause = pauses.next_ms(ahead, waiting)
    at = rng.uniform(0, pause * rng.uniform(0.8, 1.2))
    return at if at > 2250 else at + pause * rng.uniform(0.8, 1.2)


@pytest.mark.parametrize("waiting", LENGTHS)
def test_the_grace_is_over_only_when_every_page_has_asked(app, waiting):
    """With the functions that prescribe the pauses: each page that asks has admission wait for the rest."""
    app.config["POLLS_PER_SECOND"] = 2000
    rng, until = random.Random(waiting), float(GRACE_MS)
    pages = sorted((asked_at(ahead, waiting, rng), ahead) for ahead in range(waiting))
    for at, ahead in pages:
        assert at <= until, f"{ahead} ahead of it, and it asked after {at:.0f} ms"
        until = max(until, pauses.grace_ms(ahead + 1))
    assert until <= pauses.MOST_GRACE_MS


@pytest.mark.parametrize("open_pages", [20, 200])
def test_it_is_enough_where_most_pages_of_a_long_line_are_closed(app, open_pages):
    app.config["POLLS_PER_SECOND"] = 2000
    rng, until = random.Random(open_pages), float(GRACE_MS)
    pages = [(asked_at(ahead, 50_000, rng), ahead) for ahead in rng.sample(range(50_000), open_pages)]
    for at, ahead in sorted(pages):
        assert at <= until
        until = max(until, pauses.grace_ms(ahead + 1))


@pytest.mark.parametrize("waiting", LENGTHS)
def test_a_line_whose_pages_ask_often_is_admitted_within_10_s(app, waiting):
    app.config["POLLS_PER_SECOND"] = 2000
    longest = max(pauses.next_ms(waiting - 1, waiting), pauses.next_ms(0, waiting))
    enough = pauses.JITTER * longest + 2250
    assert enough <= pauses.grace_ms(waiting) <= enough + 2500
    assert (pauses.grace_ms(waiting) < 9000) == (waiting < 10_000)


def test_no_setting_has_admission_wait_for_ever(app):
    app.config["POLLS_PER_SECOND"] = 1
    assert pauses.grace_ms(100_000) == pauses.MOST_GRACE_MS


# (receipt shown, highest number that SQL decided, the grace that it gets)
PROOFS = [
    (1, 0, GRACE_MS),
    (499, 0, GRACE_MS),
    (1500, 0, 4900),
    (9000, 0, 7900),
    (12_000, 0, 14_500),
    (50_000, 0, 32_500),
    (100_000, 0, 62_500),
]


@pytest.mark.parametrize(("number", "decided", "ms"), PROOFS)
def test_a_receipt_proves_how_long_the_line_was(app, number, decided, ms):
    app.config["POLLS_PER_SECOND"] = 2000
    coupon, (user,) = make_coupon(), make_users(1)
    wiped(coupon)
    claims.restore(coupon, user, number=number, epoch=1)
    assert waits_ms(coupon) == ms


def test_the_longest_line_that_a_receipt_proves_counts(app):
    app.config["POLLS_PER_SECOND"] = 2000
    coupon, users = make_coupon(), make_users(3)
    wiped(coupon)
    for user, number in zip(users, (1, 12_000, 2), strict=True):
        claims.restore(coupon, user, number=number, epoch=1)
        claims.restore(coupon, user, number=number, epoch=1)
    assert waits_ms(coupon) == 14_500


def test_numbers_of_earlier_epochs_and_decided_ones_did_not_wait(app):
    """Numbers leap by a million with each epoch: two restarts make no line long."""
    coupon, users = make_coupon(quota=2), make_users(4)
    claims.claim(coupon, users[0])
    admission.admit(coupon)
    wiped(coupon)
    third = claims.claim(coupon, users[1])
    assert third.number == EPOCH_STEP + 1
    wiped(coupon)
    claims.restore(coupon, users[1], number=third.number, epoch=2)
    assert waits_ms(coupon) == GRACE_MS


def test_a_trickle_of_receipts_does_not_hold_a_short_line_up(app):
    coupon, users = make_coupon(), make_users(40)
    wiped(coupon)
    for number, user in enumerate(users, 1):
        claims.restore(coupon, user, number=number, epoch=1)
    assert waits_ms(coupon) == GRACE_MS


def test_a_wait_that_is_over_is_not_begun_again(app):
    coupon, users = make_coupon(), make_users(2)
    wiped(coupon)
    line, late = line_of(coupon), 12_000
    line_redis().hset(line.gate_key, "grace_until", line.gate().now_ms)
    claims.restore(coupon, users[0], number=late, epoch=1)
    assert not line.await_receipts(60_000)
    assert waits_ms(coupon) == 0
    assert admission.admit(coupon).issued == 1


def test_neither_in_another_run_nor_without_a_gate(app):
    coupon = make_coupon()
    wiped(coupon)
    line = line_of(coupon)
    line_redis().hset(line.gate_key, "run_id", "of another run")
    assert not line.await_receipts(60_000)
    line_redis().delete(line.gate_key)
    assert not line.await_receipts(60_000)
    assert not line_redis().exists(line.gate_key)


def test_standby_of_which_a_receipt_tells_is_awaited_before_coupons_come_back(app):
    """Pages in standby ask each 10 s: a raise just after a wipe serves them before newcomers."""
    coupon, users = make_coupon(quota=1), make_users(4)
    tickets: dict[int, Ticket] = {user: claims.claim(coupon, user) for user in users[:3]}
    admission.admit(coupon)
    wiped(coupon)
    restored = claims.restore(coupon, users[2], number=tickets[users[2]].number or 0, epoch=1)
    assert restored.state == "sold_out"
    assert waits_ms(coupon) == pauses.JITTER * pauses.SLOW_MS + pauses.OLD_NEWS_MS
    change_coupon(coupon, total_quantity=2)
    claims.claim(coupon, users[3])
    assert admission.admit(coupon).issued == 0
    claims.restore(coupon, users[1], number=tickets[users[1]].number or 0, epoch=1)
    line_redis().hset(line_of(coupon).gate_key, "grace_until", 0)
    admission.admit(coupon)
    assert claims.standing(coupon, users[1]).state == "issued"


def test_a_paused_coupon_awaits_receipts_too(app):
    app.config["POLLS_PER_SECOND"] = 2000
    coupon, (user,) = make_coupon(status=PAUSED), make_users(1)
    wiped(coupon)
    claims.restore(coupon, user, number=50_000, epoch=1)
    assert waits_ms(coupon) == 32_500
