"""The lane answers as the app does, answers nothing that the app would refuse, and is really taken."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from tests.builders import csrf_token, make_coupon, make_user, make_users, sign_in
from webapp import issuing, policy, receipts, tickets
from webapp.extensions import connect_redis, db
from webapp.lane import TOKEN, Lane
from webapp.models import Coupon, utcnow

JSON = "application/json"
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
REFUSAL = re.compile(r"(?:sold_out|closed)\.[\d.]+\.[\w-]{22}\b")


@pytest.fixture
def lane(app: Flask) -> Lane:
    found = app.wsgi_app
    assert isinstance(found, Lane)
    return found


@pytest.fixture
def signed_in(client: FlaskClient) -> int:
    user = make_user()
    sign_in(client, user)
    return user.id


def waiting(user: int) -> int:
    coupon = make_coupon()
    issuing.claim(coupon, user)
    return coupon


def issued(user: int) -> int:
    coupon = waiting(user)
    issuing.admit(coupon)
    return coupon


def missed(user: int) -> int:
    coupon = make_coupon(quota=1)
    for everybody in (*make_users(1), user):
        issuing.claim(coupon, everybody)
    issuing.admit(coupon)
    return coupon


def sold_out(user: int) -> int:
    return make_coupon(quota=0)


def closed(user: int) -> int:
    return make_coupon(status="closed")


def early(user: int) -> int:
    return make_coupon(opens_in=3000)


def unknown(user: int) -> int:
    return 10**12


def claim(client: FlaskClient, coupon: int, *, accept: str, token: str | None, **options: Any) -> Any:
    headers = {"Accept": accept, **options.pop("headers", {})}
    if accept == JSON and token is not None:
        headers["X-CSRFToken"] = token
    data = {"csrf_token": token} if accept == HTML and token is not None else None
    return client.post(f"/coupons/{coupon}/claim", headers=headers, data=data, **options)


def facts(answer: Any) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return what is to be the same twice: all but the CSRF token, which carries the second of its making, and the
    receipt of a refusal, which carries the millisecond of the click."""
    token = TOKEN.search(answer.data)
    body = answer.data.replace(token[1], b"token") if token else answer.data
    headers = sorted((name, REFUSAL.sub("receipt", value)) for name, value in answer.headers)
    return answer.status, headers, REFUSAL.sub("receipt", body.decode()).encode()


def both(app: Flask, lane: Lane, ask: Any) -> tuple[Any, Any]:
    """Return the answer through the lane and the app's own, without it."""
    through = facts(ask())
    app.wsgi_app = lane.plain
    try:
        return through, facts(ask())
    finally:
        app.wsgi_app = lane


def fail(*_: object) -> Any:
    raise AssertionError("the request went on to the app")


@pytest.mark.parametrize("accept", [JSON, HTML], ids=["json", "html"])
@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("state", [waiting, issued, missed, sold_out, closed, unknown])
def test_its_answers_are_the_apps_own(app, client, lane, signed_in, state, language, accept):
    coupon, token = state(signed_in), csrf_token(client)

    def ask() -> Any:
        return claim(client, coupon, accept=accept, token=token, headers={"Accept-Language": language})

    for _ in range(2):
        through, plain = both(app, lane, ask)
        assert through == plain


@pytest.mark.parametrize("accept", [JSON, HTML], ids=["json", "html"])
def test_an_early_claim_hears_the_same_but_for_the_time_that_passed(app, client, lane, signed_in, accept):
    coupon, token = early(signed_in), csrf_token(client)
    through, plain = both(app, lane, lambda: claim(client, coupon, accept=accept, token=token))
    assert through[0] == plain[0]
    assert {name for name, _ in through[1]} == {name for name, _ in plain[1]}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("accept", [JSON, HTML], ids=["json", "html"])
