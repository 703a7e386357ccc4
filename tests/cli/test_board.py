"""`coupon live`: the figures of the live board as a command."""

import pytest

from tests.builders import at_work, make_coupon, make_users
from tests.conftest import on_sqlite
from webapp.sale import claims
from webapp.sale.admission import admit

pytestmark = on_sqlite


@pytest.fixture
def run(app):
    return lambda *args: app.test_cli_runner().invoke(args=[str(arg) for arg in args])


def test_it_tells_what_the_board_does(run):
    coupon = make_coupon(quota=2)
    for user in make_users(3):
        claims.claim(coupon, user)
    admit(coupon)
    with at_work():
        result = run("coupon", "live", coupon)
    assert result.exit_code == 0, result.output
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if not line.startswith("a sec"))
    assert told["issued"] == "2 of 2"
    assert (told["waiting"], told["standby"], told["came"], told["drift"]) == ("0", "1", "3", "0")
    assert told["state"].startswith("sold_out, as of ")
    assert told["work"].startswith("ok: ")


def test_an_unknown_coupon_is_one_line(run):
    result = run("coupon", "live", 999_999)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)


def test_a_store_that_is_away_is_said_and_is_exit_code_1(redis_proxy, changed):
    coupon = make_coupon(quota=2)
    client = changed(REDIS_URL=f"redis://127.0.0.1:{redis_proxy.port}")
    redis_proxy.refuse()
    with client.application.app_context():
        result = client.application.test_cli_runner().invoke(args=["coupon", "live", str(coupon)])
    assert result.exit_code == 1
    assert "redis        does not answer" in result.stdout
    assert "issued       0 of 2" in result.stdout
