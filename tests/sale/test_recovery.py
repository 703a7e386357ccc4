"""Redis lost data: it is noticed, numbers stay one person's, and receipts win places back in order."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from deploy.processes import free_port
from deploy.stores import Valkey
from tests.builders import make_coupon, make_user, make_users, sign_in
from webapp.line.line import Line
from webapp.line.types import Reply
from webapp.models import Coupon, CouponIssue, LineEvent
from webapp.sale import admission, audit, claims, coupons, publishing
from webapp.sale import epochs as sale_epochs
from webapp.sale.epochs import EPOCH_STEP
from webapp.sale.outcomes import Ticket
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.sql import db
from webapp.web.pages.tickets import RECEIPT_HEADER

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def no_grace(monkeypatch) -> None:
    monkeypatch.setattr(sale_epochs, "GRACE_MS", 0)


@pytest.fixture
def own_valkey(app: Flask, tmp_path: Path, monkeypatch) -> Iterator[Valkey]:
    """A Valkey of this test alone, which it may kill; the app's lines are on it."""
    with Valkey(tmp_path, port=free_port(), options=["--appendfsync", "always"]) as store:
        for name, options in (("line", {"decode_responses": True}), ("bells", {})):
            monkeypatch.setitem(app.extensions, name, connect_redis(store.url, **options))
        yield store
        for name in ("line", "bells"):
            app.extensions[name].connection_pool.disconnect()


def line_of(coupon_id: int) -> Line:
    return Line(line_redis(), coupon_id)


def winners(coupon_id: int) -> list[int]:
    db.session.rollback()
    query = select(CouponIssue.user_id).where(CouponIssue.coupon_id == coupon_id).order_by(CouponIssue.id)
    return list(db.session.scalars(query))


def epochs(coupon_id: int) -> list[str]:
    db.session.rollback()
    return list(
        db.session.scalars(
            select(LineEvent.reason).where(LineEvent.coupon_id == coupon_id, LineEvent.kind == "epoch")
        )
    )


def claim_all(coupon_id: int, users: list[int]) -> dict[int, Ticket]:
    return {user: claims.claim(coupon_id, user) for user in users}


def give_back(coupon_id: int, user: int, ticket: Ticket) -> Ticket:
    return claims.restore(coupon_id, user, number=ticket.number, epoch=ticket.epoch)


def rewind(coupon_id: int, users: list[int], *, last: int) -> None:
    """Have Redis forget some tickets without a restart, by which it would be noticed."""
    line_redis().zrem(line_of(coupon_id).line_key, *users)
    line_redis().hset(line_of(coupon_id).gate_key, "last", last)


class Died(BaseException):
    """Where a process is killed."""


def die(*_args, **_options) -> None:
    raise Died


def die_beginning(coupon_id: int) -> None:
    with pytest.raises(Died):
        sale_epochs.ensure_open(coupon_id)


@pytest.fixture
def begun_coupon(monkeypatch) -> int:
    """A coupon whose second epoch is known to SQL, and whose gate was not opened: whoever began it died."""
    coupon = make_coupon()
    line_redis().flushall()
    with monkeypatch.context() as patch:
        patch.setattr(Line, "open_epoch", die)
        die_beginning(coupon)
    return coupon


def after(patch, owner, name, act) -> None:
    original = getattr(owner, name)

    def acting(*args, **options):
        result = original(*args, **options)
        act(*args, **options)
        return result

    patch.setattr(owner, name, acting)


def save(valkey: Valkey) -> Path:
    """Keep what is in the file now, and return where."""
    valkey.stop()
    saved = valkey.directory / "saved"
    shutil.copytree(valkey.directory / "appendonlydir", saved)
    valkey.start()
    return saved


def come_back_with(valkey: Valkey, saved: Path) -> None:
    valkey.kill()
    shutil.rmtree(valkey.directory / "appendonlydir")
    saved.rename(valkey.directory / "appendonlydir")
    valkey.start()


