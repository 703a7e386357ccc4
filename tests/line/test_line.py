"""The line in Redis: numbers, the order of the checks, settling, standby, epochs."""

import pytest
import redis

from deploy.processes import ROOT
from tests.conftest import on_each, on_sqlite
from webapp.line.keys import BUCKET_MS
from webapp.line.line import Line
from webapp.line.types import Claimed, Policy, Reply, Settled
from webapp.stores.script_redis import line_redis

pytestmark = [pytest.mark.usefixtures("app"), on_sqlite, on_each]
NOW_OPEN = {"opens_at_ms": 0, "closes_at_ms": 2**52}


def policy(*, revision: int = 1, **changes) -> Policy:
    facts = {"status": "live", "quota": 5, "issued": 0, **NOW_OPEN, **changes}
    return Policy(revision=revision, **facts)


def codes_of_scripts() -> dict[str, str]:
    """Return each script without its comments, by room and name."""
    paths = (ROOT / "webapp").rglob("lua/*.lua")
    scripts = {f"{path.parts[-3]}/{path.stem}": path.read_text() for path in paths}
    assert len(scripts) > 15
    return {
        name: "\n".join(row.split("--")[0] for row in text.splitlines()) for name, text in scripts.items()
    }


def begin(
    line: Line, policy: Policy, *, epoch: int = 1, known: int = 0, serving: int = 0, step: int = 0
) -> int | None:
    """Seed and open; return the floor."""
    floor = line.begin_epoch(policy, epoch=epoch, mark=epoch, known=known, serving=serving, step=step)
    line.open_epoch(epoch)
    return floor


@pytest.fixture
def line(app) -> Line:
    return Line(line_redis(), 7)


@pytest.fixture
def open_line(line) -> Line:
    assert begin(line, policy()) == 0
    return line


def numbers(line: Line) -> list[tuple[str, int]]:
    return [tuple(ticket) for ticket in line.head(100).tickets]


def arrived(claim: Claimed) -> int:
    """Return the bucket of a claim by the clock that the script read."""
    return claim.now_ms // BUCKET_MS * BUCKET_MS


def arrivals(line: Line) -> list[tuple[str, float]]:
    return line.redis.zrange(line.arrivals_key, 0, -1, withscores=True)


def test_numbers_rise_by_one_in_order_of_arrival(open_line):
    claims = [open_line.claim(user) for user in (30, 10, 20)]
    assert [(claim.number, claim.ahead) for claim in claims] == [(1, 0), (2, 1), (3, 2)]
    assert numbers(open_line) == [("30", 1), ("10", 2), ("20", 3)]


def test_a_repeated_claim_returns_the_same_ticket_and_changes_nothing(open_line):
    first = open_line.claim(30)
    open_line.claim(10)
    again = open_line.claim(30)
    assert (again.reply, again.number) == (Reply.WAITING, first.number)
    assert open_line.gate().last == 2


def test_only_the_first_claim_of_a_burst_rings(open_line):
    assert [open_line.claim(user).ring for user in (1, 2, 3)] == [True, False, False]
    open_line.quiet_bell()
    assert open_line.claim(4).ring


def test_the_bell_is_set_once_and_only_for_people_who_wait(open_line):
    assert not open_line.set_bell()
    open_line.claim(1)
    open_line.quiet_bell()
    assert [open_line.set_bell(), open_line.set_bell()] == [True, False]


def test_without_a_gate_nothing_is_created(line):
    assert line.claim(1).reply is Reply.NO_GATE
    assert line.standing(1).reply is Reply.NO_GATE
    assert line.head(10) is None
    assert line.gate() is None
    assert not line.publish(policy())
    assert line.settle(policy(), [Settled("1", 1, "issued:1:X")]) == 0
    assert line.redis.keys("*") == []


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"opens_at_ms": 2**51}, Reply.NOT_OPEN),
        ({"closes_at_ms": 1}, Reply.PAST),
        ({"status": "closed"}, Reply.CLOSED),
        ({"quota": 3, "issued": 3}, Reply.SOLD_OUT),
        ({"quota": None, "issued": 3}, Reply.WAITING),
        ({"status": "paused"}, Reply.WAITING),
    ],
)
def test_the_gate_decides(line, changes, answer):
    begin(line, policy(**changes))
    assert line.claim(1).reply is answer


def test_the_start_is_inside_the_period_and_the_end_is_not(line, monkeypatch):
    seconds, micros = line.redis.time()
    now_ms = seconds * 1000 + micros // 1000
    begin(line, policy(opens_at_ms=now_ms, closes_at_ms=now_ms + 60_000))
    assert line.claim(1).reply is Reply.WAITING
    line.publish(policy(revision=2, opens_at_ms=0, closes_at_ms=now_ms))
    assert line.claim(2).reply is Reply.CLOSED


