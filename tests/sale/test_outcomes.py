"""The state of a coupon is one rule, in Python and in the script that decides a claim."""

from itertools import product

import pytest

from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.line.types import Policy, Reply
from webapp.models import STATUSES
from webapp.sale.outcomes import state_of
from webapp.stores.script_redis import line_redis

pytestmark = [
    pytest.mark.usefixtures("app"),
    on_sqlite,
]
HOUR_MS = 3_600_000
REPLIES = {
    "scheduled": Reply.NOT_OPEN,
    "open": Reply.WAITING,
    "paused": Reply.WAITING,  # a paused coupon goes on giving places
    "sold_out": Reply.SOLD_OUT,
    "closed": Reply.CLOSED,
}


@pytest.mark.parametrize(
    ("status", "opens_in", "closes_in", "quota", "issued"),
    list(
        product(
            [status for status in STATUSES if status != "draft"], [-1, 1], [-0.5, 2], [None, 0, 1], [0, 1]
        )
    ),
)
def test_a_claim_is_answered_by_the_state_of_the_coupon(status, opens_in, closes_in, quota, issued):
    line, now_ms = Line(line_redis(), 7), int(line_redis().time()[0]) * 1000
    if opens_in >= closes_in:
        opens_in = closes_in - 1
    period = now_ms + int(opens_in * HOUR_MS), now_ms + int(closes_in * HOUR_MS)
    policy = Policy(1, status, quota, issued, *period)
    line.begin_epoch(policy, epoch=1, mark=1, known=0, serving=0)
    line.open_epoch(1)
    assert line.claim(1).reply is REPLIES[state_of(policy, now_ms=line.gate().now_ms)]
