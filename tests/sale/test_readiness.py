"""The checks before going live: each finds what it looks for, and says so in words; a store that is away blocks."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from flask_babel import force_locale
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from tests.builders import at_work, failing, make_coupon, make_user, make_users
from tests.conftest import on_each, on_sqlite
from webapp.models import Coupon, User, utcnow
from webapp.models.rehearsals import PASSED
from webapp.sale import content as contents
from webapp.sale import going_live, lists, readiness, rehearsing
from webapp.sale.condition import Probed
from webapp.sale.coupons import change_coupon
from webapp.sale.going_live import ChangedMeanwhile, NotReady, go_live, terms_of
from webapp.sale.prospects import Prospect, Rush
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.sql import db

pytestmark = on_sqlite
SOUND = {
    "status": "draft",
    "quota": 2,
    "opens_in": 3600,
    "closes_in": 7200,
    "discount_amount": 1000,
    "min_available_amount": 5000,
    "title": "가을맞이 쿠폰",
}


def sound(**fields: Any) -> int:
    """Return a draft in which no check finds anything but what the fields change."""
    coupon = make_coupon(**{"valid_until": utcnow() + timedelta(days=10), **SOUND, **fields})
    for language in contents.LANGUAGES:
        title = {} if language == "ko" else {"title": "Chicken"}
        contents.set_content(coupon, language, {"terms": "1", **title}, by=None)
    rehearsing.end(rehearsing.ask(coupon, by=None, although_near=True), PASSED, {})
    return coupon


@pytest.fixture(autouse=True)
def _installation(app):
    """Ten members, a campaign before to compare with, a worker and a sweeper."""
    make_users(10)
    make_coupon(quota=2, discount_amount=1000)
    with at_work(), app.test_request_context():
        yield


def levels(coupon: int, **rush: Any) -> dict[str, str]:
    """Return what every check finds but that all is well."""
    found = going_live.check(coupon, Rush(**rush))
    assert all(str(each.words) and str(each.title) for each in found)
    return {each.check: each.level for each in found if each.level != "ok"}


def words(coupon: int, check: str) -> str:
    return next(str(each.words) for each in going_live.check(coupon) if each.check == check)


@on_each
def test_a_sound_draft_passes_every_check():
    assert levels(sound()) == {}


PERCENT_OFF = {"benefit": "percent", "discount_percent": 15}
WRONG = [
    ({"opens_in": -7200, "closes_in": -3600}, {"period": "blocking"}),
    ({"opens_in": -60}, {"period": "warning"}),
    ({"opens_in": 300}, {"period": "warning"}),
    ({"closes_in": 91 * 86400, "valid_until": None}, {"period": "warning", "validity": "warning"}),
    ({"quota": 0}, {"quota": "blocking"}),
    ({"quota": None}, {"quota": "warning", "reach": "warning", "cost": "warning"}),
    ({"quota": 10}, {"reach": "warning"}),
    ({"quota": 9}, {}),
    ({"valid_until": None}, {"validity": "warning"}),
    ({"title": "테스트 쿠폰"}, {"title": "warning"}),
    ({"title": "Copy of Friday"}, {"title": "warning"}),
    ({"title": "Contest of the latest"}, {}),
    ({"discount_amount": 0}, {"benefit": "warning"}),
    ({"min_available_amount": 1000}, {"benefit": "warning"}),
    ({**PERCENT_OFF, "discount_cap": 3000}, {}),
    ({**PERCENT_OFF, "discount_cap": 10_001}, {"cost": "warning"}),
    ({**PERCENT_OFF, "discount_cap": None}, {"benefit": "warning", "cost": "warning"}),
    ({"benefit": "gift", "benefit_words": "머그컵"}, {"cost": "warning"}),
    ({"benefit": "words", "benefit_words": "1+1"}, {"cost": "warning"}),
    ({"discount_amount": 10_001, "min_available_amount": 20_000}, {"cost": "warning"}),
    ({"discount_amount": 10_000, "min_available_amount": 20_000}, {}),
]


@pytest.mark.parametrize(("fields", "found"), WRONG, ids=lambda value: str(value)[:60])
def test_what_a_draft_says_is_checked(fields, found):
    assert levels(sound(**fields)) == found


GAPS = [
    ({"ko": {"terms": ""}, "en": {"terms": ""}}, "no terms"),
    ({"en": {"terms": ""}}, "Terms"),
    ({"en": {"title": ""}}, "Title"),
    ({"ko": {"description": "바삭해요"}}, "Description"),
    ({"en": {"place": "All shops", "contact": "02-123-4567"}}, "Where to use it, Contact"),
]


@pytest.mark.parametrize(("texts", "named"), GAPS, ids=lambda value: str(value)[:40])
def test_a_text_that_stands_in_one_language_only_is_asked_about(texts, named):
    coupon = sound()
    for language, own in texts.items():
        contents.set_content(coupon, language, own, by=None)
    assert levels(coupon) == {"content": "warning"}
    with force_locale("en"):
        assert named in words(coupon, "content")


@pytest.mark.parametrize(
    ("names", "level", "named"),
    [
        ([], "blocking", "nobody is on it"),
        (["nobody@example.com"], "warning", "account yet"),
        (["user1@example.com"], "warning", "1 members"),
    ],
    ids=["empty", "strangers", "fewer than coupons"],
)
def test_a_list_is_looked_at(names, level, named):
    coupon = sound()
    lists.set_audience(coupon, "list", by=None)
    email = db.session.scalars(select(User.email).order_by(User.id)).first()
    for name in names:
        lists.add_person(coupon, name.replace("user1@example.com", email), by=None)
    assert levels(coupon)["reach"] == level
    with force_locale("en"):
        assert named in words(coupon, "reach")


def test_a_validity_of_less_than_a_day_is_asked_about():
    assert levels(sound(valid_until=utcnow() + timedelta(hours=3))) == {"validity": "warning"}


def test_a_coupon_for_twenty_that_every_member_may_claim_says_how_many_and_what_it_costs(app):
    make_users(30)
    coupon = sound(quota=2000, discount_amount=10_000, min_available_amount=30_000)
    assert levels(coupon) == {"reach": "warning", "cost": "warning"}
    assert "40" in words(coupon, "reach")
    assert "20,000,000" in words(coupon, "cost")


def test_whoever_is_blocked_or_invented_cannot_claim():
    make_user(blocked_at=utcnow())
    make_user(rehearsal=True)
    assert Prospect(db.session.get_one(Coupon, sound()), Rush()).reach == 10


def test_the_largest_figures_are_no_error():
    most = 10**12 - 1
    coupon = sound(quota=most, discount_amount=most, min_available_amount=most)
    change_coupon(coupon, step="publish")
    assert levels(sound()) == {}


def test_with_no_campaign_before_the_cost_is_asked_about():
    db.session.execute(update(Coupon).values(rehearsal=True))
    db.session.commit()
    assert levels(sound()) == {"cost": "warning"}


def test_more_people_than_the_installation_takes_is_told():
    coupon = sound()
    assert levels(coupon, people=1_000_000, seconds=1) == {"capacity": "warning"}
    assert levels(coupon, people=100, seconds=10) == {}


def test_no_worker_and_no_sweeper_block():
    line_redis().delete("sweeper:alive")
    assert levels(sound()) == {"work": "blocking"}
    line_redis().set("sweeper:alive", "1")
    line_redis().delete("rq:workers", "rq:workers:admission")
    assert levels(sound()) == {"work": "blocking"}


@pytest.mark.parametrize(
    ("setting", "value", "level"),
    [
        ("maxmemory-policy", "allkeys-lru", {"line": "blocking"}),
        ("appendonly", "no", {"line": "blocking"}),
        ("maxmemory", "20mb", {"memory": "warning"}),
    ],
)
def test_a_line_store_that_may_lose_people_is_seen(setting, value, level):
    before = line_redis().config_get(setting)[setting]
    line_redis().config_set(setting, value)
    try:
        # A million people need some 110 MB.
        assert levels(sound(), people=1_000_000, seconds=86_400) == level
    finally:
        line_redis().config_set(setting, before)


def test_a_line_store_without_a_file_warns_where_replicas_stand_in(app, monkeypatch):
    monkeypatch.setitem(app.config, "ALLOW_REDIS_WITHOUT_AOF", True)
    line_redis().config_set("appendonly", "no")
    try:
        assert levels(sound()) == {"line": "warning"}
    finally:
        line_redis().config_set("appendonly", "yes")


@pytest.mark.parametrize(
    ("probed", "level"),
    [
        (Probed("ok", 900, 0), None),
        (Probed("ok", -1100, 0), "warning"),
        (Probed("ok", 0, 1100), "warning"),
        (Probed("ok", 61_000, 0), "blocking"),
        (Probed("ok", -61_000, 0), "blocking"),
    ],
)
def test_clocks_that_differ_are_told(monkeypatch, probed, level):
    monkeypatch.setattr("webapp.sale.prospects.probed", lambda _connection: probed)
    assert levels(sound()).get("clocks") == level


def test_a_full_disk_is_told(monkeypatch, app):
    monkeypatch.setitem(app.config, "VAR_DIR", Path(db.engine.url.database).parent)
    for free, level in ((2e9, None), (9e8, "warning"), (9e7, "blocking")):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("webapp.sale.prospects.shutil.disk_usage", lambda _path, usage=usage: usage)
        assert levels(sound()).get("disk") == level


def test_while_redis_is_away_it_cannot_go_live_and_stays_a_draft(app, monkeypatch):
    coupon = sound()
    away = connect_redis("redis://127.0.0.1:1", decode_responses=True)
    monkeypatch.setitem(app.extensions, "line", away)
    monkeypatch.setitem(app.extensions, "bells", away)
    assert set(levels(coupon).values()) == {"blocking"}
    with pytest.raises(NotReady):
        go_live(coupon, by=None)
    assert status(coupon) == "draft"


@pytest.mark.parametrize(
    "error", [redis.ConnectionError(), OperationalError("SELECT", {}, Exception("away"))]
)
def test_a_check_that_its_store_breaks_off_blocks_in_words(monkeypatch, error):
    monkeypatch.setattr(readiness, "CHECKS", [("mine", "Mine", failing(error))])
    assert levels(sound()) == {"mine": "blocking"}


# Going live


def status(coupon: int) -> str:
    db.session.rollback()
    return db.session.get_one(Coupon, coupon, populate_existing=True).status


def test_a_sound_draft_goes_live_once():
    coupon = sound()
    assert go_live(coupon, by=None, confirmed=()) is True
    assert go_live(coupon, by=None, confirmed=()) is False
    assert status(coupon) == "live"


def test_what_blocks_cannot_be_confirmed_away():
    coupon = sound(quota=0)
    for confirmed in ((), ("quota",), None):
        with pytest.raises(NotReady) as refused:
            go_live(coupon, by=None, confirmed=confirmed)
        assert [each.check for each in refused.value.found if each.level == "blocking"] == ["quota"]
    assert status(coupon) == "draft"


def test_every_warning_is_confirmed():
    coupon = sound(discount_amount=0, valid_until=None)
    for confirmed in ((), ("benefit",), ("validity", "title")):
        with pytest.raises(NotReady):
            go_live(coupon, by=None, confirmed=confirmed)
    assert status(coupon) == "draft"
    go_live(coupon, by=None, confirmed=("benefit", "validity"))
    assert status(coupon) == "live"


def test_what_another_operator_changed_meanwhile_goes_not_live_unseen():
    coupon = sound()
    seen = terms_of(db.session.get_one(Coupon, coupon))
    change_coupon(coupon, discount_amount=9000, valid_until=None)
    with pytest.raises(ChangedMeanwhile) as changed:
        go_live(coupon, by=None, seen=seen, confirmed=("validity",))
    assert changed.value.changes["discount_amount"] == ("1,000", "9,000")
    assert set(changed.value.changes) == {"discount_amount", "valid_until"}
    assert status(coupon) == "draft"


def test_what_is_changed_between_the_checks_and_the_lock_goes_not_live(monkeypatch):
    coupon = sound()
    looked = readiness.findings

    def changing(prospect: Prospect) -> list[readiness.Finding]:
        found = looked(prospect)
        change_coupon(coupon, total_quantity=1000)
        return found

    monkeypatch.setattr(going_live, "findings", changing)
    with pytest.raises(ChangedMeanwhile):
        go_live(coupon, by=None, confirmed=())
    assert status(coupon) == "draft"


def test_control_without_the_look_at_the_locked_row_it_does(monkeypatch):
    monkeypatch.setattr(going_live, "_raise_if_changed", lambda *_: None)
    coupon = sound()
    seen = terms_of(db.session.get_one(Coupon, coupon))
    change_coupon(coupon, discount_amount=9000, min_available_amount=10_000)
    go_live(coupon, by=None, seen=seen, confirmed=("rehearsal",))
    assert status(coupon) == "live"


def test_an_unknown_coupon_is_none():
    for verb in (going_live.check, lambda coupon: go_live(coupon, by=None)):
        with pytest.raises(LookupError):
            verb(999_999)