def test_whoever_has_a_ticket_sees_it_after_closing_and_after_sell_out(open_line):
    number = open_line.claim(1).number
    open_line.publish(policy(revision=2, status="closed", quota=0))
    assert (open_line.claim(1).reply, open_line.claim(1).number) == (Reply.WAITING, number)
    assert open_line.claim(2).reply is Reply.CLOSED


def test_settling_takes_tickets_out_and_keeps_results(open_line):
    for user in (1, 2, 3):
        open_line.claim(user)
    settled = [Settled("1", 1, "issued:1:AAAA"), Settled("2", 2, "rejected:2:blocked")]
    assert open_line.settle(policy(revision=2, issued=1), settled) == 2
    assert open_line.settle(policy(revision=2, issued=1), settled) == 0
    assert numbers(open_line) == [("3", 3)]
    assert open_line.standing(1).result == "issued:1:AAAA"
    assert open_line.claim(2).result == "rejected:2:blocked"
    gate = open_line.gate()
    assert (gate.now_serving, gate.policy.issued, gate.waiting) == (2, 1, 1)


def test_settling_spares_a_ticket_whose_number_is_another(open_line):
    open_line.claim(1)
    open_line.settle(policy(revision=2), [Settled("1", 99, "")])
    assert numbers(open_line) == [("1", 1)]


def test_issued_overrides_and_is_never_overridden(open_line):
    open_line.settle(policy(revision=2), [Settled("1", 1, "rejected:1:blocked")])
    open_line.settle(policy(revision=3), [Settled("1", 2, "issued:2:AAAA")])
    open_line.settle(policy(revision=4), [Settled("1", 2, "rejected:2:blocked")])
    assert open_line.standing(1).result == "issued:2:AAAA"


def test_a_rejection_of_the_same_number_stands_because_that_issue_was_revoked(open_line):
    settled = [Settled("1", 1, "issued:1:AAAA"), Settled("2", 2, "issued:2:BBBB")]
    open_line.settle(policy(revision=2, issued=2), settled[1:])
    assert open_line.revoke(2, "issued:2:BBBB", "rejected:2:revoked: fraud")
    open_line.settle(policy(revision=2, issued=2), settled)
    assert open_line.standing(1).result == "issued:1:AAAA"
    assert open_line.standing(2).result == "rejected:2:revoked: fraud"


def test_a_late_settle_does_not_put_the_gate_back(open_line):
    open_line.settle(policy(revision=5, issued=4), [])
    open_line.settle(policy(revision=4, issued=2), [])
    assert open_line.gate().policy.issued == 4
    open_line.publish(policy(revision=4, status="closed"))
    assert open_line.gate().policy.status == "live"


def test_standby_keeps_order_and_comes_back_first(open_line):
    for user in (5, 6, 7):
        open_line.claim(user)
    open_line.settle(policy(revision=2, quota=1, issued=1), [Settled("5", 1, "issued:1:A")])
    assert open_line.to_standby() == 2
    assert (open_line.claim(6).reply, open_line.claim(6).number) == (Reply.STANDBY, 2)
    assert open_line.claim(8).reply is Reply.SOLD_OUT
    open_line.publish(policy(revision=3, quota=9, issued=1))
    assert open_line.claim(8).number == 4
    assert numbers(open_line) == [("6", 2), ("7", 3), ("8", 4)]
    assert open_line.gate().sold_out_at_ms is None


@pytest.mark.parametrize("said", ["0", "1"])
@pytest.mark.parametrize(
    "tell",
    [
        lambda line, raised: line.publish(raised),
        lambda line, raised: line.settle(raised, []),
        lambda line, raised: line.end_epoch() or begin(line, raised, epoch=2),
    ],
    ids=["publish", "settle", "begin an epoch"],
)
def test_whatever_says_that_coupons_are_left_brings_standby_back(open_line, tell, said):
    open_line.publish(policy(revision=2, quota=0))
    open_line.redis.zadd(open_line.standby_key, {"1": 1, "2": 2})
    open_line.redis.zadd(open_line.line_key, {"3": 3})
    open_line.redis.hset(open_line.gate_key, "sold_out", said)
    tell(open_line, policy(revision=3, quota=9))
    assert numbers(open_line) == [("1", 1), ("2", 2), ("3", 3)]
    assert not open_line.redis.exists(open_line.standby_key)


def test_a_settle_without_a_policy_leaves_the_gate_alone(open_line):
    open_line.publish(policy(revision=2, quota=0))
    open_line.redis.zadd(open_line.standby_key, {"1": 1, "2": 2})
    before = open_line.gate().policy
    assert open_line.settle(None, [Settled("1", 1, "issued:1:A")]) == 1
    assert open_line.gate().policy == before
    assert open_line.redis.zcard(open_line.standby_key) == 1


