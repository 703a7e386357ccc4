"""A node of a Cluster that does not answer takes only its own coupons along."""

import pytest
import redis
from sqlalchemy import select

from deploy.clusters import Cluster, ask
from jobs import sweeper
from tests.builders import make_coupon, make_users
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.line.watching import watch
from webapp.models import LineSample
from webapp.sale import claims
from webapp.sale.history import Sampler
from webapp.sale.turnout import turnout
from webapp.stores.cluster import Cluster as Nodes
from webapp.stores.queue import bell_queue
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = [
    pytest.mark.usefixtures("app"),
    on_sqlite,
    pytest.mark.parametrize("lines_url", ["cluster"], indirect=True),
]
PAUSED_MS = 6000


def waited_for() -> dict[int, Line]:
    """Make coupons for each of whom somebody waits whose bell and job are lost."""
    lines = {}
    for _ in range(6):
        coupon_id = make_coupon()
        lines[coupon_id] = Line(line_redis(), coupon_id)
        claims.claim(coupon_id, make_users(1)[0])
        lines[coupon_id].quiet_bell()
    bell_queue().empty()
    return lines


def rung_for() -> set[int]:
    return {int(job_id.partition("-")[0]) for job_id in bell_queue().job_ids}


@pytest.fixture
def quiet(cluster: Cluster):
    """A node that answers nothing for a while, and the coupons that are not on it."""
    lines = waited_for()
    # Not the node of the ended sessions: without them the sweep says that it failed.
    sessions = cluster.master_of("{sessions}:ended")
    node = next(
        node
        for line in lines.values()
        if (node := cluster.master_of(line.gate_key)) not in (sessions, cluster.master_of("sweeper:alive"))
    )
    others = {coupon_id for coupon_id, line in lines.items() if cluster.master_of(line.gate_key) is not node}
    ask(node, "CLIENT", "PAUSE", PAUSED_MS, "ALL")
    yield node, set(lines) - others, others
    ask(node, "PING")  # answered once the pause is over


def test_the_others_are_swept_and_rung_for(quiet):
    _node, its_own, others = quiet
    sweeper.sweep()
    assert rung_for() == others
    assert its_own


def test_and_the_rest_by_the_next_sweep(quiet):
    node, its_own, others = quiet
    sweeper.sweep()
    ask(node, "PING")
    sweeper.sweep()
    assert rung_for() == its_own | others


def test_the_others_keep_their_history_and_hear_of_refused_clicks(quiet):
    _node, its_own, others = quiet
    Sampler().look()
    assert set(db.session.scalars(select(LineSample.coupon_id))) == others
    turnout().stop()  # nothing is told but by this test
    for coupon_id in its_own | others:
        turnout().refused(coupon_id, "sold_out")
    turnout().tell()
    assert [watch(line_redis(), coupon_id).refused for coupon_id in others] == [{"sold_out": 1}] * len(others)


def test_control_an_error_that_is_everybodys_ends_the_sweep(quiet, monkeypatch):
    monkeypatch.setattr(Nodes, "is_apart", lambda *_: False)
    with pytest.raises(redis.RedisError):
        sweeper.sweep()
    assert rung_for() == set()
