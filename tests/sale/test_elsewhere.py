"""A second wave's coupon is refused at the click, by a hint in Redis that SQL corrects."""

import pytest
import redis
from sqlalchemy import delete, select

from jobs.sweeper import sweep, sweep_lists
from tests.builders import csrf_token, failing, make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from tests.sale.test_waves import campaign, come, execute, failed, first_of, holders, move, row
from webapp.line.keys import MARK_BYTES
from webapp.line.line import Line
from webapp.models import CouponIssue
from webapp.sale import admission, audit, claims, elsewhere, publishing, redeeming
from webapp.sale.coupons import change_coupon
from webapp.sale.outcomes import Refused
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

KO = {"Accept-Language": "ko"}


@pytest.fixture(autouse=True)
def _quick(app, monkeypatch):
    monkeypatch.setattr(admission, "GATHER_S", 0)
    monkeypatch.setattr(audit, "RUNG_WITHIN_S", 0)


def line_of(wave: int) -> Line:
    return Line(line_redis(), wave)


def one_held(**options) -> tuple[list[int], int]:
    """Return the waves of a campaign, and a user who has one of the first; the sweeper has gone round since."""
    ids, (user,) = campaign(**options), make_users(1)
    come(ids[0], user)
    sweep_lists()
    return ids, user


def revoke(user: int) -> None:
    db.session.rollback()
    code = db.session.scalar(select(CouponIssue.code).where(CouponIssue.user_id == user))
    redeeming.revoke(code, None, "returned")


def refused(wave: int, user: int) -> str:
    with pytest.raises(Refused) as refusal:
        claims.claim(wave, user)
    return refusal.value.code


def counted(monkeypatch) -> list[str]:
    """Return the list to which every command to Redis is written from now on; SQL is not to be asked."""
    asked: list[str] = []
    run = type(line_redis()).run_script
    monkeypatch.setattr(type(line_redis()), "run_script", lambda *a: asked.append(a[1]) or run(*a))
    monkeypatch.setattr(type(db.engine), "connect", failing(AssertionError("SQL was asked")))
    return asked


def test_who_has_one_of_another_wave_is_refused_at_the_click_in_one_round_trip(monkeypatch):
    ids, user = one_held()
    (other,) = make_users(1)
    asked = counted(monkeypatch)
    assert refused(ids[1], user) == "other_wave"
    assert claims.claim(ids[1], other).number == 1
    assert asked == ["claim", "claim"]
    monkeypatch.undo()
    assert failed(ids[1]) == failed(ids[0]) == []


def test_control_when_the_sweeper_has_not_come_the_click_gets_a_number_and_admission_rejects():
    ids, (user,) = campaign(), make_users(1)
    come(ids[0], user)
    assert claims.claim(ids[1], user).state == "waiting"
    admission.admit(ids[1])
    assert claims.standing(ids[1], user).state == "rejected"
    assert failed(ids[1]) == []


def test_bits_that_are_lost_let_nobody_have_a_second_one():
    ids, user = one_held()
    line_redis().delete(line_of(ids[1]).elsewhere_key)
    come(ids[1], user)
    assert (holders(ids[1]), claims.standing(ids[1], user).state) == ([], "rejected")


def test_whose_coupon_was_revoked_may_press_after_a_sweep():
    ids, user = one_held()
    revoke(user)
    assert refused(ids[1], user) == "other_wave"  # control: the wave has not heard of it
    sweep_lists()
    come(ids[1], user)
    assert holders(ids[1]) == [user]


@pytest.mark.parametrize("loss", ["everything", "the bits", "the gate"])
def test_what_redis_loses_is_there_again_after_a_sweep(loss):
    ids, user = one_held()
    line = line_of(ids[1])
    if loss == "everything":
        line_redis().flushall()
    else:
        line_redis().delete(line.elsewhere_key if loss == "the bits" else line.gate_key)
    revoke_others = make_users(1)[0]
    sweep()
    sweep_lists()
    assert refused(ids[1], user) == "other_wave"
    assert claims.claim(ids[1], revoke_others).state == "waiting"


def test_bits_of_an_epoch_before_count_for_nobody():
    ids, user = one_held()
    line_of(ids[1]).end_epoch()
    sweep()
    assert claims.claim(ids[1], user).state == "waiting"