def test_a_gate_that_was_lost_does_not_pretend_to_know_when_the_coupons_had_gone(open_line):
    open_line.end_epoch()
    begin(open_line, policy(quota=0), epoch=2)
    assert open_line.gate().sold_out_at_ms is None
    open_line.publish(policy(revision=2, quota=1))
    open_line.publish(policy(revision=3, quota=0))
    sold_out_at = open_line.gate().sold_out_at_ms
    open_line.end_epoch()
    begin(open_line, policy(revision=4, quota=0), epoch=3)
    assert open_line.gate().sold_out_at_ms == sold_out_at is not None


def test_standby_grows_in_order_when_the_quota_runs_out_twice(open_line):
    for user in (1, 2):
        open_line.claim(user)
    open_line.settle(policy(revision=2, quota=0), [])
    open_line.to_standby()
    open_line.redis.zadd(open_line.line_key, {"3": 3})
    assert open_line.to_standby() == 1
    open_line.redis.zadd(open_line.line_key, {"4": 4})
    open_line.publish(policy(revision=3, quota=9))
    assert numbers(open_line) == [("1", 1), ("2", 2), ("3", 3), ("4", 4)]


def test_nobody_is_moved_to_standby_once_coupons_came_back(open_line):
    open_line.claim(1)
    assert open_line.to_standby() == 0
    assert numbers(open_line) == [("1", 1)]


def test_a_late_settle_also_clears_standby(open_line):
    open_line.claim(1)
    open_line.settle(policy(revision=2, quota=0), [])
    open_line.to_standby()
    open_line.settle(policy(revision=3, quota=1, issued=1), [Settled("1", 1, "issued:1:A")])
    assert open_line.redis.zcard(open_line.standby_key) == 0


def test_beginning_an_epoch_never_replaces_a_gate(open_line):
    open_line.claim(1)
    assert begin(open_line, policy(), epoch=2, known=100) is None
    assert (open_line.gate().epoch, open_line.gate().last) == (1, 1)


@pytest.mark.parametrize("surviving", ["line_key", "standby_key"])
def test_the_counter_of_a_new_epoch_is_above_the_floor_and_every_surviving_ticket(line, surviving):
    line.redis.zadd(getattr(line, surviving), {"9": 70})
    begin(line, policy(), epoch=2, known=50, serving=40)
    assert (line.claim(1).number, line.gate().now_serving) == (71, 40)


def test_every_script_survives_script_flush(open_line):
    def use_all() -> None:
        open_line.claim(1)
        open_line.arrival(1)
        open_line.standing(1)
        open_line.head(1)
        open_line.set_bell()
        open_line.settle(policy(revision=2), [])
        open_line.publish(policy(revision=2))
        open_line.to_standby()
        begin(open_line, policy())

    use_all()
    open_line.redis.script_flush()
    use_all()
    assert open_line.claim(1).number == 1


# Arrivals


def test_each_of_1000_numbers_has_the_bucket_in_which_it_was_given(open_line):
    claims = [open_line.claim(user) for user in range(1000)]
    while len({arrived(claim) for claim in claims}) < 3:
        claims.append(open_line.claim(len(claims)))
    assert [open_line.arrival(claim.number) for claim in claims] == [arrived(claim) for claim in claims]


