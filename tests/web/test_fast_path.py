"""The fast path answers as the app does, answers nothing that the app would refuse, and is really taken."""

import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from deploy.processes import ROOT
from tests.builders import csrf_token, make_coupon, make_user, make_users, session_cookie, sign_in
from tests.conftest import Browser, close, settings
from webapp import create_app
from webapp.accounts.sessions import end_sessions
from webapp.line.line import Line
from webapp.models import Coupon, utcnow
from webapp.sale import admission, claims, coupons, receipts
from webapp.sale.epochs import EPOCH_STEP
from webapp.sale.outcomes import Refused
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.sql import db
from webapp.web import presenting
from webapp.web.fast import kept
from webapp.web.fast.path import TOKEN, FastPath
from webapp.web.fast.requests import MADE_BY_APP, TAKEN
from webapp.web.pages import tickets

JSON = "application/json"
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
REFUSAL = re.compile(r"(?:sold_out|closed)\.[\d.]+\.[\w-]{22}\b")


@pytest.fixture
def fast_path(app: Flask) -> FastPath:
    found = app.wsgi_app
    assert isinstance(found, FastPath)
    return found


@pytest.fixture
def flask_alone(app: Flask, database_url: str, valkey: Any) -> Iterator[Flask]:
    """The same installation with the fast path turned off."""
    alone = create_app(settings(database_url, valkey.url) | {"FAST_PATH": False})
    alone.jinja_env.bytecode_cache = app.jinja_env.bytecode_cache
    yield alone
    with alone.app_context():
        close(alone)


@pytest.fixture
def signed_in(client: FlaskClient) -> int:
    user = make_user()
    sign_in(client, user)
    return user.id


def waiting(user: int) -> int:
    coupon = make_coupon()
    claims.claim(coupon, user)
    return coupon


def issued(user: int) -> int:
    coupon = waiting(user)
    admission.admit(coupon)
    return coupon


def missed(user: int) -> int:
    coupon = make_coupon(quota=1)
    for everybody in (*make_users(1), user):
        claims.claim(coupon, everybody)
    admission.admit(coupon)
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
    return client.open(
        f"/coupons/{coupon}/claim", headers=headers, data=data, **{"method": "POST", **options}
    )