def test_a_change_while_redis_is_away_is_heard_of_later(monkeypatch):
    ids, user = one_held()
    with monkeypatch.context() as away:
        away.setattr(redeeming.publishing, "publish_revocation", failing(redis.ConnectionError()))
        away.setattr(Line, "write_elsewhere", failing(redis.ConnectionError()))
        for work in (lambda: revoke(user), sweep_lists):
            with pytest.raises(redis.ConnectionError):
                work()
    sweep_lists()
    assert claims.claim(ids[1], user).state == "waiting"


def test_who_waits_or_was_decided_reads_their_own_standing():
    ids, users = campaign(), make_users(2)
    for user in users:
        claims.claim(ids[1], user)
    come(ids[0], *users)
    sweep_lists()
    assert [claims.claim(ids[1], user).state for user in users] == ["waiting"] * 2
    admission.admit(ids[1])
    assert [claims.claim(ids[1], user).state for user in users] == ["rejected"] * 2


def test_with_standby_the_late_comer_is_refused_and_without_it_is_sold_out():
    ids, user = one_held(quota=1)
    come(ids[1], *make_users(1))
    assert refused(ids[1], user) == "sold_out"
    change_coupon(ids[1], standby_limit=5)
    assert refused(ids[1], user) == "other_wave"
    assert claims.claim(ids[1], make_users(1)[0]).state == "sold_out"


@pytest.mark.parametrize("moved", [{"opens_in": 60}, {"opens_in": -60, "closes_in": -30}])
def test_too_early_and_too_late_are_said_first(moved):
    ids, user = one_held()
    move(ids[1], **moved)
    assert refused(ids[1], user) in ("not_open", "closed")


def test_publishing_tells_a_wave_before_the_sweeper_does():
    ids, (user,) = campaign(), make_users(1)
    come(ids[0], user)
    publishing.publish(ids[1])
    assert refused(ids[1], user) == "other_wave"


def test_more_people_than_a_request_writes_are_left_to_the_sweeper(monkeypatch):
    ids, (user,) = campaign(), make_users(1)
    come(ids[0], user)
    monkeypatch.setattr(publishing, "AT_ONCE", 0)
    publishing.publish(ids[1])
    assert claims.claim(ids[1], user).state == "waiting"


def test_a_sweep_without_news_writes_nothing(monkeypatch):
    ids, user = one_held()
    monkeypatch.setattr(Line, "write_elsewhere", failing(AssertionError("written again")))
    sweep_lists()
    assert refused(ids[1], user) == "other_wave"


def test_a_holder_who_comes_while_the_bits_are_made_is_in_the_next_ones(monkeypatch):
    ids, (first, second) = campaign(), make_users(2)
    come(ids[0], first)
    made = elsewhere.bits_elsewhere

    def slowly(connection, wave):
        bits = made(connection, wave)
        if wave.id == ids[1]:
            monkeypatch.setattr(elsewhere, "bits_elsewhere", made)
            come(ids[0], second)
        return bits

    monkeypatch.setattr(elsewhere, "bits_elsewhere", slowly)
    sweep_lists()
    sweep_lists()
    assert refused(ids[1], second) == "other_wave"


def test_only_waves_that_give_one_each_and_are_near_are_told():
    alone = make_coupon()
    many = campaign(one_each=False)
    ids, user = one_held()
    for wave in (alone, *many):
        assert not line_redis().exists(line_of(wave).elsewhere_key)
        assert not line_redis().hexists(line_of(wave).gate_key, "elsewhere")
    move(ids[1], opens_in=3600)
    line_redis().delete(line_of(ids[1]).elsewhere_key)
    sweep_lists()
    assert not line_redis().exists(line_of(ids[1]).elsewhere_key)
    draft, _times = first_of(2)
    assert {wave.id for wave in elsewhere.waves_near()} == {ids[0]}
    assert draft not in ids
    assert user


def test_a_coupon_without_waves_asks_redis_nothing_more(monkeypatch):
    """The commands inside the script are what Redis counts; the control is a wave, which asks for one bit."""

    def commands(coupon: int) -> int:
        claims.claim(coupon, make_users(1)[0])
        (user,) = make_users(1)
        line_redis().config_resetstat()
        claims.claim(coupon, user)
        return line_redis().info("commandstats").get("cmdstat_getbit", {"calls": 0})["calls"]

    alone, (wave, _) = make_coupon(), one_held()[0]
    assert commands(alone) == 0
    assert commands(wave) == 1


def test_a_key_of_another_type_is_set_aside_and_the_click_goes_on():
    ids, user = one_held()
    line_redis().delete(line_of(ids[1]).elsewhere_key)
    line_redis().lpush(line_of(ids[1]).elsewhere_key, "x")
    assert claims.claim(ids[1], user).state == "waiting"
    line_redis().delete(line_of(ids[1]).elsewhere_key)
    line_redis().lpush(line_of(ids[1]).elsewhere_key, "x")
    sweep_lists()  # passes over it
    sweep()
    sweep_lists()
    assert line_of(ids[1]).elsewhere_bits()