def test_a_bucket_keeps_the_first_number_given_in_it(open_line):
    claims = [open_line.claim(user) for user in range(500)]
    open_line.claim(0)
    first: dict[int, int] = {}
    for claim in claims:
        first.setdefault(arrived(claim) // BUCKET_MS, claim.number)
    assert arrivals(open_line) == [(str(bucket), number) for bucket, number in first.items()]


def test_who_is_refused_or_comes_again_leaves_no_arrival(open_line):
    open_line.claim(1)
    before = arrivals(open_line)
    open_line.redis.hset(open_line.gate_key, "arrived", 0)
    open_line.claim(1)
    open_line.publish(policy(revision=2, status="closed"))
    assert open_line.claim(2).reply is Reply.CLOSED
    assert arrivals(open_line) == before


def test_arrivals_survive_script_flush(open_line):
    claims = [open_line.claim(1)]
    open_line.redis.script_flush()
    claims.append(open_line.claim(2))
    assert [open_line.arrival(number) for number in (1, 2)] == [arrived(claim) for claim in claims]


def test_a_clock_that_is_put_back_a_little_gives_nobody_an_earlier_time_than_who_came_before(open_line):
    first = open_line.claim(1)
    later = first.now_ms // BUCKET_MS + 90
    open_line.redis.hset(open_line.gate_key, "arrived", later)
    open_line.redis.zadd(open_line.arrivals_key, {str(later): 2})
    claims = [open_line.claim(2)]
    while arrived(claims[-1]) == arrived(first):
        claims.append(open_line.claim(2 + len(claims)))
    assert open_line.arrival(claims[-1].number) == later * BUCKET_MS
    assert len(arrivals(open_line)) == 2


def test_arrivals_follow_a_clock_that_was_wrong_and_is_put_right(open_line):
    ahead = open_line.claim(1).now_ms // BUCKET_MS + 6000
    open_line.redis.delete(open_line.arrivals_key)
    open_line.redis.hset(open_line.gate_key, "arrived", ahead)
    open_line.redis.zadd(open_line.arrivals_key, {str(ahead): 1})
    assert open_line.gate().ahead_ms == pytest.approx(600_000, abs=2000)
    claims = [open_line.claim(2), open_line.claim(3)]
    assert [open_line.arrival(claim.number) for claim in claims] == [arrived(claim) for claim in claims]
    assert open_line.arrival(1) == ahead * BUCKET_MS
    assert open_line.gate().ahead_ms == 0


def test_control_without_the_guard_a_clock_that_is_put_back_moves_old_arrivals(open_line):
    first = open_line.claim(1)
    open_line.redis.zadd(open_line.arrivals_key, {str(arrived(first) // BUCKET_MS): 2})
    assert open_line.arrival(1) is None


def test_numbers_that_nobody_was_given_arrived_never(line):
    assert line.arrival(1) is None
    begin(line, policy(), known=10)
    line.claim(1)
    assert [line.arrival(number) for number in (0, 10, 12)] == [None] * 3
    assert line.arrival(11) is not None


def test_a_new_epoch_knows_the_arrivals_that_survived_and_no_others(open_line):
    old = [open_line.claim(user) for user in (1, 2)]
    open_line.end_epoch()
    assert begin(open_line, policy(), epoch=2, known=5, step=1000) == 1000
    new = [open_line.claim(3)]
    while arrived(new[-1]) == arrived(old[-1]):
        new.append(open_line.claim(3 + len(new)))
    for claim in (*old, new[-1]):
        assert open_line.arrival(claim.number) == arrived(claim)
    beyond = new[-1].number + 1
    assert [open_line.arrival(number) for number in (3, 5, 999, 1000, beyond)] == [None] * 5


def test_every_gap_stays_unknown_also_when_an_epoch_has_to_begin_twice(open_line):
    open_line.claim(1)
    for floor in (1000, 2000):
        open_line.end_epoch()
        assert begin(open_line, policy(), epoch=2, step=1000) == floor
    assert [open_line.arrival(number) for number in (2, 1000, 1001, 2000)] == [None] * 4
    assert open_line.arrival(1) is not None


def test_control_without_the_mark_a_forgotten_number_has_somebody_elses_time(open_line):
    open_line.claim(1)
    open_line.end_epoch()
    begin(open_line, policy(), epoch=2, known=5, step=1000)
    assert open_line.arrival(4) is None
    open_line.redis.zrem(open_line.arrivals_key, "unknown:1000")
    assert open_line.arrival(4) == open_line.arrival(1)


def test_a_line_that_lost_its_gate_forgets_its_arrivals(open_line):
    open_line.claim(1)
    open_line.redis.delete(open_line.gate_key)
    begin(open_line, policy(), epoch=2, step=1000)
    assert open_line.arrival(1) is None
    assert arrivals(open_line) == []


def test_forgetting_a_line_leaves_no_key(open_line):
    open_line.claim(1)
    open_line.forget()
    assert open_line.redis.keys("*") == []


def test_all_keys_of_a_coupon_share_one_cluster_slot(open_line):
    keys = [
        open_line.gate_key,
        open_line.line_key,
        open_line.standby_key,
        open_line.results_key,
        open_line.bell_key,
        open_line.arrivals_key,
    ]
    assert {redis.crc.key_slot(key.encode()) for key in keys} == {redis.crc.key_slot(b"{coupon:7}")}


def test_no_script_builds_a_key_name():
    for name, code in codes_of_scripts().items():
        assert "coupon" not in code, name


def test_the_time_and_the_run_of_the_server_are_asked_for_in_the_prelude_alone():
    asking = {name for name, code in codes_of_scripts().items() if "'TIME'" in code or "'INFO'" in code}
    assert asking == {"stores/prelude"}


def test_large_numbers_stay_exact(line):
    begin(line, policy(), epoch=2, known=10**15)
    assert line.claim(1).number == 10**15 + 1
    assert numbers(line) == [("1", 10**15 + 1)]
    assert line.claim(1).number == 10**15 + 1