def test_an_epoch_that_was_begun_before_a_change_hears_of_it_as_soon_as_it_is_open(begun_coupon, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(coupons, "publish", die)
        with pytest.raises(Died):
            coupons.change_coupon(begun_coupon, status="closed")
    publishing.publish(begun_coupon)
    gate = line_of(begun_coupon).gate()
    assert gate.opened
    assert gate.policy.status == "closed"
    assert gate.policy.revision == db.session.get(Coupon, begun_coupon, populate_existing=True).revision


def test_everybody_who_waited_gets_the_old_order_back():
    coupon, users = make_coupon(quota=600), make_users(1001)
    tickets = claim_all(coupon, users[:1000])
    line_redis().flushall()
    newcomer = claims.claim(coupon, users[1000])
    assert newcomer.number == EPOCH_STEP + 1
    for user in reversed(users[:1000]):
        assert give_back(coupon, user, tickets[user]).number == tickets[user].number
    admission.admit(coupon)
    assert winners(coupon) == users[:600]
    assert claims.standing(coupon, users[1000]).state == "sold_out"
    assert epochs(coupon) == ["Redis lost the line"]


def test_control_without_the_step_a_newcomer_holds_the_number_of_a_receipt(monkeypatch):
    monkeypatch.setattr(sale_epochs, "EPOCH_STEP", 0)
    coupon, users = make_coupon(), make_users(2)
    tickets = claim_all(coupon, users[:1])
    line_redis().flushall()
    assert claims.claim(coupon, users[1]).number == tickets[users[0]].number
    assert give_back(coupon, users[0], tickets[users[0]]).state == "lost"


def test_admission_waits_for_receipts_for_a_short_grace(monkeypatch):
    monkeypatch.setattr(sale_epochs, "GRACE_MS", 60_000)
    coupon, users = make_coupon(quota=1), make_users(2)
    tickets = claim_all(coupon, users[:1])
    line_redis().flushall()
    claims.claim(coupon, users[1])
    line_of(coupon).quiet_bell()
    assert admission.admit(coupon).issued == 0
    assert not line_of(coupon).set_bell()
    give_back(coupon, users[0], tickets[users[0]])
    line_redis().hset(line_of(coupon).gate_key, "grace_until", 0)
    assert line_of(coupon).set_bell()
    admission.admit(coupon)
    assert winners(coupon) == users[:1]


def test_control_without_grace_the_newcomer_overtakes():
    coupon, users = make_coupon(quota=1), make_users(2)
    tickets = claim_all(coupon, users[:1])
    line_redis().flushall()
    claims.claim(coupon, users[1])
    admission.admit(coupon)
    assert give_back(coupon, users[0], tickets[users[0]]).state == "sold_out"
    assert winners(coupon) == users[1:]


def test_a_receipt_is_worth_nothing_once_it_was_decided():
    coupon, users = make_coupon(quota=1), make_users(2)
    tickets = claim_all(coupon, users)
    admission.admit(coupon)
    line_redis().flushall()
    assert claims.standing(coupon, users[0]).state == "issued"
    assert give_back(coupon, users[0], tickets[users[0]]).state == "issued"
    assert give_back(coupon, users[1], tickets[users[1]]).state == "sold_out"
    assert line_of(coupon).gate().waiting == 0


def test_a_receipt_gives_no_number_that_the_counter_may_give_again():
    coupon, users = make_coupon(), make_users(3)
    claim_all(coupon, users[:1])
    line_redis().flushall()
    claim_all(coupon, users[:1])
    assert claims.restore(coupon, users[1], number=EPOCH_STEP + 2, epoch=1).state == "lost"
    assert claims.restore(coupon, users[1], number=EPOCH_STEP + 1, epoch=2).state == "lost"
    assert claims.claim(coupon, users[2]).number == EPOCH_STEP + 2


def test_a_receipt_that_is_ahead_of_the_counter_tells_that_redis_lost_data():
    coupon, users = make_coupon(quota=3), make_users(4)
    tickets = claim_all(coupon, users[:3])
    rewind(coupon, users[1:3], last=1)
    for user in (users[2], users[1]):
        assert give_back(coupon, user, tickets[user]).number == tickets[user].number
    assert claims.claim(coupon, users[3]).number == EPOCH_STEP + 1
    assert epochs(coupon) == ["the gate did not fit SQL or a receipt"]
    admission.admit(coupon)
    assert winners(coupon) == users[:3]


def test_control_without_the_word_of_a_receipt_its_number_becomes_somebody_elses():
    coupon, users = make_coupon(quota=3), make_users(4)
    tickets = claim_all(coupon, users[:3])
    rewind(coupon, users[1:3], last=1)
    claim_all(coupon, users[3:])
    assert give_back(coupon, users[1], tickets[users[1]]).state == "lost"


def test_a_receipt_of_an_epoch_that_nobody_remembers_begins_one_above_it_once():
    coupon, users = make_coupon(), make_users(3)
    claim_all(coupon, users[:1])
    far = 3 * EPOCH_STEP + 5
    assert claims.restore(coupon, users[1], number=far, epoch=4).number == far
    assert claims.restore(coupon, users[2], number=far - 1, epoch=4).number == far - 1
    assert claims.line_status(coupon).epoch == 5
    assert len(epochs(coupon)) == 1
    assert audit.run(coupon).ok


def test_a_receipt_that_comes_before_the_new_epoch_is_not_called_lost(own_valkey):
    coupon, users = make_coupon(quota=2), make_users(2)
    claim_all(coupon, users[:1])
    saved = save(own_valkey)
    tickets = claim_all(coupon, users[1:])
    come_back_with(own_valkey, saved)
    assert give_back(coupon, users[1], tickets[users[1]]).number == tickets[users[1]].number
    assert claims.line_status(coupon).epoch == 3, "one for each start of the server"
    assert epochs(coupon) == ["Redis started again, or an epoch was begun and not opened"] * 2


def test_whoever_dies_before_sql_knows_of_an_epoch_has_given_no_number_in_it(monkeypatch):
    coupon, users = make_coupon(), make_users(1)
    line_redis().flushall()
    with monkeypatch.context() as patch:
        after(patch, sale_epochs, "_begin_epoch", die)
        die_beginning(coupon)
    assert line_of(coupon).gate().epoch == 2
    assert line_of(coupon).claim(users[0]).reply is Reply.NO_GATE
    assert line_of(coupon).head(10) is None
    assert claims.claim(coupon, users[0]).number == 2 * EPOCH_STEP + 1
    assert epochs(coupon) == ["Redis started again, or an epoch was begun and not opened"]
    assert audit.run(coupon).ok


def test_control_a_gate_that_is_open_before_the_commit_gives_numbers_that_sql_knows_nothing_of(monkeypatch):
    coupon, users = make_coupon(), make_users(1)
    line_redis().flushall()
    with monkeypatch.context() as patch:
        after(patch, Line, "begin_epoch", lambda line, _policy, *, mark, **_: line.open_epoch(mark))
        after(patch, sale_epochs, "_begin_epoch", die)
        die_beginning(coupon)
    claims.claim(coupon, users[0])
    assert epochs(coupon) == []
    assert not audit.run(coupon).ok


def test_whoever_dies_before_opening_an_epoch_leaves_it_to_the_next(begun_coupon):
    coupon, (user,) = begun_coupon, make_users(1)
    assert line_of(coupon).claim(user).reply is Reply.NO_GATE
    assert claims.claim(coupon, user).number == EPOCH_STEP + 1
    assert epochs(coupon) == ["Redis lost the line"]
    assert audit.run(coupon).ok


def test_whoever_finds_an_epoch_that_another_opens_just_then_leaves_it_as_it_is(begun_coupon, monkeypatch):
    coupon, (user,) = begun_coupon, make_users(1)
    with monkeypatch.context() as patch:
        after(patch, Line, "life", lambda line: line.open_epoch(line.gate().mark or 0))
        sale_epochs.ensure_open(coupon)
    assert claims.claim(coupon, user).number == EPOCH_STEP + 1
    assert epochs(coupon) == ["Redis lost the line"]


def test_a_gate_that_another_opened_meanwhile_is_left_alone_whatever_its_epoch(monkeypatch):
    coupon, (user,) = make_coupon(), make_users(1)
    line_redis().hset(line_of(coupon).gate_key, "epoch", 7)
    monkeypatch.setattr(Line, "is_open", lambda _line: False)  # as it was before the lock was had
    sale_epochs.ensure_open(coupon)
    claimed = claims.claim(coupon, user)
    assert (claimed.epoch, claimed.number) == (7, 1)


def test_an_epoch_is_opened_by_whoever_began_it_only():
    coupon, (user,) = make_coupon(), make_users(1)
    line = line_of(coupon)
    line.end_epoch()
    begin = {"known": 0, "serving": 0, "step": EPOCH_STEP}
    policy_now = line.gate().policy
    line.begin_epoch(policy_now, epoch=2, mark=5, **begin)
    line.begin_epoch(policy_now, epoch=3, mark=6, **begin)
    assert not line.open_epoch(5)
    assert line.claim(user).reply is Reply.NO_GATE
    assert line.open_epoch(6)
    assert not line.open_epoch(6)
    assert line.claim(user).number == 2 * EPOCH_STEP + 1


def test_a_place_that_cannot_be_given_back_is_written_down_once():
    coupon, users = make_coupon(), make_users(2)
    claim_all(coupon, users[:1])
    for _ in range(3):
        assert claims.restore(coupon, users[1], number=1, epoch=1).state == "lost"
    db.session.rollback()
    (event,) = db.session.scalars(select(LineEvent).where(LineEvent.kind == "lost"))
    assert (event.user_id, event.ticket_number, event.epoch) == (users[1], 1, 1)
    admission.admit(coupon)
    assert winners(coupon) == users[:1]


def test_a_repeated_receipt_changes_nothing():
    coupon, (user,) = make_coupon(), make_users(1)
    ticket = claim_all(coupon, [user])[user]
    line_redis().delete(line_of(coupon).line_key)
    assert give_back(coupon, user, ticket) == give_back(coupon, user, ticket) == ticket


def test_over_http_a_receipt_helps_its_owner_only(client):
    coupon, other = make_coupon(), make_coupon()
    me, stranger = make_user(), make_user()
    token = sign_in(client, me)
    headers = {"Accept": "application/json", "X-CSRFToken": token}
    ticket = client.post(f"/coupons/{coupon}/claim", headers=headers).json
    line_redis().flushall()

    def ask(receipt: str, coupon_id: int = coupon) -> tuple[str, int | None]:
        found = client.get(f"/coupons/{coupon_id}/ticket", headers={RECEIPT_HEADER: receipt}).json
        return found["state"], found["number"]

    sign_in(client, stranger)
    assert ask(ticket["receipt"]) == ("none", None)
    sign_in(client, me)
    assert ask("") == ("none", None)
    assert ask(ticket["receipt"][:-1] + "_") == ("none", None)
    assert ask(ticket["receipt"], other) == ("none", None)
    assert ask(ticket["receipt"]) == ("waiting", 1)


def test_a_restart_that_lost_nothing_keeps_every_ticket_and_gives_no_number_twice(own_valkey):
    coupon, users = make_coupon(quota=9), make_users(4)
    tickets = claim_all(coupon, users[:3])
    own_valkey.kill()
    own_valkey.start()
    assert claims.claim(coupon, users[0]).number == tickets[users[0]].number
    assert claims.claim(coupon, users[3]).number == EPOCH_STEP + 1
    admission.admit(coupon)
    assert winners(coupon) == users
    assert epochs(coupon) == ["Redis started again, or an epoch was begun and not opened"]


def test_nobody_is_admitted_between_a_restart_and_the_new_epoch(own_valkey):
    coupon, users = make_coupon(quota=9), make_users(2)
    claim_all(coupon, users)
    own_valkey.kill()
    own_valkey.start()
    assert admission.admit(coupon).issued == 0
    publishing.publish(coupon)
    assert admission.admit(coupon).issued == 2


def test_a_redis_that_came_back_with_older_data_is_noticed_and_healed(own_valkey):
    coupon, users = make_coupon(quota=2), make_users(4)
    tickets = claim_all(coupon, users[:1])
    saved = save(own_valkey)
    line_redis().hset(line_of(coupon).gate_key, "run_id", line_redis().info("server")["run_id"])
    tickets |= claim_all(coupon, users[1:3])
    come_back_with(own_valkey, saved)

    assert claims.claim(coupon, users[3]).number > max(ticket.number for ticket in tickets.values())
    assert [claims.standing(coupon, user).state for user in users[1:3]] == ["none", "none"]
    for user in users[1:3]:
        assert give_back(coupon, user, tickets[user]).number == tickets[user].number
    admission.admit(coupon)
    assert winners(coupon) == users[:2]


def test_a_gate_that_is_behind_sql_is_not_admitted_from():
    coupon, users = make_coupon(quota=9), make_users(2)
    claim_all(coupon, users[:1])
    db.session.execute(Coupon.__table__.update().values(last_number=50))
    db.session.commit()
    assert admission.admit(coupon).issued == 0
    assert claims.claim(coupon, users[1]).number == EPOCH_STEP + 1
    assert admission.admit(coupon).issued == 2
    assert epochs(coupon) == ["the gate did not fit SQL or a receipt"]


def test_a_change_of_policy_reaches_a_restarted_redis(own_valkey):
    coupon = make_coupon(quota=2)
    own_valkey.kill()
    own_valkey.start()
    coupons.change_coupon(coupon, total_quantity=7)
    assert claims.line_status(coupon).quota == 7
    assert claims.line_status(coupon).epoch == 2
