"""The sweeper of a running system keeps the history of a sale, second by second, and disturbs nobody."""

import threading
from itertools import pairwise

import pytest
from sqlalchemy.exc import OperationalError

from deploy.processes import wait_until
from jobs import sweeper
from tests.builders import failing, make_coupon, make_users
from webapp.sale import claims, history
from webapp.sale.history import Sampler, last_samples, whole_sale
from webapp.stores.sql import db


def test_a_running_system_keeps_the_history_of_a_sale(installation):
    with installation.app.app_context():
        coupon = make_coupon(quota=5)
        for user in make_users(8):
            claims.claim(coupon, user)
        assert wait_until(lambda: came(coupon) == (8, 5, 3), wait_s=30)
        kept = whole_sale(coupon)
        assert [sample.came for sample in kept] == sorted(sample.came for sample in kept)
        assert all(later.at > sample.at for sample, later in pairwise(kept))
        db.session.remove()


def came(coupon: int) -> tuple[int, int, int] | None:
    """Return how many came, were issued a coupon, and stand by, as the last sample has it."""
    last = last_samples(coupon, 1)
    return (last[0].came, last[0].issued, last[0].in_standby) if last else None


@pytest.mark.parametrize("broken", ["watch", "_write"])
def test_a_look_that_fails_is_taken_again(app, monkeypatch, broken):
    """While a store is away nothing is written; when it is back, the same is seen and written."""
    coupon, sampler = make_coupon(), Sampler()
    claims.claim(coupon, make_users(1)[0])
    good, looks, stop = getattr(history, broken), [], threading.Event()
    monkeypatch.setattr(history, broken, failing(OperationalError("", {}, Exception())))
    monkeypatch.setattr(sweeper, "INTERVAL_S", 0.0)

    def look() -> None:
        looks.append(None)
        if len(looks) == 3:
            monkeypatch.setattr(history, broken, good)
        if len(looks) == 5:
            stop.set()
        sampler.look()

    sweeper.run(stop, look)
    assert came(coupon) == (1, 0, 0)
