"""The capacity model adds up, and grows with what is asked of it."""

import pytest
from click.testing import CliRunner

from webapp.cli.drops import plan_capacity
from webapp.sale import capacity
from webapp.sale.capacity import plan


def test_more_people_in_the_same_time_take_more_of_everything():
    few, many = plan(10_000, 10), plan(100_000, 10)
    for name in (
        "web_processes",
        "web_cores",
        "redis_cores",
        "redis_bytes",
        "worker_cores",
        "results_after_s",
    ):
        assert getattr(many, name) > getattr(few, name), name


def test_the_same_people_in_more_time_take_fewer_processes():
    assert plan(100_000, 100).web_processes < plan(100_000, 10).web_processes


def test_few_cores_take_longer_and_not_more():
    ample, scarce = plan(100_000, 10), plan(100_000, 10, cores=2)
    assert scarce.tickets_after_s > ample.tickets_after_s == 10
    assert scarce.claims_a_second < 100_000 / 10


def test_one_coupon_is_one_redis_at_most():
    most = capacity.BUSY * 1e6 / capacity.REDIS_TOGETHER_US
    assert plan(round(most * 10 * 0.99), 10).one_redis_is_enough
    assert not plan(round(most * 10 * 1.2), 10, cores=1000).one_redis_is_enough
    assert "too much for one coupon" in "\n".join(plan(round(most * 10 * 1.2), 10, cores=1000).lines())


def test_clicks_share_calls_before_one_redis_is_too_little():
    alone = capacity.BUSY * 1e6 / capacity.REDIS_ALONE_US
    crowd = plan(round(alone * 10 * 3), 10, cores=1000)
    assert crowd.redis_cores > capacity.BUSY > crowd.redis_least_cores
    assert crowd.tickets_after_s == 10
    assert f"Redis    {capacity.BUSY:.2f} cores" in "\n".join(crowd.lines())


def test_the_quota_counts_only_as_far_as_there_are_people():
    assert plan(100, 1, quota=1000).quota == 100
    assert plan(100, 1).quota == 50


@pytest.mark.parametrize(("users", "seconds", "cores"), [(0, 1, None), (1, 0, None), (1, 1, 0)])
def test_what_cannot_be_is_refused(users, seconds, cores):
    with pytest.raises(ValueError, match="at least one user"):
        plan(users, seconds, cores=cores)


def test_the_command_prints_the_plan():
    result = CliRunner().invoke(plan_capacity, ["--users", "50000", "--seconds", "10"])
    assert result.exit_code == 0
    assert "5,000 claims/s" in result.output
    assert "gunicorn processes" in result.output
    assert CliRunner().invoke(plan_capacity, ["--users", "0", "--seconds", "10"]).exit_code == 2
