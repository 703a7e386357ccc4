"""What becomes of a coupon that somebody holds: one rule, and every page that shows the coupon follows it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, event, select, update

from tests.builders import make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from tests.visits import PROGRAM, assert_refused, context_of, nothing_changes, sentence_of, visit
from webapp.accounts.sessions import ended_sessions
from webapp.line.line import Line
from webapp.line.results import revoked_reason
from webapp.models import Coupon, CouponIssue, Revocation, User, utcnow
from webapp.sale import admission, claims, held, redeeming
from webapp.sale.codes import grouped
from webapp.sale.held import state_of_issue
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.web.pages.wallet import NEXT_MS

KOREAN = {"Accept-Language": "ko"}
NOW = datetime(2026, 12, 4, 11, 0, tzinfo=UTC)
TICK = timedelta(microseconds=1)


class Holder:
    """Somebody who was issued a coupon and is signed in, and what becomes of it."""

    def __init__(self, client, **fields) -> None:
        user = make_user()
        self.user, self.client = user.id, client
        self.coupon = make_coupon(**{"title": "치킨", "discount_amount": 5000} | fields)
        claims.claim(self.coupon, self.user)
        admission.admit(self.coupon)
        row = db.session.execute(select(CouponIssue.id, CouponIssue.code)).one()
        db.session.rollback()
        self.issue, self.code = row
        sign_in(client, user)

    @property
    def pages(self) -> dict[str, str]:
        return {
            "coupon": f"/coupons/{self.coupon}",
            "wallet": "/wallet",
            "till": f"/wallet/{self.issue}",
            "receipt": f"/coupons/{self.coupon}/receipt",
        }

    def state(self) -> dict:
        return visit(self.client, f"/wallet/{self.issue}/state", PROGRAM).get_json()

    def use(self) -> None:
        assert redeeming.use(self.code, None)[1]

    def give_back_the_use(self) -> None:
        write(update(CouponIssue).values(used_at=None, used_by=None))

    def end(self, ago: timedelta = timedelta(days=1)) -> None:
        write(update(Coupon).values(valid_until=utcnow() - ago))

    def revoke(self) -> None:
        redeeming.revoke(self.code, None, "a <stolen> card")

    def revoke_unheard(self) -> None:
        """Take the coupon back while Redis hears nothing of it."""
        line = Line(line_redis(), self.coupon)
        self.revoke()
        line_redis().hset(line.results_key, self.user, f"issued:1:{self.code}")


def write(statement) -> None:
    with db.engine.begin() as connection:
        connection.execute(statement)


def leave(holder: Holder) -> None:
    """Leave the coupon as it was issued."""


def use_then_end(holder: Holder) -> None:
    holder.use()
    holder.end()


def end_then_revoke(holder: Holder) -> None:
    holder.end()
    holder.revoke()


def use_and_give_back(holder: Holder) -> None:
    holder.use()
    holder.give_back_the_use()


def assert_offers_only_what_can_be_used(page: str, kind: str, *, usable: bool) -> None:
    assert ('class="qr"' in page) == (usable and kind in ("coupon", "till"))
    assert ("data-copy=" in page) == (usable and kind != "receipt")
    assert ("Show the QR code" in page or "QR 코드 보기" in page) == (usable and kind == "wallet")
    assert "축하해요" not in page or usable


def state_is_final(page: str, name: str) -> bool:
    return name == "coupon" and 'data-state="rejected"' in page


def mark_of(client, page: str) -> tuple[str, str]:
    """Return where a page asks, and the mark of what it says."""
    text = visit(client, page).text
    assert re.search(r"/static/[a-z+]*held\+", text)
    return re.search(r'data-held-url="([^"]+)" data-held-mark="([^"]+)"', text).groups()


# The rule


@pytest.mark.parametrize(
    ("used", "valid", "revoked", "state"),
    [
        (None, None, None, "usable"),
        (None, NOW + TICK, None, "usable"),
        (None, NOW + timedelta(days=400), None, "usable"),
        (None, NOW, None, "expired"),
        (None, NOW - TICK, None, "expired"),
        (None, NOW - timedelta(days=400), None, "expired"),
        (NOW - TICK, None, None, "used"),
        (NOW - TICK, NOW + TICK, None, "used"),
        (NOW - 2 * TICK, NOW - TICK, None, "used"),
        (NOW, NOW, None, "used"),
        (None, None, NOW, "revoked"),
        (None, NOW - TICK, NOW, "revoked"),
        (None, NOW + TICK, NOW, "revoked"),
        (NOW - TICK, NOW - TICK, NOW, "revoked"),
    ],
)
def test_the_rule(monkeypatch, used, valid, revoked, state):
    monkeypatch.setattr(held, "utcnow", lambda: NOW)
    assert state_of_issue(used_at=used, valid_until=valid, revoked_at=revoked) == state


# Every state on every page


FATES: dict[str, tuple[Callable[[Holder], None], str, str, str]] = {
    "usable": (leave, "usable", "", ""),
    "usable after a use was given back": (use_and_give_back, "usable", "", ""),
    "used": (Holder.use, "used", "에 사용했어요", "Used"),
    "used, then over": (use_then_end, "used", "에 사용했어요", "Used"),
    "expired": (Holder.end, "expired", "까지 쓸 수 있었어요", "It could be used until"),
    "just expired": (
        lambda holder: holder.end(TICK),
        "expired",
        "까지 쓸 수 있었어요",
        "It could be used until",
    ),
    "taken back": (Holder.revoke, "revoked", "에 회수됐어요 · 사유: a <stolen> card", "Taken back"),
    "over, then taken back": (end_then_revoke, "revoked", "사유: a <stolen> card", "Taken back"),
    "taken back, and Redis not told": (
        Holder.revoke_unheard,
        "revoked",
        "사유: a <stolen> card",
        "Taken back",
    ),
}
fates = pytest.mark.parametrize("fate", FATES)


@on_sqlite
@fates
@pytest.mark.parametrize("kind", ["coupon", "wallet", "till", "receipt"])
def test_every_page_says_what_became_of_the_coupon(client, fate, kind):
    holder = Holder(client)
    befall, state, korean, english = FATES[fate]
    befall(holder)
    for headers, words in ((KOREAN, korean), ({"Accept-Language": "en"}, english)):
        answer = visit(client, holder.pages[kind], headers=headers)
        assert answer.status_code == 200
        assert words in sentence_of(answer.text)
        assert_offers_only_what_can_be_used(answer.text.partition("<main")[2], kind, usable=state == "usable")
        assert ("joy+" in answer.text) == (kind == "coupon" and state == "usable")
    if state != "usable":
        for lie in ("Congratulations", "It's yours", "Use by "):
            assert lie not in answer.text


@fates
def test_the_till_says_the_same(client, fate):
    holder = Holder(client)
    befall, state, *_ = FATES[fate]
    befall(holder)
    assert redeeming.look_up(holder.code).state == state
    assert holder.state()["state"] == state


@fates
def test_an_open_page_learns_of_it_by_its_mark(client, fate):
    """The mark of a page that was opened before is another one, and that of a page opened now is the same."""
    holder = Holder(client)
    before = {name: mark_of(client, page) for name, page in holder.pages.items()}
    FATES[fate][0](holder)
    changed = FATES[fate][1] != "usable"
    for name, (address, mark) in before.items():
        asked = visit(client, address, PROGRAM)
        assert (asked.get_json()["mark"] != mark) == changed, name
        assert asked.headers["Cache-Control"] == "no-store"
        page = visit(client, holder.pages[name]).text
        assert ("data-held-url" not in page) == (state_is_final(page, name)), name
        if "data-held-url" in page:
            assert mark_of(client, holder.pages[name]) == (address, asked.get_json()["mark"])


def test_a_second_use_after_one_that_was_given_back_is_another_mark(client):
    holder = Holder(client)
    holder.use()
    first = holder.state()
    holder.give_back_the_use()
    holder.use()
    second = holder.state()
    assert first["state"] == second["state"] == "used"
    assert first["mark"] != second["mark"]
    assert datetime.fromisoformat(first["at"]) < datetime.fromisoformat(second["at"])


def test_a_longer_validity_is_another_mark(client):
    holder = Holder(client, valid_until=utcnow() + timedelta(days=1))
    before = holder.state()
    write(update(Coupon).values(valid_until=utcnow() + timedelta(days=2)))
    assert holder.state()["mark"] != before["mark"]


def test_the_wallet_keeps_what_was_taken_back_in_its_place(client):
    holder = Holder(client, title="first")
    second = make_coupon(title="second")
    claims.claim(second, holder.user)
    admission.admit(second)
    holder.revoke()
    issues = context_of(client, "/wallet")["issues"]
    assert [(each.title, each.state) for each in issues] == [("second", "usable"), ("first", "revoked")]


def test_what_was_taken_back_before_its_issue_was_kept_is_in_the_wallet_too(client):
    holder = Holder(client)
    holder.revoke()
    write(update(Revocation).values(issue_id=None))
    page = visit(client, "/wallet").text
    assert "a &lt;stolen&gt; card" in page
    assert f"/wallet/{holder.issue}" not in page
    assert visit(client, f"/coupons/{holder.coupon}").status_code == 200


# Who may ask


ANSWER = {"state", "at", "mark", "next_ms"}


def test_the_state_is_for_its_holder_alone(client):
    holder = Holder(client)
    assert holder.state().keys() == ANSWER
    assert holder.state()["next_ms"] == NEXT_MS < 10_000 / 1.125 - 1000, "with jitter and the way there"
    sign_in(client, make_user())
    assert_refused(visit(client, f"/wallet/{holder.issue}/state", PROGRAM), 404, "not_found")
    holder.revoke()
    assert_refused(visit(client, f"/wallet/{holder.issue}/state", PROGRAM), 404, "not_found")


@pytest.mark.parametrize("address", ["/wallet/state", "/wallet/{issue}/state"])
@pytest.mark.parametrize("fate", ["signed out", "blocked", "every session ended"])
def test_whoever_is_not_signed_in_any_more_hears_so(client, address, fate):
    holder = Holder(client)
    if fate == "signed out":
        client.delete_cookie("session")
    else:
        change = {"blocked_at": utcnow()} if fate == "blocked" else {"session_epoch": User.session_epoch + 1}
        write(update(User).where(User.id == holder.user).values(**change))
    assert_refused(visit(client, address.format(issue=holder.issue), PROGRAM), 401, "unauthenticated")


@pytest.mark.parametrize("issue", ["0", "-1", "x", "99999999999999999999", "1.0", "%00", "９"])
@on_sqlite
def test_an_odd_id_is_nothing(client, issue):
    Holder(client)
    for address in (f"/wallet/{issue}", f"/wallet/{issue}/state"):
        assert visit(client, address, PROGRAM).status_code == 404


@on_sqlite
def test_asking_changes_nothing_and_needs_no_redis(client, app):
    holder = Holder(client)
    with nothing_changes():
        holder.state()
        visit(client, "/wallet/state", PROGRAM)
    line_redis().flushall()
    assert holder.state()["state"] == "usable"
    assert line_redis().keys() == []


def test_asking_costs_two_rows_by_their_keys(client):
    """The account, for its session, and the issue; and the coupon's page one row beside the coupon and its texts."""
    holder = Holder(client)
    ended_sessions().has_ended(0, 0)  # what a process knows of them is read by now
    statements: list[str] = []
    event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    holder.state()
    assert len(statements) == 2
    assert all("WHERE" in statement for statement in statements)
    statements.clear()
    visit(client, f"/coupons/{holder.coupon}")
    assert len(statements) == 3
    other = make_coupon()
    statements.clear()
    visit(client, f"/coupons/{other}")
    assert len(statements) == 2, "who holds nothing costs nothing more"


# What SQL does not confirm


def test_an_issue_that_sql_does_not_know_is_shown_to_nobody(client):
    holder = Holder(client)
    write(delete(CouponIssue))
    for page in ("coupon", "receipt"):
        answer = visit(client, holder.pages[page])
        assert_refused(answer, 503, "busy")
        assert grouped(holder.code) not in answer.text
    assert holder.code not in visit(client, "/wallet").text.replace("-", "")


def test_a_coupon_that_sql_gave_again_is_shown_whatever_redis_says(client):
    holder = Holder(client)
    line = Line(line_redis(), holder.coupon)
    line_redis().hset(line.results_key, holder.user, f"rejected:1:{revoked_reason('a mistake')}")
    page = visit(client, holder.pages["coupon"]).text
    assert grouped(holder.code) in page
    assert "a mistake" not in page


def test_who_was_never_issued_anything_is_not_looked_for(client):
    coupon, me = make_coupon(quota=1), make_user()
    for user in (*make_users(1), me.id):
        claims.claim(coupon, user)
    admission.admit(coupon)
    sign_in(client, me)
    assert context_of(client, f"/coupons/{coupon}")["held"] is None
