"""Claim, ticket and serving over HTTP."""

from dataclasses import replace
from datetime import timedelta

import pytest
import redis
from flask import current_app
from sqlalchemy import delete, event, update

from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from tests.visits import (
    BROWSER,
    PROGRAM,
    assert_refused,
    both,
    context_of,
    everything,
    nothing_changes,
    post,
    visit,
)
from webapp.accounts.sessions import ended_sessions
from webapp.line.keys import BELL_MS
from webapp.line.line import Line
from webapp.models import CLOSED, DRAFT, LIVE, PAUSED, Coupon, User, utcnow
from webapp.sale import admission, claims, epochs, publishing, receipts
from webapp.sale.coupons import change_coupon, create_coupon
from webapp.sale.outcomes import Ticket
from webapp.sale.receipts import Receipt
from webapp.stores.queue import bell_queue
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.sql import db
from webapp.web.pages import tickets

TICKET = {"state", "number", "ahead", "code", "receipt", "epoch", "next_ms"}
SERVING = {
    *("state", "serving", "last", "issued", "quota"),
    *("epoch", "now_ms", "opens_at_ms", "closes_at_ms", "next_ms", "pause"),
}


@pytest.fixture(autouse=True)
def never_stale(monkeypatch):
    monkeypatch.setattr(tickets, "STATUS_FRESH_S", 0.0)


@pytest.fixture
def token(client) -> str:
    return sign_in(client, make_user())


def claim(client, coupon_id: object, accept: str = PROGRAM, token: str = ""):
    return post(client, f"/coupons/{coupon_id}/claim", accept, token=token)


def ticket(client, coupon_id: int, **headers: str):
    return visit(client, f"/coupons/{coupon_id}/ticket", PROGRAM, headers=headers)


def other_claims(app, coupon_id: int, count: int = 1) -> list[int]:
    users = [make_user().id for _ in range(count)]
    for user in users:
        claims.claim(coupon_id, user)
    return users


def change_sql(coupon_id: int, **values: object) -> None:
    """Change the row behind everybody's back, and publish it: some states cannot be reached otherwise."""
    db.session.execute(
        update(Coupon).where(Coupon.id == coupon_id).values(revision=Coupon.revision + 1, **values)
    )
    db.session.commit()
    publishing.publish(coupon_id)


def ended() -> int:
    return make_coupon(opens_in=-7200, closes_in=-3600)


def sold_out(app) -> int:
    coupon = make_coupon(quota=1)
    other_claims(app, coupon)
    admission.admit(coupon)
    return coupon


def closed_by_hand() -> int:
    coupon = make_coupon()
    change_coupon(coupon, status=CLOSED)
    return coupon


def signed(app, *facts: int) -> str:
    return receipts.sign(app.config["SECRET_KEY"], Receipt(*facts))