@pytest.mark.parametrize("state", [sold_out, closed])
def test_everybody_is_refused_with_a_receipt_of_their_own(app, client, lane, signed_in, state, accept):
    coupon, key = state(signed_in), app.config["SECRET_KEY"]
    others = [make_user().id for _ in range(2)]
    for user in (signed_in, *others, signed_in):
        sign_in(client, user)
        answer = claim(client, coupon, accept=accept, token=csrf_token(client))
        text = REFUSAL.search(answer.text if accept == JSON else answer.location)[0]
        refusal = receipts.read_refusal(key, text)
        assert (refusal.code, refusal.coupon_id, refusal.user_id) == (state.__name__, coupon, user)
        assert int(answer.headers["Content-Length"]) == len(answer.data)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("accept", [JSON, HTML], ids=["json", "html"])
@pytest.mark.parametrize("state", [waiting, issued, missed])
def test_it_is_taken(client, lane, signed_in, state, accept, monkeypatch):
    coupon, token = state(signed_in), csrf_token(client)
    monkeypatch.setattr(lane, "plain", fail)
    assert claim(client, coupon, accept=accept, token=token).status_code == {JSON: 200, HTML: 303}[accept]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_refusal_is_made_once_for_everybody_and_in_each_language(client, lane, signed_in, monkeypatch):
    coupon, token = sold_out(signed_in), csrf_token(client)

    def ask(language: str) -> str:
        headers = {"Accept-Language": language}
        return claim(client, coupon, accept=JSON, token=token, headers=headers).json["title"]

    korean, english = ask("ko"), ask("en")
    assert korean != english
    monkeypatch.setattr(lane, "plain", fail)
    assert (ask("ko"), ask("en")) == (korean, english)


