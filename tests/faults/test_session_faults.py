"""A session that ended, on two web processes: fault 17."""

import http.client
import time
from contextlib import ExitStack, closing
from functools import partial

import pytest

from deploy.processes import wait_until
from tests.builders import session_cookie
from webapp.accounts.sessions import FILLING, end_sessions
from webapp.stores.script_redis import line_redis

CONNECTIONS = 12
"""Of one thief, over both processes."""
WITHIN_S = 1.0
PROMPT_S = 2.5
"""How long anybody waits for an answer at most, whichever store is slow."""
SLOW_S = 0.1
"""A delay of each packet of SQL."""
PAGE = "text/html,*/*"
ENDED = {"claim": 401, "ticket": 401, "receipt": 401, "wallet": 401}


class Thief:
    """Somebody with a copied cookie and a connection to one of the processes."""

    def __init__(self, site, connection: http.client.HTTPConnection, user: int, coupon: int) -> None:
        self.connection, self.coupon = connection, coupon
        cookie, token = session_cookie(site.app, user)
        self.headers = {"Cookie": f"session={cookie}", "X-CSRFToken": token, "Accept": "application/json"}

    def answers(self) -> dict[str, int]:
        return {what: self.asks(what) for what in ENDED}

    def asks(self, what: str, accept: str = "application/json") -> int:
        """Return the status of the answer to "claim", "ticket", "receipt" or "wallet"."""
        path = "/wallet" if what == "wallet" else f"/coupons/{self.coupon}/{what}"
        self.connection.request(
            "POST" if what == "claim" else "GET", path, headers=self.headers | {"Accept": accept}
        )
        response = self.connection.getresponse()
        response.read()
        return response.status

    def shows_who_it_is(self) -> bool:
        self.connection.request("GET", f"/coupons/{self.coupon}", headers=self.headers | {"Accept": PAGE})
        return b'action="/logout"' in self.connection.getresponse().read()


@pytest.fixture
def thieves(start, open_sale):
    """Start a site, claim for somebody, copy their cookie; return the site, the user and the thieves."""
    with ExitStack() as stack:

        def copying(**options):
            site = start(**options)
            history = open_sale(site, people=2, quota=2)
            history.claim()
            user = history.crowd.user_ids[0]
            connections = [
                http.client.HTTPConnection("127.0.0.1", site.port, timeout=10) for _ in range(CONNECTIONS)
            ]
            copies = [
                Thief(site, stack.enter_context(closing(connection)), user, history.coupon_id)
                for connection in connections
            ]
            for thief in copies:
                assert set(thief.answers().values()) == {200}
                assert thief.shows_who_it_is()
            return site, user, copies

        yield copying


def all_refused(thieves) -> bool:
    return all(thief.answers() == ENDED and not thief.shows_who_it_is() for thief in thieves)


@pytest.mark.quick
def test_17_a_session_that_ended_is_refused_by_every_process(thieves):
    _site, user, copies = thieves()
    end_sessions(user)
    ended = time.monotonic()
    time.sleep(WITHIN_S)
    assert all_refused(copies), [thief.answers() for thief in copies]
    assert time.monotonic() - ended < 30


def test_17_a_wiped_redis_revives_nobody(thieves):
    _site, user, copies = thieves()
    end_sessions(user)
    time.sleep(WITHIN_S)
    for _ in range(5):
        line_redis().flushall()
        for thief in copies:
            assert 200 not in thief.answers().values()
    assert wait_until(lambda: all_refused(copies), wait_s=10)


def test_17_who_cannot_know_says_busy(thieves):
    site, user, copies = thieves(proxied=True)
    site.redis_proxy.black_hole = True
    end_sessions(user)
    time.sleep(WITHIN_S)
    for thief in copies:
        assert thief.answers() == ENDED | {"claim": 503, "ticket": 503}, "of the others SQL knows"
    site.redis_proxy.heal()
    assert wait_until(lambda: all_refused(copies), wait_s=10)


@pytest.mark.quick
def test_17_nobody_waits_for_a_process_that_is_slow_to_tell_redis_who_ended(thieves):
    site, _user, copies = thieves(proxied=True)
    site.sql_proxy.delay_s = SLOW_S
    line_redis().flushall()
    line_redis().set(FILLING, "by a process that is slow", px=60_000)
    clicks = [
        partial(thief.asks, "claim", accept) for thief in copies for accept in (PAGE, "application/json")
    ]
    waited = [timed(click) for click in clicks]
    assert max(took_s for _, took_s in waited) < PROMPT_S, waited
    assert {status for status, _ in waited} == {503}
    line_redis().delete(FILLING)
    site.sql_proxy.heal()
    assert wait_until(lambda: copies[0].asks("claim") == 200, wait_s=10)


def timed(ask):
    """Return the answer, and how many seconds it took."""
    began = time.monotonic()
    return ask(), time.monotonic() - began


def test_17_control_nobody_looks_whether_it_ended(thieves):
    _site, user, copies = thieves(tamper={"web": "nobody ended"})
    end_sessions(user)
    time.sleep(WITHIN_S)
    assert all(thief.answers() == ENDED | {"claim": 200, "ticket": 200, "receipt": 200} for thief in copies)