class Statements(list[str]):
    """Every statement that SQL was sent while it was open."""

    def __enter__(self) -> "Statements":
        event.listen(db.engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(db.engine, "before_cursor_execute", self._note)

    def _note(self, _connection, _cursor, statement, *_rest) -> None:
        self.append(statement)


def make_sold_out_gate(coupon_id: int) -> int:
    line_redis().hset(Line(line_redis(), coupon_id).gate_key, "sold_out", "1")
    return coupon_id


BESIDE = ("{sessions}:", ":turnout", "SCRIPT LOAD", "INFO server")


def redis_commands(call) -> list[str]:
    """Return the names of the commands that clients sent to Redis while the call ran."""
    marker = "the call is over"
    watching = redis.Redis.from_url(current_app.config["REDIS_URL"], decode_responses=True)
    with watching.monitor() as monitor:
        call()
        line_redis().echo(marker)
        names = []
        for command in monitor.listen():
            if marker in command["command"]:
                return names
            # What the process does beside all requests is no part of one: it reads which sessions ended, tells the
            # turnout, loads its scripts, and asks each new connection for the run of its server.
            beside = any(part in command["command"] for part in BESIDE)
            if command["client_type"] != "lua" and not beside:
                names.append(command["command"].split()[0].upper())
    raise AssertionError("the monitor ended")


# Claim


def test_a_claim_from_the_page_goes_back_to_the_page(client, token):
    coupon = make_coupon()
    answer = claim(client, coupon, BROWSER, token)
    assert (answer.status_code, answer.location) == (303, f"/coupons/{coupon}")
    assert ticket(client, coupon).get_json()["state"] == "waiting"
    assert visit(client, answer.location).status_code == 200


def test_a_claim_as_json_is_the_ticket(app, client, token):
    coupon = make_coupon()
    other_claims(app, coupon, 2)
    answer = claim(client, coupon, token=token)
    body = answer.get_json()
    assert answer.status_code == 200
    assert set(body) == TICKET
    assert (body["state"], body["number"], body["ahead"], body["code"], body["epoch"]) == (
        "waiting",
        3,
        2,
        None,
        1,
    )
    assert body["next_ms"] == 1000
    assert answer.headers["Cache-Control"] == "no-store"


@on_sqlite
def test_a_claim_needs_no_body_and_minds_none(client, token):
    headers = {"Accept": PROGRAM, "X-CSRFToken": token}
    for body in ({}, {"json": {"user_id": 4711}}, {"data": b"{", "content_type": "application/json"}):
        answer = client.post(f"/coupons/{make_coupon()}/claim", headers=headers, **body)
        assert (answer.status_code, answer.get_json()["number"]) == (200, 1)


@both
def test_the_same_ticket_again_and_on_another_device(app, client, token, accept):
    coupon = make_coupon()
    other_claims(app, coupon)
    first = claim(client, coupon, token=token).get_json()
    tablet = app.test_client()
    tablet.set_cookie("session", client.get_cookie("session").value)
    for device in (client, tablet):
        with nothing_changes():
            answer = claim(device, coupon, accept, token)
        assert answer.status_code == (303 if accept == BROWSER else 200)
        assert ticket(device, coupon).get_json() == first
    assert Line(line_redis(), coupon).gate().last == 2


def test_the_claim_rings_once_for_the_burst(app, client, token):
    coupon = make_coupon()
    claim(client, coupon, token=token)
    other_claims(app, coupon, 3)
    assert bell_queue().count == 1


@both
def test_who_is_not_signed_in_is_sent_to_sign_in_whatever_token_they_bring(client, accept):
    coupon = make_coupon()
    with nothing_changes():
        for token in ("", "nonsense"):
            answer = claim(client, coupon, accept, token)
            if accept == PROGRAM:
                assert_refused(answer, 401, "unauthenticated")
            else:
                assert (answer.status_code, answer.location) == (303, f"/login?next=/coupons/{coupon}")


@both
def test_no_claim_without_the_token(client, token, accept):
    coupon = make_coupon()
    with nothing_changes():
        for wrong in ("", "nonsense", "\xff"):
            assert_refused(claim(client, coupon, accept, wrong), 400, "bad_csrf")


@on_sqlite
@both
def test_a_claim_is_a_post(client, token, accept):
    coupon = make_coupon()
    headers = {"Accept": accept, "Accept-Language": "en"}
    with nothing_changes():
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            answer = client.open(f"/coupons/{coupon}/claim", method=method, headers=headers)
            assert_refused(answer, 405, "http_405")
            assert "POST" in answer.headers["Allow"]


def test_before_the_start_a_page_explains_and_nothing_is_kept(client, token):
    coupon = make_coupon(opens_in=90)
    with nothing_changes():
        answer = claim(client, coupon, BROWSER, token)
    assert (answer.status_code, answer.location) == (303, f"/coupons/{coupon}?notice=not_open")
    assert visit(client, answer.location).status_code == 200


def test_before_the_start_a_program_is_told_how_long(client, token):
    coupon = make_coupon(opens_in=90)
    with nothing_changes():
        answer = claim(client, coupon, token=token)
    body = assert_refused(answer, 409, "not_open")
    assert 80_000 < body["retry_ms"] <= 90_000
    assert body["retry_ms"] <= int(answer.headers["Retry-After"]) * 1000 < body["retry_ms"] + 1000


@pytest.mark.parametrize(
    ("state", "code"), [("ended", "closed"), ("closed", "closed"), ("sold_out", "sold_out")]
)
def test_too_late(app, client, token, state, code):
    coupon = {"ended": ended, "closed": closed_by_hand, "sold_out": lambda: sold_out(app)}[state]()
    with nothing_changes():
        assert_refused(claim(client, coupon, token=token), 410, code)
        answer = claim(client, coupon, BROWSER, token)
    assert answer.status_code == 303
    assert answer.location.startswith(f"/coupons/{coupon}?notice={code}&refusal={code}.{coupon}.")
    assert visit(client, answer.location).status_code == 200
    assert ticket(client, coupon).get_json()["state"] == "none"


def test_whoever_has_a_ticket_sees_it_also_after_the_end(client, token):
    coupon = make_coupon()
    before = claim(client, coupon, token=token).get_json()
    change_sql(coupon, issue_end_at=utcnow() - timedelta(seconds=1))
    assert claim(client, coupon, token=token).get_json() == before
    admission.admit(coupon)
    assert claim(client, coupon, token=token).get_json()["state"] == "issued"


def test_a_paused_line_goes_on_giving_tickets(client, token):
    coupon = make_coupon(status=PAUSED)
    assert claim(client, coupon, token=token).get_json()["number"] == 1
    assert visit(client, f"/coupons/{coupon}/serving", PROGRAM).get_json()["state"] == "paused"
    assert bell_queue().count == 0


NO_COUPONS = [
    "4711",
    "0",
    "-1",
    str(2**63 - 1),
    str(2**63),
    "9" * 4000,
    "1.5",
    "1e3",
    "abc",
    "%00",
    "🎫",
    "1%0a",
    "../1",
    " 1",
]


@pytest.mark.parametrize("coupon_id", NO_COUPONS)
def test_there_is_nothing_where_no_coupon_is(client, token, coupon_id):
    make_coupon()
    with nothing_changes():
        for accept in (BROWSER, PROGRAM):
            assert_refused(claim(client, coupon_id, accept, token), 404, "not_found")
            assert_refused(visit(client, f"/coupons/{coupon_id}", accept), 404, "not_found")
        for part in ("ticket", "serving"):
            assert_refused(visit(client, f"/coupons/{coupon_id}/{part}", PROGRAM), 404, "not_found")


@both
def test_a_draft_is_as_good_as_no_coupon(client, token, accept):
    coupon = make_coupon(status=DRAFT)
    with nothing_changes():
        assert_refused(claim(client, coupon, accept, token), 404, "not_found")
        assert_refused(visit(client, f"/coupons/{coupon}", accept), 404, "not_found")
        assert_refused(visit(client, f"/coupons/{coupon}/ticket", PROGRAM), 404, "not_found")
        assert_refused(visit(client, f"/coupons/{coupon}/serving", PROGRAM), 404, "not_found")
    change_coupon(coupon, status=LIVE)
    assert claim(client, coupon, token=token).status_code == 200


# Ticket


def test_the_ticket_from_waiting_to_issued(client, token):
    coupon = make_coupon()
    assert ticket(client, coupon).get_json() | {"next_ms": 0} == {
        **dict.fromkeys(TICKET), "state": "none", "epoch": 1, "next_ms": 0
    }  # fmt: skip
    claim(client, coupon, token=token)
    waiting = ticket(client, coupon).get_json()
    assert (waiting["state"], waiting["number"], waiting["ahead"]) == ("waiting", 1, 0)
    admission.admit(coupon)
    body = ticket(client, coupon).get_json()
    assert (body["state"], body["number"], body["ahead"]) == ("issued", 1, None)
    assert [body["code"]] == [issue.code for issue in context_of(client, "/wallet")["issues"]]
    assert body["receipt"] == waiting["receipt"]


def test_whoever_comes_too_late_keeps_the_number(app, client, token):
    coupon = make_coupon(quota=1)
    other_claims(app, coupon)
    claim(client, coupon, token=token)
    admission.admit(coupon)
    body = ticket(client, coupon).get_json()
    assert (body["state"], body["number"], body["ahead"], body["code"]) == ("sold_out", 2, None, None)
    assert claim(client, coupon, token=token).get_json() == body


@pytest.mark.parametrize("fate", ["blocked", "deleted"])
def test_a_blocked_or_deleted_account_in_the_line_holds_nobody_up(app, client, fate):
    coupon, user = make_coupon(quota=1), make_user()
    token = sign_in(client, user)
    assert claim(client, coupon, token=token).get_json()["number"] == 1
    next_in_line = other_claims(app, coupon)
    if fate == "blocked":
        db.session.execute(update(User).where(User.id == user.id).values(blocked_at=utcnow()))
    else:
        db.session.execute(delete(User).where(User.id == user.id))
    db.session.commit()
    admission.admit(coupon)
    body = ticket(client, coupon).get_json()
    assert (body["state"], body["number"], body["code"]) == ("rejected", 1, None)
    assert claim(client, coupon, token=token).get_json() == body
    assert visit(client, f"/coupons/{coupon}").status_code == 200
    assert claims.standing(coupon, next_in_line[0]).state == "issued"


@both
def test_a_ticket_belongs_to_somebody_signed_in(client, accept):
    answer = visit(client, f"/coupons/{make_coupon()}/ticket", accept)
    assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    assert answer.get_json()["code"] == "unauthenticated"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_receipt_proves_the_ticket(app, client):
    coupon, user = make_coupon(), make_user()
    body = claim(client, coupon, token=sign_in(client, user)).get_json()
    assert receipts.read(app.config["SECRET_KEY"], body["receipt"]) == Receipt(coupon, user.id, 1, 1)


def test_whoever_holds_a_receipt_that_redis_forgot_gets_the_place_back(app, client, token):
    coupon = make_coupon()
    receipt = claim(client, coupon, token=token).get_json()["receipt"]
    line_redis().flushall()
    assert ticket(client, coupon).get_json()["state"] == "none"
    body = ticket(client, coupon, **{"X-Ticket-Receipt": receipt}).get_json()
    assert (body["state"], body["number"], body["epoch"]) == ("waiting", 1, 2)
    assert claim(client, coupon, token=token).get_json() == body


def test_whoever_presses_again_goes_to_the_end_of_the_line_until_the_receipt_turns_up(app, client, token):
    coupon = make_coupon()
    receipt = claim(client, coupon, token=token).get_json()["receipt"]
    line_redis().flushall()
    again = claim(client, coupon, token=token).get_json()
    assert (again["state"], again["number"]) == ("waiting", epochs.EPOCH_STEP + 1)
    later = {"X-Ticket-Receipt": again["receipt"]}
    assert ticket(client, coupon, **later).get_json() == again
    assert ticket(client, coupon, **{"X-Ticket-Receipt": receipt}).get_json()["number"] == 1
    assert ticket(client, coupon, **later).get_json()["number"] == 1


def test_the_receipt_of_something_else_proves_nothing(app, client):
    coupon, user, other = make_coupon(), make_user(), make_user()
    sign_in(client, user)
    mine = signed(app, coupon, user.id, 1, 1)
    others = {
        "other user": signed(app, coupon, other.id, 1, 1),
        "other coupon": signed(app, coupon + 1, user.id, 1, 1),
        "altered": f"{coupon}.{user.id}.2.1." + mine.rpartition(".")[2],
        "other key": receipts.sign("x" * 32, Receipt(coupon, user.id, 1, 1)),
        "unsigned": f"{coupon}.{user.id}.1.1.",
    }
    for kind, receipt in others.items():
        assert ticket(client, coupon, **{"X-Ticket-Receipt": receipt}).get_json()["state"] == "none", kind
    assert ticket(client, coupon, **{"X-Ticket-Receipt": mine}).get_json()["number"] == 1, "mine counts"


HOSTILE = [
    *(
        "",
        ".",
        "....",
        "1.1.1.1.",
        "a.b.c.d.e",
        "-1.-1.-1.-1.x",
        "1.1.1.1.1.1.1.1",
        "%00",
        "\x00",
        "\xff\xfe",
    ),
    *("🎫".encode().decode("latin-1"), "9" * 5000 + ".1.1.1.x", "." * 5000, "<script>", "{}", "1.1.1.1.=\t="),
]


@on_sqlite
def test_hostile_receipts_do_no_harm(client, token):
    coupon = make_coupon()
    with nothing_changes():
        for receipt in HOSTILE:
            answer = ticket(client, coupon, **{"X-Ticket-Receipt": receipt})
            assert (answer.status_code, answer.get_json()["state"]) == (200, "none"), receipt


# LineStatus


def test_the_public_numbers(app, client):
    coupon = make_coupon(quota=2)
    other_claims(app, coupon, 3)
    answer = visit(client, f"/coupons/{coupon}/serving")
    body = answer.get_json()
    assert set(body) == SERVING
    assert body | {"now_ms": 0, "opens_at_ms": 0, "closes_at_ms": 0} == {
        "state": "open",
        "serving": 0,
        "last": 3,
        "issued": 0,
        "quota": 2,
        "epoch": 1,
        "next_ms": 1000,
        "pause": None,
        "now_ms": 0,
        "opens_at_ms": 0,
        "closes_at_ms": 0,
    }
    assert abs(body["now_ms"] - utcnow().timestamp() * 1000) < 5000
    assert body["opens_at_ms"] < body["now_ms"] < body["closes_at_ms"]
    admission.admit(coupon)
    body = visit(client, f"/coupons/{coupon}/serving").get_json()
    assert (body["state"], body["serving"], body["last"], body["issued"]) == ("sold_out", 2, 3, 2)


def test_the_state_of_each_period(app, client):
    def state(coupon_id: int) -> str:
        return visit(client, f"/coupons/{coupon_id}/serving").get_json()["state"]

    assert state(make_coupon(opens_in=60)) == "scheduled"
    assert state(make_coupon(quota=None)) == "open"
    assert state(make_coupon(status=PAUSED)) == "paused"
    assert state(sold_out(app)) == "sold_out"
    assert state(make_coupon(quota=0)) == "sold_out"
    assert state(closed_by_hand()) == "closed"
    assert state(ended()) == "closed"


def test_the_public_numbers_are_the_same_for_everybody_and_may_be_kept_by_anybody(client, token, monkeypatch):
    monkeypatch.setattr(tickets, "STATUS_FRESH_S", 60.0)
    coupon = make_coupon()
    mine = visit(client, f"/coupons/{coupon}/serving")
    theirs = visit(client.application.test_client(), f"/coupons/{coupon}/serving")
    assert mine.data == theirs.data
    for answer in (mine, theirs):
        assert answer.headers["Cache-Control"] == "public, max-age=1"
        assert "Set-Cookie" not in answer.headers
        assert "Vary" not in answer.headers


def test_pollers_share_what_redis_said(client, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(tickets, "STATUS_FRESH_S", 60.0)
    assert [len(redis_commands(lambda: visit(client, f"/coupons/{coupon}/serving"))) for _ in range(3)] == [
        1,
        0,
        0,
    ]
    monkeypatch.setattr(tickets, "STATUS_FRESH_S", 0.0)
    tickets._kept_statuses.clear()
    assert [len(redis_commands(lambda: visit(client, f"/coupons/{coupon}/serving"))) for _ in range(3)] == [
        1,
        1,
        1,
    ]


@on_sqlite
@pytest.mark.parametrize(
    ("ahead", "ms"),
    [
        (0, 1000),
        (499, 1000),
        (500, 2000),
        (1999, 2000),
        (2000, 4000),
        (9999, 4999),
        (10_000, 10_000),
        (100_000, 50_000),
    ],
)
def test_the_farther_back_the_rarer_the_polls(app, ahead, ms):
    app.config["POLLS_PER_SECOND"] = 2000
    assert tickets.next_ms(ahead) == ms


@on_sqlite
@pytest.mark.parametrize(
    ("ahead", "waiting", "ms"),
    [
        (0, 30_000, 1000),
        (499, 30_000, 1000),
        (500, 30_000, 15_000),
        (29_999, 30_000, 15_000),
        (500, 1000, 2000),
        (1500, 8000, 4000),
        (7999, 8000, 4000),
        (30, 0, 1000),
    ],
)
def test_all_who_wait_keep_within_the_budget_but_for_the_front(app, ahead, waiting, ms):
    app.config["POLLS_PER_SECOND"] = 2000
    assert tickets.next_ms(ahead, waiting) == ms


@on_sqlite
@pytest.mark.parametrize("budget", [1, 3, 10, 100, 2000, 100_000])
@pytest.mark.parametrize("waiting", [1, 10, 499, 501, 2000, 8006, 30_000, 250_000])
def test_the_polls_of_all_who_wait_are_within_the_budget(app, budget, waiting):
    app.config["POLLS_PER_SECOND"] = budget
    polls_per_second = sum(1000 / tickets.next_ms(ahead, waiting) for ahead in range(waiting))
    assert polls_per_second <= 1.25 * budget + 1


@on_sqlite
@pytest.mark.parametrize(
    ("ahead", "tickets_per_ms", "ms"),
    [
        (7000, 0.0, 4000),
        (7000, 0.5, 4000),
        (7000, 2.0, 3500),
        (7000, 4.0, 1750),
        (7000, 20.0, 1000),
        (600, 2.0, 1000),
        (600, 0.1, 4000),
        (499, 0.001, 1000),
        (0, 0.0, 1000),
    ],
)
def test_whose_turn_comes_sooner_asks_when_it_comes(app, monkeypatch, ahead, tickets_per_ms, ms):
    app.config["POLLS_PER_SECOND"] = 2000
    serving = replace(claims.line_status(make_coupon()), waiting=8000)
    lately = ((0, 0), (1000, int(1000 * tickets_per_ms)))
    monkeypatch.setattr(tickets, "kept_status", lambda _: tickets.KeptStatus(0, serving, b"", lately))
    assert tickets.ticket_next_ms(1, Ticket("waiting", 1, number=9000, ahead=ahead)) == ms


@on_sqlite
def test_the_pace_is_that_of_the_last_seconds(app, monkeypatch):
    coupon = make_coupon()
    heard = replace(claims.line_status(coupon), now_ms=1000, now_serving=0)
    monkeypatch.setattr(claims, "line_status", lambda _: heard)
    paces = []
    for now_ms, number in [(1000, 0), (1500, 1000), (2000, 3000), (2000, 3000), (4900, 3000), (9000, 3000)]:
        heard = replace(heard, now_ms=now_ms, now_serving=number)
        paces.append(tickets.kept_status(coupon).pace)
    assert paces == [0.0, 2.0, 3.0, 3.0, 0.0, 0.0]


@on_sqlite
@pytest.mark.parametrize(
    ("status", "closes_in", "ms"),
    [
        (LIVE, 3600, 10_000),
        (CLOSED, 3600, 24_000),
        (LIVE, -1, 24_000),
        (PAUSED, -1, 24_000),
    ],
)
def test_whoever_missed_it_asks_on_after_the_end_too(app, client, token, status, closes_in, ms):
    coupon = make_coupon(quota=1)
    other_claims(app, coupon)
    claim(client, coupon, token=token)
    admission.admit(coupon)
    change_sql(coupon, status=status, issue_end_at=utcnow() + timedelta(seconds=closes_in))
    assert ticket(client, coupon).get_json()["next_ms"] == ms
    assert visit(client, f"/coupons/{coupon}/serving", PROGRAM).get_json()["next_ms"] == ms
    assert 'data-poll="1"' in visit(client, f"/coupons/{coupon}").text
    change_coupon(coupon, total_quantity=2, status=LIVE)
    admission.admit(coupon)
    assert ticket(client, coupon).get_json()["state"] == "issued"
    assert 'data-poll=""' in visit(client, f"/coupons/{coupon}").text


@on_sqlite
def test_a_crowd_that_missed_it_keeps_within_the_budget(app, client):
    app.config["POLLS_PER_SECOND"] = 1
    coupon = make_coupon(quota=1)
    other_claims(app, coupon, 31)
    admission.admit(coupon)
    assert visit(client, f"/coupons/{coupon}/serving", PROGRAM).get_json()["next_ms"] == 30_000


@pytest.mark.parametrize(
    ("changes", "state", "ms"),
    [
        ({}, "open", 1000),
        ({"status": PAUSED}, "paused", 1000),
        ({"opens_in": 60}, "scheduled", 4000),
        ({"quota": 0}, "sold_out", 10_000),
        ({"closes_in": -1}, "closed", 24_000),
    ],
)
def test_where_nothing_moves_the_polls_are_rare(app, client, changes, state, ms):
    body = visit(client, f"/coupons/{make_coupon(**changes)}/serving").get_json()
    assert (body["state"], body["next_ms"]) == (state, ms)


def test_who_still_waits_when_all_are_gone_hears_of_it_soon(app, client):
    coupon = make_coupon(quota=1)
    other_claims(app, coupon, 2)
    line = Line(line_redis(), coupon)
    line_redis().hset(line.gate_key, mapping={"sold_out": 1, "issued": 1})
    body = visit(client, f"/coupons/{coupon}/serving").get_json()
    assert (body["state"], body["next_ms"]) == ("sold_out", 1000)


# What a claim costs


def test_claims_and_polls_never_ask_sql(client, token):
    coupon = make_coupon()
    db.session.rollback()
    ended_sessions().has_ended(0, 0)  # what a process knows of them is read by now
    with Statements() as statements:
        assert claim(client, coupon, BROWSER, token).status_code == 303
        assert claim(client, coupon, token=token).status_code == 200
        assert ticket(client, coupon).status_code == 200
        assert visit(client, f"/coupons/{coupon}/serving").status_code == 200
        assert claim(client, make_sold_out_gate(coupon), token=token).status_code == 200
        assert statements == []
        assert visit(client, "/wallet").status_code == 200
    assert statements, "the control: the wallet does ask SQL"


def test_only_a_missing_gate_is_read_from_sql(client, token):
    coupon = make_coupon()
    db.session.rollback()
    line_redis().flushall()
    with Statements() as statements:
        assert claim(client, coupon, token=token).get_json()["epoch"] == 2
        assert statements
        statements.clear()
        assert ticket(client, coupon).get_json()["state"] == "waiting"
        assert statements == []


def test_a_claim_is_one_round_trip(app, client, token):
    coupon = make_coupon()
    other_claims(app, coupon)  # has rung; the script is loaded
    assert line_redis().pttl(Line(line_redis(), coupon).bell_key) <= BELL_MS
    line_redis().persist(Line(line_redis(), coupon).bell_key)
    assert redis_commands(lambda: claim(client, coupon, token=token)) == ["EVALSHA"]
    assert redis_commands(lambda: claim(client, coupon, token=token)) == ["EVALSHA"]
    assert redis_commands(lambda: ticket(client, coupon)) == ["EVALSHA"]


def test_a_lost_bell_does_not_lose_the_ticket(app, client, token, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setitem(app.extensions, "bells", connect_redis("redis://127.0.0.1:1/0"))
    assert claim(client, coupon, token=token).get_json()["number"] == 1


def test_a_coupon_that_is_created_is_claimable_at_once(client, token):
    now = utcnow()
    coupon = create_coupon(title="지금", issue_start_at=now, issue_end_at=now + timedelta(hours=1))
    before = everything()
    assert claim(client, coupon, token=token).status_code == 200
    assert everything() != before