def facts(answer: Any) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return what is to be the same twice: all but the CSRF token, which carries the second of its making, and the
    receipt of a refusal, which carries the millisecond of the click."""
    token = TOKEN.search(answer.data)
    body = answer.data.replace(token[1], b"token") if token else answer.data
    headers = sorted((name, REFUSAL.sub("receipt", value)) for name, value in answer.headers)
    return answer.status, headers, REFUSAL.sub("receipt", body.decode()).encode()


def both(client: FlaskClient, flask_alone: Flask, ask: Any) -> tuple[Any, Any]:
    """Return the answer with the fast path, and with the fast path turned off."""
    through, with_it = facts(ask()), client.application
    client.application = flask_alone
    try:
        return through, facts(ask())
    finally:
        client.application = with_it


def counted(fast_path: FastPath) -> dict[tuple[str, str], int]:
    return {(kind, word): count for kind, words in fast_path.counts.items() for word, count in words.items()}


def fail(*_: object) -> Any:
    raise AssertionError("the request went on to the app")


@pytest.mark.parametrize("accept", [JSON, HTML], ids=["json", "html"])
@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("state", [waiting, issued, missed, sold_out, closed, unknown])
def test_its_answers_are_the_apps_own(client, flask_alone, signed_in, state, language, accept):
    coupon, token = state(signed_in), csrf_token(client)

    def ask() -> Any:
        return claim(client, coupon, accept=accept, token=token, headers={"Accept-Language": language})

    for _ in range(2):
        through, plain = both(client, flask_alone, ask)
        assert through == plain


@pytest.mark.parametrize("accept", [JSON, HTML], ids=["json", "html"])
def test_an_early_claim_hears_the_same_but_for_the_time_that_passed(client, flask_alone, signed_in, accept):
    coupon, token = early(signed_in), csrf_token(client)
    through, plain = both(client, flask_alone, lambda: claim(client, coupon, accept=accept, token=token))
    assert through[0] == plain[0]
    assert {name for name, _ in through[1]} == {name for name, _ in plain[1]}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("accept", [JSON, HTML], ids=["json", "html"])
@pytest.mark.parametrize("state", [sold_out, closed])
def test_everybody_is_refused_with_a_receipt_of_their_own(app, client, fast_path, signed_in, state, accept):
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
def test_it_is_taken(client, fast_path, signed_in, state, accept, monkeypatch):
    coupon, token = state(signed_in), csrf_token(client)
    monkeypatch.setattr(fast_path, "plain", fail)
    assert claim(client, coupon, accept=accept, token=token).status_code == {JSON: 200, HTML: 303}[accept]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_refusal_is_made_once_for_everybody_and_in_each_language(client, fast_path, signed_in, monkeypatch):
    coupon, token = sold_out(signed_in), csrf_token(client)

    def ask(language: str) -> str:
        headers = {"Accept-Language": language}
        return claim(client, coupon, accept=JSON, token=token, headers=headers).json["title"]

    korean, english = ask("ko"), ask("en")
    assert korean != english
    monkeypatch.setattr(fast_path, "plain", fail)
    assert (ask("ko"), ask("en")) == (korean, english)


IRREGULAR: dict[str, tuple[str, dict[str, Any]]] = {
    "no token": ("wrong token", {"token": None}),
    "another token": ("wrong token", {"token": "IjEi.Zx.yz"}),
    "a query": ("with a query", {"query_string": "x=1"}),
    "any type": ("another type", {"accept": "*/*"}),
    "over https without a session": ("not signed in", {"base_url": "https://localhost", "token": None}),
    "over https from nowhere": ("from another page", {"base_url": "https://localhost"}),
    "over https from elsewhere": (
        "from another page",
        {"base_url": "https://localhost", "headers": {"Referer": "https://evil.example/"}},
    ),
    "in chunks": ("unusual request", {"headers": {"Transfer-Encoding": "chunked"}}),
    "under a prefix": ("unusual request", {"base_url": "http://localhost/prefix"}),
    "of a host that is none": ("another host", {"headers": {"Host": "a..b"}}),
    "no cookie": ("not signed in", {"headers": {"Cookie": "x=1"}}),
    "two sessions": ("unusual session", {"headers": {"Cookie": "session={ours}; session=b"}}),
    "signed by nobody": (
        "unusual session",
        {"headers": {"Cookie": "session=eyJfdXNlcl9pZCI6IjEuMC51In0.aaaaaa.bbbb"}},
    ),
    "by another method": ("another method", {"method": "PUT"}),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("why", "options"), IRREGULAR.values(), ids=IRREGULAR)
def test_a_claim_that_is_not_plainly_in_order_goes_on_to_the_app_and_is_counted(
    client, fast_path, signed_in, why, options, monkeypatch
):
    coupon, over = make_coupon(), "https://localhost" if why == "from another page" else "http://localhost"
    token = sign_in(client, signed_in, over)
    monkeypatch.setattr(fast_path, "plain", fail)
    headers = dict(options.get("headers", {}))
    if "Cookie" in headers:
        headers["Cookie"] = headers["Cookie"].format(ours=client.get_cookie("session").value)
        client._cookies = None  # else it sends its own
    with pytest.raises(AssertionError, match="went on to the app"):
        claim(client, coupon, **{"accept": JSON, "token": token, **options, "headers": headers})
    assert counted(fast_path) == {("claim", why): 1}
    assert claims.standing(coupon, signed_in).state == "none"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("token_of", ["nobody", "somebody else"])
def test_control_a_token_that_is_not_of_this_session_is_refused_by_the_app(app, client, signed_in, token_of):
    other = app.test_client()
    token = sign_in(other, make_user()) if token_of == "somebody else" else None
    coupon = make_coupon()
    for accept in (JSON, HTML):
        assert claim(client, coupon, accept=accept, token=token).status_code == 400
    assert claims.standing(coupon, signed_in).state == "none"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_form_that_goes_on_to_the_app_is_still_readable_there(client, signed_in):
    coupon, token = make_coupon(), csrf_token(client)
    answer = client.post(
        f"/coupons/{coupon}/claim",
        data={"csrf_token": token},
        headers={"Accept": "text/html;q=0.9,*/*;q=0.1"},
    )
    assert answer.status_code == 303
    assert claims.standing(coupon, signed_in).state == "waiting"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_over_https_from_our_own_page_it_is_taken_and_answers_alike(client, flask_alone, signed_in):
    coupon, token = waiting(signed_in), csrf_token(client)

    def ask() -> Any:
        headers = {"Referer": f"https://localhost/coupons/{coupon}"}
        return claim(client, coupon, accept=HTML, token=token, base_url="https://localhost", headers=headers)

    through, plain = both(client, flask_alone, ask)
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
        raise Refused("busy", retry_ms=1000)

    monkeypatch.setattr(claims, "claim", busy)
    answer = claim(client, coupon, accept=JSON, token=token)
    assert (answer.status_code, answer.json["code"], answer.headers["Retry-After"]) == (503, "busy", "1")
    assert asked == ["claim"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_policy_that_changes_is_not_hidden_by_a_kept_answer(client, signed_in):
    coupon, token = sold_out(signed_in), csrf_token(client)
    assert claim(client, coupon, accept=JSON, token=token).status_code == 410
    coupons.change_coupon(coupon, total_quantity=1)
    assert claim(client, coupon, accept=JSON, token=token).status_code == 200


# The polls


@pytest.mark.parametrize("state", [waiting, issued, missed, early, closed, unknown])
@pytest.mark.parametrize("what", ["ticket", "serving"])
def test_its_polls_are_the_apps_own(client, flask_alone, signed_in, state, what, monkeypatch):
    coupon = state(signed_in)
    monkeypatch.setattr(tickets, "STATUS_FRESH_S", 60)
    through, plain = both(client, flask_alone, lambda: client.get(f"/coupons/{coupon}/{what}"))
    assert through == plain


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", ["ticket", "serving"])
def test_polls_are_taken(client, fast_path, signed_in, what, monkeypatch):
    coupon = waiting(signed_in)
    monkeypatch.setattr(fast_path, "plain", fail)
    assert client.get(f"/coupons/{coupon}/{what}").status_code == 200
    with pytest.raises(AssertionError, match="went on"):
        client.head(f"/coupons/{coupon}/{what}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_receipt_is_looked_at_by_the_app(client, fast_path, signed_in, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(fast_path, "plain", fail)
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
def test_the_page_before_the_start_is_the_apps_own(client, flask_alone, signed_in, language):
    coupon = early(signed_in)
    for _ in range(3):
        through, plain = both(
            client, flask_alone, lambda: page(client, coupon, **{"Accept-Language": language})
        )
        assert without_time(through[2]) == without_time(plain[2])
        assert (through[0], through[1]) == (plain[0], plain[1])


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_page_is_made_once_and_everybody_gets_their_own_token(
    app, client, fast_path, signed_in, monkeypatch
):
    coupon, other = early(signed_in), app.test_client()
    sign_in(other, make_user())
    csrf_token(client)
    monkeypatch.setattr("webapp.web.fast.path.STATUS_FRESH_S", 60)
    monkeypatch.setattr(tickets, "STATUS_FRESH_S", 60)
    page(client, coupon)
    with monkeypatch.context() as patched:
        patched.setattr(fast_path, "plain", fail)
        mine, theirs = page(client, coupon).text, page(other, coupon).text
    coupons.change_coupon(coupon, issue_start_at=utcnow() - timedelta(seconds=1))
    tokens = [TOKEN.search(body.encode())[1].decode() for body in (mine, theirs)]
    assert tokens[0] not in theirs
    assert claim(client, coupon, accept=JSON, token=tokens[1]).status_code == 400
    for browser, token in zip((client, other), tokens, strict=True):
        assert claim(browser, coupon, accept=JSON, token=token).status_code == 200


def start_anew(coupon: int) -> None:
    """Have the line begin a new epoch, as after a restart of Redis: its counter stands at a million."""
    Line(line_redis(), coupon).end_epoch()
    tickets._kept_statuses.clear()
    assert claims.line_status(coupon).last == EPOCH_STEP


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_page_is_shared_after_a_restart_of_redis_too(client, fast_path, signed_in, monkeypatch):
    coupon = early(signed_in)
    csrf_token(client)
    start_anew(coupon)
    monkeypatch.setattr("webapp.web.fast.path.STATUS_FRESH_S", 60)
    page(client, coupon)
    monkeypatch.setattr(fast_path, "plain", fail)
    assert page(client, coupon).status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("queue", ["line_key", "standby_key"])
def test_the_page_is_not_shared_where_somebody_has_a_number(client, fast_path, signed_in, queue):
    coupon = early(signed_in)
    line = Line(line_redis(), coupon)
    start_anew(coupon)
    line_redis().hset(line.gate_key, "sold_out", "1")  # or standby would be the line again
    line_redis().zadd(getattr(line, queue), {"1": 1})
    page(client, coupon)
    assert fast_path.counts["page"]["not before the start"] == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("waits", "made"), [(True, 1), (False, 2)], ids=["", "control"])
def test_who_comes_while_the_page_is_first_made_waits_for_it(
    client, fast_path, signed_in, monkeypatch, waits, made
):
    coupon, plain, lock = early(signed_in), fast_path.plain, threading.Lock()
    asked, begun, go = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def acquire(timeout: float) -> bool:
        asked.release()
        return waits and lock.acquire(timeout=10)

    def make(*args: Any) -> Any:
        begun.release()
        assert go.wait(10)
        return plain(*args)

    csrf_token(client)
    monkeypatch.setattr("webapp.web.fast.path.STATUS_FRESH_S", 60)
    monkeypatch.setattr(fast_path, "first", SimpleNamespace(acquire=acquire, release=lock.release))
    monkeypatch.setattr(fast_path, "plain", make)
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(page, client, coupon) for _ in range(2)]
        assert all(asked.acquire(timeout=10) for _ in answers)
        assert all(begun.acquire(timeout=10) for _ in range(made))
        go.set()
    assert [answer.result().status_code for answer in answers] == [200, 200]
    assert not begun.acquire(blocking=False)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("state", [waiting, issued, missed, sold_out, closed, make_coupon])
def test_every_other_page_is_the_apps(client, fast_path, signed_in, state, monkeypatch):
    coupon = state() if state is make_coupon else state(signed_in)
    monkeypatch.setattr(fast_path, "plain", fail)
    with pytest.raises(AssertionError, match="went on"):
        page(client, coupon)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_line_that_was_opened_before_has_tickets_and_is_the_apps(client, fast_path, signed_in, monkeypatch):
    coupon = waiting(signed_in)
    start = utcnow() + timedelta(hours=1)
    # No operator can do this any more.
    db.session.execute(update(Coupon).values(issue_start_at=start, issue_end_at=start + timedelta(hours=1)))
    db.session.commit()
    coupons.change_coupon(coupon)
    monkeypatch.setattr(fast_path, "plain", fail)
    with pytest.raises(AssertionError, match="went on"):
        page(client, coupon)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_message_in_the_session_is_shown_by_the_app(client, fast_path, signed_in):
    coupon = early(signed_in)
    page(client, coupon)
    with client.session_transaction() as session:
        session["_flashes"] = [("message", "Hello there")]
    assert "Hello there" in page(client, coupon).text
    assert "Hello there" not in page(client, coupon).text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_page_of_after_the_start_is_not_kept_for_others(app, client, fast_path, signed_in, monkeypatch):
    """The public numbers are up to a quarter of a second old, and said that it had not begun."""
    coupon, other = make_coupon(), app.test_client()
    sign_in(other, make_user())
    before = replace(tickets.kept_status(coupon).status, state="scheduled", last=0)
    old = SimpleNamespace(status=before)
    monkeypatch.setattr("webapp.web.fast.path.kept_status", lambda _coupon_id: old)
    number = claims.claim(coupon, signed_in).number
    assert f'data-number="{number}"' in page(client, coupon).text
    assert 'data-number="' not in page(other, coupon).text
    assert fast_path.pages == {}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_page_before_the_start_names_nobody(client, fast_path, signed_in):
    """It is the same for all; every other page says whose receipts to look for."""
    assert 'data-user="-"' in page(client, early(signed_in)).text
    assert f'data-user="{signed_in}"' in page(client, make_coupon()).text
    assert f'data-user="{signed_in}"' in page(client, waiting(signed_in)).text
    assert f'data-user="{signed_in}"' in page(client, sold_out(signed_in)).text


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_operators_page_is_not_kept_for_others(app, client, fast_path, signed_in, monkeypatch):
    coupon, operator = early(signed_in), app.test_client()
    sign_in(operator, make_user(role="operator"))
    for browser in (operator, client, operator):
        page(browser, coupon)
    assert "/admin/" in page(operator, coupon).text
    assert "/admin/" not in page(client, coupon).text


# The language of what is kept

SENT: list[tuple[str | None, str, str]] = [
    (None, "", "ko"),
    ("", "", "ko"),
    ("ko", "", "ko"),
    ("ko-KR,ko;q=0.9,en-US;q=0.8,en;q=0.7", "", "ko"),
    ("fr-CH, de;q=0.5", "", "ko"),
    ("*", "", "ko"),
    ("en;q=0, ko;q=0.1", "", "ko"),
    ("en;q=0.2, ko;q=0.3", "", "ko"),
    ("en;q=2", "", "ko"),
    ("\xff;q=;;", "", "ko"),
    ("x" * 5000, "", "ko"),
    ("en", "", "en"),
    ("en-US,en;q=0.9", "", "en"),
    ("EN-us", "", "en"),
    ("en_GB", "", "en"),
    ("  en ; q=0.3 ,ko;q=0.2", "", "en"),
    ("zh-Hant-TW, en;q=0.1", "", "en"),
    ("ko;q=x,en", "", "en"),
    ("ko", "lang=en", "en"),
    ("en", "lang=ko", "ko"),
    ("ko", 'lang="en"', "en"),
    ("ko", "lang = en", "en"),
    ("ko", "lang=en; lang=ko", "en"),
    ("en", "lang=ko; lang=en", "ko"),
    ("ko", "x=1;lang=en", "en"),
    ("en", "lang=KO", "en"),
    ("en", "lang=fr", "en"),
    ("en", "lang=", "en"),
    ("en", "lang", "en"),
    ("en", "xlang=ko", "en"),
    ("en", "language=ko", "en"),
    ("en", "Lang=ko", "en"),
    ("en", "__Host-lang=ko", "en"),
    ("en", 'x="; lang=ko"', "en"),
]
"""Accept-Language and a cookie as they come, and the language in which the app answers."""


def sent(
    app: Flask, user: int, method: str, path: str, accept: str, accepted: str | None, chosen: str
) -> Any:
    cookie, token = session_cookie(app, user)
    headers = {"Accept": accept, "X-CSRFToken": token}
    headers["Cookie"] = "; ".join(filter(None, (chosen, f"session={cookie}")))
    if accepted is not None:
        headers["Accept-Language"] = accepted
    return app.test_client(use_cookies=False).open(path, method=method, headers=headers)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("accepted", "chosen", "language"), SENT)
def test_its_language_is_the_apps(app, flask_alone, fast_path, signed_in, accepted, chosen, language):
    flask_alone.test_client_class = Browser
    coupon = early(signed_in)
    for each in (flask_alone, app, app):
        shown = sent(each, signed_in, "GET", f"/coupons/{coupon}", HTML, accepted, chosen).text
        assert f'<html lang="{language}">' in shown
    assert [key.language for key in fast_path.pages] == [language]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("by", ["language", "header as it came"], ids=["", "control"])
def test_a_page_is_kept_once_for_each_language(app, fast_path, signed_in, monkeypatch, by):
    coupon = early(signed_in)
    monkeypatch.setattr("webapp.web.fast.path.STATUS_FRESH_S", 60)
    monkeypatch.setattr(tickets, "STATUS_FRESH_S", 60)
    if by != "language":
        monkeypatch.setattr(
            "webapp.web.fast.path.language_of", lambda environ: environ.get("HTTP_ACCEPT_LANGUAGE")
        )
    for accepted, chosen, _language in SENT:
        sent(app, signed_in, "GET", f"/coupons/{coupon}", HTML, accepted, chosen)
    entries = 2 if by == "language" else len({accepted for accepted, _chosen, _language in SENT})
    assert len(fast_path.pages) == entries
    assert fast_path.counts["page"] == {MADE_BY_APP: entries, TAKEN: len(SENT) - entries}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_refusal_is_kept_once_for_each_language(app, fast_path, signed_in):
    coupon, titles = sold_out(signed_in), {"ko": set(), "en": set()}
    for accepted, chosen, language in SENT:
        answer = sent(app, signed_in, "POST", f"/coupons/{coupon}/claim", JSON, accepted, chosen)
        titles[language].add(answer.json["title"])
    assert [len(of_one) for of_one in titles.values()] == [1, 1]
    assert titles["ko"] != titles["en"]
    assert len(fast_path.refusals) == 2
    assert fast_path.counts["claim"] == {MADE_BY_APP: 2, TAKEN: len(SENT) - 2}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("accepted", "chosen", "language"),
    [("ko", "__Host-lang=en", "en"), ("ko", "lang=en", "ko"), ("en", "lang=en; __Host-lang=ko", "ko")],
)
def test_over_https_only_its_own_cookie_says_the_language(
    app, client, fast_path, signed_in, accepted, chosen, language
):
    cookie, _token = session_cookie(app, signed_in)
    headers = {"Accept": HTML, "Accept-Language": accepted, "Cookie": f"{chosen}; __Host-session={cookie}"}
    plain = app.test_client(use_cookies=False)
    shown = plain.get(f"/coupons/{early(signed_in)}", headers=headers, base_url="https://localhost").text
    assert f'<html lang="{language}">' in shown
    assert [key.language for key in fast_path.pages] == [language]


def test_what_is_kept_has_a_bound(monkeypatch):
    monkeypatch.setattr(kept, "MOST_KEPT", 3)
    answers: kept.Kept[int, str] = kept.Kept()
    lengths = []
    for number in (0, 1, 2, 2, 0, 3, 4, 5, 6):
        answers[number] = "an answer"
        lengths.append(len(answers))
    assert lengths == [1, 2, 3, 3, 3, 1, 2, 3, 1]


def test_headers_that_were_read_are_not_remembered_for_ever():
    for number in range(2 * presenting.MOST_ACCEPTED):
        assert presenting.language_for(None, f"x-{number}, en;q=0.1") == "en"
    assert presenting._accepted_language.cache_info().currsize == presenting.MOST_ACCEPTED


# What it took, and what it passed on and why


def redis_away(client: FlaskClient, user: int, token: str, monkeypatch: Any) -> Any:
    coupon, away = make_coupon(), connect_redis("redis://127.0.0.1:1", decode_responses=True)
    monkeypatch.setitem(client.application.extensions, "line", away)
    return claim(client, coupon, accept=JSON, token=token)


def busy(client: FlaskClient, user: int, token: str, monkeypatch: Any) -> Any:
    coupon = make_coupon()
    monkeypatch.setattr(claims, "claim", partial(_refuse, Refused("busy", retry_ms=1000)))
    return claim(client, coupon, accept=JSON, token=token)


def _refuse(refused: Refused, *_: int) -> Any:
    raise refused


def ended(client: FlaskClient, user: int, token: str, monkeypatch: Any) -> Any:
    end_sessions(user)
    return client.get(f"/coupons/{make_coupon()}/ticket")


def with_message(client: FlaskClient, user: int, token: str, monkeypatch: Any) -> Any:
    with client.session_transaction() as session:
        session["_flashes"] = [("message", "Hello there")]
    return page(client, early(user))


ASKED: list[tuple[str, str, Any]] = [
    ("claim", TAKEN, lambda client, user, token: claim(client, waiting(user), accept=JSON, token=token)),
    ("claim", TAKEN, lambda client, user, token: claim(client, sold_out(user), accept=HTML, token=token)),
    ("claim", MADE_BY_APP, lambda client, user, token: claim(client, closed(user), accept=JSON, token=token)),
    ("claim", "not_open", lambda client, user, token: claim(client, early(user), accept=JSON, token=token)),
    (
        "claim",
        "not_found",
        lambda client, user, token: claim(client, unknown(user), accept=JSON, token=token),
    ),
    ("ticket", TAKEN, lambda client, user, token: client.get(f"/coupons/{issued(user)}/ticket")),
    ("ticket", "not_found", lambda client, user, token: client.get(f"/coupons/{unknown(user)}/ticket")),
    (
        "ticket",
        "with a receipt",
        lambda client, user, token: client.get(
            f"/coupons/{make_coupon()}/ticket", headers={"X-Ticket-Receipt": "1"}
        ),
    ),
    ("ticket", "another method", lambda client, user, token: client.head(f"/coupons/{make_coupon()}/ticket")),
    ("serving", TAKEN, lambda client, user, token: client.get(f"/coupons/{make_coupon()}/serving")),
    (
        "serving",
        "with a query",
        lambda client, user, token: client.get(f"/coupons/{make_coupon()}/serving?x"),
    ),
    ("page", MADE_BY_APP, lambda client, user, token: page(client, early(user))),
    ("page", "not before the start", lambda client, user, token: page(client, waiting(user))),
    ("page", "another type", lambda client, user, token: client.get(f"/coupons/{early(user)}")),
    ("other", "another address", lambda client, user, token: client.get("/")),
    ("other", "another address", lambda client, user, token: client.get("/coupons/01/claim")),
]
FAILING = [
    ("claim", "store failed", redis_away),
    ("claim", "busy", busy),
    ("ticket", "ended session", ended),
    ("page", "unusual session", with_message),
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("kind", "word", "ask"), ASKED)
def test_every_request_is_counted_once(client, fast_path, signed_in, kind, word, ask):
    ask(client, signed_in, csrf_token(client))
    assert counted(fast_path) == {(kind, word): 1}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("kind", "word", "ask"), FAILING)
def test_what_fails_is_counted_too(client, fast_path, signed_in, monkeypatch, kind, word, ask):
    ask(client, signed_in, csrf_token(client), monkeypatch)
    assert counted(fast_path) == {(kind, word): 1}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_operators_see_the_counts_of_the_process(client, flask_alone, signed_in):
    claim(client, waiting(signed_in), accept=JSON, token=csrf_token(client))
    seen = client.get("/readyz").json
    assert (seen["process"], seen["fast_path"]["claim"]) == (os.getpid(), {TAKEN: 1})
    assert client.get("/readyz").json["fast_path"]["other"] == {"another address": 2}
    assert flask_alone.test_client().get("/readyz").json["fast_path"] == "off"


def test_every_word_is_a_fixed_one_that_is_tried_and_told():
    source = "".join(path.read_text() for path in (ROOT / "webapp" / "web" / "fast").glob("*.py"))
    words = set(re.findall(r'PassedOn\("([^"]+)"\)', source)) | {TAKEN, MADE_BY_APP}
    others = set(re.findall(r'PassedOn\(([^")]+)\)', source))
    tried = {word for _kind, word, _ask in ASKED + FAILING} | {why for why, _options in IRREGULAR.values()}
    told = (ROOT / "docs" / "adr" / "0002-fast-path.md").read_text()
    assert others == {"Exception", "refused.code"}
    assert words <= tried
    assert [word for word in words if f"`{word}`" not in told] == []


# The setting


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("value", "on"),
    [
        *((value, True) for value in ("", " ", "on", "ON", "true", "True", "1", "yes")),
        *((value, False) for value in ("off", "OFF", "false", "False", "0", "no")),
    ],
)
def test_one_setting_turns_it_off(app, database_url, valkey, monkeypatch, value, on):
    monkeypatch.setenv("FAST_PATH", value)
    built = create_app(settings(database_url, valkey.url))
    assert isinstance(built.wsgi_app, FastPath) is on
    assert ("fast_path_counts" in built.extensions) is on