IRREGULAR: dict[str, dict[str, Any]] = {
    "no token": {"token": None},
    "another token": {"token": "IjEi.Zx.yz"},
    "a query": {"query_string": "x=1"},
    "any type": {"accept": "*/*"},
    "over https from nowhere": {"base_url": "https://localhost"},
    "over https from elsewhere": {
        "base_url": "https://localhost",
        "headers": {"Referer": "https://evil.example/"},
    },
    "in chunks": {"headers": {"Transfer-Encoding": "chunked"}},
    "two sessions": {"headers": {"Cookie": "session=a; session=b"}},
    "signed by nobody": {"headers": {"Cookie": "session=eyJfdXNlcl9pZCI6IjEuMC51In0.aaaaaa.bbbb"}},
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("options", IRREGULAR.values(), ids=IRREGULAR)
def test_whatever_is_not_plainly_in_order_goes_on_to_the_app(client, lane, signed_in, options, monkeypatch):
    coupon, token = make_coupon(), csrf_token(client)
    monkeypatch.setattr(lane, "plain", fail)
    use_cookies = client._cookies if "Cookie" in options.get("headers", {}) else None
    if use_cookies is not None:
        client._cookies = {}
    with pytest.raises(AssertionError, match="went on to the app"):
        claim(client, coupon, **{"accept": JSON, "token": token, **options})
    assert issuing.standing(coupon, signed_in).state == "none"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("token_of", ["nobody", "somebody else"])
def test_control_a_token_that_is_not_of_this_session_is_refused_by_the_app(app, client, signed_in, token_of):
    other = app.test_client()
    token = sign_in(other, make_user()) if token_of == "somebody else" else None
    coupon = make_coupon()
    for accept in (JSON, HTML):
        assert claim(client, coupon, accept=accept, token=token).status_code == 400
    assert issuing.standing(coupon, signed_in).state == "none"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_form_that_goes_on_to_the_app_is_still_readable_there(client, signed_in):
    coupon, token = make_coupon(), csrf_token(client)
    answer = client.post(
        f"/coupons/{coupon}/claim",
        data={"csrf_token": token},
        headers={"Accept": "text/html;q=0.9,*/*;q=0.1"},
    )
    assert answer.status_code == 303
    assert issuing.standing(coupon, signed_in).state == "waiting"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_over_https_from_our_own_page_it_is_taken_and_answers_alike(app, client, lane, signed_in):
    coupon, token = waiting(signed_in), csrf_token(client)

    def ask() -> Any:
        headers = {"Referer": f"https://localhost/coupons/{coupon}"}
        return claim(client, coupon, accept=HTML, token=token, base_url="https://localhost", headers=headers)

    through, plain = both(app, lane, ask)
    assert through == plain
    assert "Strict-Transport-Security" in dict(through[1])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_redis_that_does_not_answer_is_told_by_the_app(app, client, signed_in, monkeypatch):
    coupon, token = make_coupon(), csrf_token(client)
    monkeypatch.setitem(app.extensions, "line", connect_redis("redis://127.0.0.1:1", decode_responses=True))
    answer = claim(client, coupon, accept=JSON, token=token)
    assert (answer.status_code, answer.json["code"]) == (503, "busy")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_whoever_waited_in_vain_does_not_wait_once_more(client, signed_in, monkeypatch):
    coupon, token, asked = make_coupon(), csrf_token(client), []

    def busy(*_: int) -> Any:
        asked.append("claim")
        raise issuing.Refused("busy", retry_ms=1000)

    monkeypatch.setattr(issuing, "claim", busy)
    answer = claim(client, coupon, accept=JSON, token=token)
    assert (answer.status_code, answer.json["code"], answer.headers["Retry-After"]) == (503, "busy", "1")
    assert asked == ["claim"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_policy_that_changes_is_not_hidden_by_a_kept_answer(client, signed_in):
    coupon, token = sold_out(signed_in), csrf_token(client)
    assert claim(client, coupon, accept=JSON, token=token).status_code == 410
    policy.change_coupon(coupon, total_quantity=1)
    assert claim(client, coupon, accept=JSON, token=token).status_code == 200


# The polls


@pytest.mark.parametrize("state", [waiting, issued, missed, early, closed, unknown])
@pytest.mark.parametrize("what", ["ticket", "serving"])
def test_its_polls_are_the_apps_own(app, client, lane, signed_in, state, what, monkeypatch):
    coupon = state(signed_in)
    monkeypatch.setattr(tickets, "SERVING_FRESH_S", 60)
    through, plain = both(app, lane, lambda: client.get(f"/coupons/{coupon}/{what}"))
    assert through == plain


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", ["ticket", "serving"])
def test_polls_are_taken(client, lane, signed_in, what, monkeypatch):
    coupon = waiting(signed_in)
    monkeypatch.setattr(lane, "plain", fail)
    assert client.get(f"/coupons/{coupon}/{what}").status_code == 200
    with pytest.raises(AssertionError, match="went on"):
        client.head(f"/coupons/{coupon}/{what}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_receipt_is_looked_at_by_the_app(client, lane, signed_in, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(lane, "plain", fail)
    assert client.get(f"/coupons/{coupon}/ticket").json["state"] == "none"
    with pytest.raises(AssertionError, match="went on"):
        client.get(f"/coupons/{coupon}/ticket", headers={"X-Ticket-Receipt": "1.2.3.4.x"})


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_who_is_signed_out_hears_it_from_the_app(client, signed_in):
    coupon = make_coupon()
    client.delete_cookie("session")
    assert client.get(f"/coupons/{coupon}/ticket").status_code == 401
    assert client.get(f"/coupons/{coupon}/serving").status_code == 200


# The page before the start


def page(client: FlaskClient, coupon: int, **headers: str) -> Any:
    return client.get(f"/coupons/{coupon}", headers={"Accept": HTML, **headers})


def without_time(body: bytes) -> str:
    return re.sub(r'data-now-ms="\d+"|\d\d:\d\d:\d\d|content="\d+"', "time", body.decode())


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_page_before_the_start_is_the_apps_own(app, client, lane, signed_in, language):
    coupon = early(signed_in)
    for _ in range(3):
        through, plain = both(app, lane, lambda: page(client, coupon, **{"Accept-Language": language}))
        assert without_time(through[2]) == without_time(plain[2])
        assert (through[0], through[1]) == (plain[0], plain[1])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_page_is_made_once_and_everybody_gets_their_own_token(app, client, lane, signed_in, monkeypatch):
    coupon, other = early(signed_in), app.test_client()
    sign_in(other, make_user())
    csrf_token(client)
    monkeypatch.setattr("webapp.lane.SERVING_FRESH_S", 60)
    monkeypatch.setattr(tickets, "SERVING_FRESH_S", 60)
    page(client, coupon)
    with monkeypatch.context() as patched:
        patched.setattr(lane, "plain", fail)
        mine, theirs = page(client, coupon).text, page(other, coupon).text
    policy.change_coupon(coupon, issue_start_at=utcnow() - timedelta(seconds=1))
    tokens = [TOKEN.search(body.encode())[1].decode() for body in (mine, theirs)]
    assert tokens[0] not in theirs
    assert claim(client, coupon, accept=JSON, token=tokens[1]).status_code == 400
    for browser, token in zip((client, other), tokens, strict=True):
        assert claim(browser, coupon, accept=JSON, token=token).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("waits", "made"), [(True, 1), (False, 2)], ids=["", "control"])
def test_who_comes_while_the_page_is_first_made_waits_for_it(
    client, lane, signed_in, monkeypatch, waits, made
):
    coupon, plain, lock = early(signed_in), lane.plain, threading.Lock()
    asked, begun, go = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def acquire(timeout: float) -> bool:
        asked.release()
        return waits and lock.acquire(timeout=10)

    def make(*args: Any) -> Any:
        begun.release()
        assert go.wait(10)
        return plain(*args)

    csrf_token(client)
    monkeypatch.setattr("webapp.lane.SERVING_FRESH_S", 60)
    monkeypatch.setattr(lane, "first", SimpleNamespace(acquire=acquire, release=lock.release))
    monkeypatch.setattr(lane, "plain", make)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(page, client, coupon) for _ in range(2)]
        assert all(asked.acquire(timeout=10) for _ in answers)
        assert all(begun.acquire(timeout=10) for _ in range(made))
        go.set()
    assert [answer.result().status_code for answer in answers] == [200, 200]
    assert not begun.acquire(blocking=False)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("state", [waiting, issued, missed, sold_out, closed, make_coupon])
def test_every_other_page_is_the_apps(client, lane, signed_in, state, monkeypatch):
    coupon = state() if state is make_coupon else state(signed_in)
    monkeypatch.setattr(lane, "plain", fail)
    with pytest.raises(AssertionError, match="went on"):
        page(client, coupon)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_line_that_was_opened_before_has_tickets_and_is_the_apps(client, lane, signed_in, monkeypatch):
    coupon = waiting(signed_in)
    start = utcnow() + timedelta(hours=1)
    # No operator can do this any more.
    db.session.execute(update(Coupon).values(issue_start_at=start, issue_end_at=start + timedelta(hours=1)))
    db.session.commit()
    policy.change_coupon(coupon)
    monkeypatch.setattr(lane, "plain", fail)
    with pytest.raises(AssertionError, match="went on"):
        page(client, coupon)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_message_in_the_session_is_shown_by_the_app(client, lane, signed_in):
    coupon = early(signed_in)
    page(client, coupon)
    with client.session_transaction() as session:
        session["_flashes"] = [("message", "Hello there")]
    assert "Hello there" in page(client, coupon).text
    assert "Hello there" not in page(client, coupon).text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_operators_page_is_not_kept_for_others(app, client, lane, signed_in, monkeypatch):
    coupon, operator = early(signed_in), app.test_client()
    sign_in(operator, make_user(role="operator"))
    for browser in (operator, client, operator):
        page(browser, coupon)
    assert "/admin/" in page(operator, coupon).text
    assert "/admin/" not in page(client, coupon).text