def test_the_bits_leave_redis_with_the_results():
    ids, _user = one_held()
    line = line_of(ids[1])
    assert line_redis().pexpiretime(line.elsewhere_key) == line_redis().pexpiretime(line.results_key) or (
        line_redis().pexpiretime(line.elsewhere_key) > line.gate().policy.closes_at_ms
    )
    line.forget()
    assert not line_redis().exists(line.elsewhere_key)


def test_reconciling_believes_no_bits_of_an_sql_that_is_no_more():
    """SQL was put back, and the other wave has come to the same revision in another way."""
    ids, user = one_held()
    execute(delete(CouponIssue))
    sweep_lists()
    assert refused(ids[1], user) == "other_wave"  # control: the version is the same
    publishing.reconcile(ids[1])
    assert claims.claim(ids[1], user).state == "waiting"


# The audit


def test_the_audit_finds_a_bit_that_refuses_somebody_who_has_none():
    ids, _user = one_held()
    (other,) = make_users(1)
    line_redis().setbit(line_of(ids[1]).elsewhere_key, 8 * MARK_BYTES + other, 1)
    assert failed(ids[1]) == ["other waves"]
    assert any(f": {other}" in str(check) for check in audit.run(ids[1]).checks if not check.ok)


def test_the_audit_finds_a_bit_that_is_missing_when_no_news_is_on_its_way():
    ids, user = one_held()
    line_redis().setbit(line_of(ids[1]).elsewhere_key, 8 * MARK_BYTES + user, 0)
    assert failed(ids[1]) == ["other waves"]
    come(ids[0], *make_users(1))
    assert failed(ids[1]) == []


def test_the_audit_finds_a_revocation_that_a_wave_never_hears_of():
    ids, user = one_held()
    revoke(user)
    assert failed(ids[1]) == ["other waves"]
    sweep_lists()
    assert failed(ids[1]) == []


# The pages


@on_sqlite
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("accept", ["text/html,*/*", "application/json"])
def test_the_click_is_refused_in_the_words_of_the_page(changed, fast, accept):
    ids = campaign()
    client = changed(FAST_PATH=fast)
    user = make_user()
    come(ids[0], user.id)
    sweep_lists()
    token = sign_in(client, user)
    for _ in range(2):  # the fast path keeps what the app answered first
        answer = client.post(
            f"/coupons/{ids[1]}/claim",
            data={"csrf_token": token},
            headers={"Accept": accept, "Accept-Language": "ko"},
        )
        if accept == "application/json":
            assert (answer.status_code, answer.json["code"]) == (409, "other_wave")
            assert answer.json["title"] == "이미 받으셨어요"
            assert "refusal" not in answer.json
        else:
            assert answer.location == f"/coupons/{ids[1]}?notice=other_wave"
            page = client.get(answer.location, headers=KO).text
            assert f'href="/coupons/{ids[0]}"' in page
            assert "다른 차수" in page
    if fast:
        assert client.application.extensions["fast_path_counts"]["claim"]["taken"] >= 1


@on_sqlite
def test_whose_coupon_was_revoked_meanwhile_is_asked_to_press_once_more(client):
    ids, user = campaign(), make_user()
    come(ids[0], user.id)
    revoke(user.id)
    sign_in(client, user)
    page = client.get(f"/coupons/{ids[1]}?notice=other_wave", headers=KO).text
    assert "이제 이 차수에서 받을 수 있어요" in page
    assert csrf_token(client)


@on_sqlite
def test_the_page_offers_no_place_in_standby_to_who_has_one(client):
    ids, user = campaign(quota=1), make_user()
    come(ids[0], user.id)
    come(ids[1], *make_users(1))
    sign_in(client, user)
    assert "data-claim" not in client.get(f"/coupons/{ids[1]}", headers=KO).text
    change_coupon(ids[1], standby_limit=5)
    page = client.get(f"/coupons/{ids[1]}", headers=KO).text
    assert "data-claim" not in page
    assert f'href="/coupons/{ids[0]}"' in page
    execute(delete(CouponIssue).where(CouponIssue.user_id == user.id))
    assert "data-claim" in client.get(f"/coupons/{ids[1]}", headers=KO).text  # control
    assert row(ids[1]).standby_limit == 5
