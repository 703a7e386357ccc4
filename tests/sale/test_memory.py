"""A Redis that is nearly full gives no new numbers, and everything else goes on."""

from collections.abc import Iterator

import pytest
import redis
from flask import Flask
from sqlalchemy import select

from deploy.processes import free_port
from deploy.stores import Valkey
from tests.builders import make_coupon, make_users, sign_in
from tests.conftest import on_sqlite
from tests.redises import REDISES, program
from webapp.line.line import Line
from webapp.models import CLOSED, CouponIssue
from webapp.sale import admission, audit, claims
from webapp.sale.coupons import change_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.redeeming import revoke
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.sql import db

pytestmark = on_sqlite
TAKEN = 0.95
"""The part of its memory that the server has taken: more than nine tenths, and not all."""
QUOTA, PEOPLE = 300, 400


@pytest.fixture(params=REDISES)
def own(request: pytest.FixtureRequest, app: Flask, tmp_path, monkeypatch) -> Iterator[redis.Redis]:
    """A Redis of this test alone, which holds some megabytes beside the lines."""
    with Valkey(tmp_path, port=free_port(), program=program(request.param)) as store:
        for name, options in (("line", {"decode_responses": True}), ("bells", {})):
            monkeypatch.setitem(app.extensions, name, connect_redis(store.url, **options))
        server = redis.Redis.from_url(store.url)
        server.set("others", b"x" * 8_000_000)
        yield server
        server.close()
        for name in ("line", "bells"):
            app.extensions[name].connection_pool.disconnect()


def nearly_fill(server: redis.Redis) -> None:
    server.config_set("maxmemory", int(server.info("memory")["used_memory"] / TAKEN))


def last(coupon: int) -> int:
    gate = Line(line_redis(), coupon).gate()
    assert gate is not None
    return gate.last


def look_again(coupon: int) -> None:
    """Have the next claim look, as it does after a tenth of a second."""
    line_redis().hdel(Line(line_redis(), coupon).gate_key, "looked_at")


def test_claims_are_refused_and_all_else_goes_on(own, client):
    coupon, (late, *people) = make_coupon(quota=QUOTA), make_users(PEOPLE + 1)
    for user in people:
        claims.claim(coupon, user)
    nearly_fill(own)
    look_again(coupon)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        claims.claim(coupon, late)
    assert last(coupon) == PEOPLE
    assert claims.claim(coupon, people[0]).number == 1
    assert client.get("/readyz").get_json()["parts"]["redis"] == "full"
    token = sign_in(client, late)
    answer = client.post(
        f"/coupons/{coupon}/claim", headers={"X-CSRFToken": token, "Accept": "application/json"}
    )
    assert (answer.status_code, answer.get_json()["code"]) == (503, "busy")

    assert admission.admit(coupon).issued == QUOTA
    assert claims.standing(coupon, people[0]).state == "issued"
    code = db.session.scalar(select(CouponIssue.code).where(CouponIssue.user_id == people[0]))
    db.session.rollback()
    revoke(code, None, "a test")
    assert claims.standing(coupon, people[0]).state == "rejected"
    change_coupon(coupon, status=CLOSED)
    with pytest.raises(Refused, match="closed"):
        claims.claim(coupon, late)
    admission.admit(coupon)
    assert claims.standing(coupon, people[QUOTA]).state == "issued"
    assert audit.run(coupon).ok


def test_claims_go_on_when_there_is_room_again(own):
    coupon, (first, second) = make_coupon(), make_users(2)
    nearly_fill(own)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        claims.claim(coupon, first)
    own.config_set("maxmemory", 0)
    look_again(coupon)
    assert [claims.claim(coupon, user).number for user in (first, second)] == [1, 2]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_keeps_no_claim_from_looking(own, hours):
    coupon, (first, second) = make_coupon(), make_users(2)
    claims.claim(coupon, first)
    now_ms = int(own.time()[0]) * 1000
    line_redis().hset(Line(line_redis(), coupon).gate_key, "looked_at", now_ms + hours * 3_600_000)
    nearly_fill(own)
    with pytest.raises(redis.exceptions.OutOfMemoryError):
        claims.claim(coupon, second)
