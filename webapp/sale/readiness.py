"""The checks before a campaign goes live. Each is a small function in CHECKS, and says whether it blocks or warns."""

import re
from collections.abc import Callable, Collection
from datetime import timedelta

import redis
from flask import current_app
from flask_babel import lazy_gettext as _
from sqlalchemy.exc import SQLAlchemyError

from webapp.models import AMOUNT, EVERYBODY, LIST, PERCENT, utcnow
from webapp.models.rehearsals import FAILED, PASSED
from webapp.sale import content as contents
from webapp.sale import rehearsing
from webapp.sale.benefit import Message
from webapp.sale.condition import CLOCK_MS, READ_ONLY, sql_apart_s, sql_condition, sweeper_lives, workers
from webapp.sale.coupons import korean_time
from webapp.sale.levels import BLOCKING, OK, WARNING, Finding, Found
from webapp.sale.prospects import Prospect
from webapp.sale.readiness_pool import pool_is_enough
from webapp.sale.readiness_waves import waves_are_ready
from webapp.stores.swallowed import swallow

SOON, LONG, SHORT = timedelta(minutes=10), timedelta(days=90), timedelta(days=1)
DEARER = 10
"""A campaign that can cost so many times as much as the dearest one before is asked about."""
WRONG_CLOCK_MS = 60_000
"""A clock that is so far off opens the coupon at another minute than the one that was announced."""
LITTLE_DISK, NO_DISK = 1_000_000_000, 100_000_000
LATE = 1.05
"""A rush that takes a twentieth longer than it comes in is still in time: the model is no more exact than that."""
NAMES: dict[str, Message] = {
    "title": _("Title"),
    "description": _("Description"),
    "terms": _("Terms"),
    "place": _("Where to use it"),
    "contact": _("Contact"),
}
AWAY: dict[str, Message] = {
    "redis": _("Redis does not answer. Nothing can be said now; look again when it does."),
    "sql": _("The database does not answer. Nothing can be said now; look again when it does."),
}
UNFINISHED = re.compile(r"테스트|시험|임시|사본|복사|\b(?:test|draft|copy|todo|sample)\b", re.IGNORECASE)


def findings(prospect: Prospect, names: Collection[str] | None = None) -> list[Finding]:
    """Return what each check finds, or those of these names, in the order of CHECKS.

    A store that is away blocks, in words.
    """
    asked = [check for check in CHECKS if names is None or check[0] in names]
    return [Finding(name, title, *_looked(look, prospect)) for name, title, look in asked]


def _looked(look: Callable[[Prospect], Found], prospect: Prospect) -> Found:
    try:
        return look(prospect)
    except redis.RedisError as error:
        swallow("not checked", error, "the operator is told, and asks again")
        return BLOCKING, AWAY["redis"]
    except SQLAlchemyError as error:
        swallow("not checked", error, "the operator is told, and asks again")
        return BLOCKING, AWAY["sql"]


# What the campaign says


def _period(prospect: Prospect) -> Found:
    start, end, now = prospect.coupon.issue_start_at, prospect.coupon.issue_end_at, utcnow()
    shown = {"start": korean_time(start), "end": korean_time(end)}
    if end <= now:
        return BLOCKING, _("It ended at %(end)s: nobody can get one. Change the period.", **shown)
    if start <= now:
        return WARNING, _("Its start, %(start)s, has passed: it opens at once.", **shown)
    if start <= now + SOON:
        return WARNING, _(
            "It opens in less than 10 minutes, at %(start)s, and the start cannot move then.", **shown
        )
    if end - start > LONG:
        days = (end - start).days
        return WARNING, _("It stays open for %(days)s days, until %(end)s.", days=days, **shown)
    return OK, _("It opens at %(start)s and closes at %(end)s, Korean time.", **shown)


def _quota(prospect: Prospect) -> Found:
    quota = prospect.most_issued
    if quota is None:
        return WARNING, _("It has no quota: everybody who comes in the period gets one.")
    if quota == 0:
        return BLOCKING, _("The quota is 0: nobody can get one.")
    return OK, _("%(quota)s coupons at most.", quota=f"{quota:,}")


def _validity(prospect: Prospect) -> Found:
    until, end = prospect.coupon.valid_until, prospect.coupon.issue_end_at
    if until is None:
        return WARNING, _("A coupon of it never expires.")
    if until - end < SHORT:
        return WARNING, _(
            "Who gets one at the end has less than a day to use it: until %(until)s.",
            until=korean_time(until),
        )
    return OK, _("It can be used until %(until)s.", until=korean_time(until))


def _title(prospect: Prospect) -> Found:
    if UNFINISHED.search(prospect.coupon.title):
        return WARNING, _("The title reads like a trial: “%(title)s”.", title=prospect.coupon.title)
    return OK, _("People read: “%(title)s”.", title=prospect.coupon.title)


def _content(prospect: Prospect) -> Found:
    korean, english = prospect.written["ko"], prospect.written["en"]
    if not (korean.terms or english.terms):
        return WARNING, _("It has no terms: nobody reads what to mind.")
    gaps = [
        NAMES[name] for name in contents.FIELDS if bool(getattr(korean, name)) != bool(getattr(english, name))
    ]
    if gaps:
        return WARNING, _("In one language only: %(texts)s.", texts=", ".join(map(str, gaps)))
    return OK, _("All its texts stand in Korean and in English.")


def _benefit(prospect: Prospect) -> Found:
    looked = {AMOUNT: _amount, PERCENT: _percent}
    return looked.get(prospect.coupon.benefit, _words)(prospect)


def _words(prospect: Prospect) -> Found:
    return OK, _("People get: “%(words)s”.", words=prospect.coupon.benefit_words)


def _percent(prospect: Prospect) -> Found:
    percent, cap = prospect.coupon.discount_percent, prospect.coupon.discount_cap
    if cap is None:
        return WARNING, _(
            "%(percent)s%% off without a cap: the dearer the purchase, the more it costs.", percent=percent
        )
    return OK, _("%(percent)s%% off, %(cap)s won at most.", percent=percent, cap=f"{cap:,}")


def _amount(prospect: Prospect) -> Found:
    discount, least = prospect.coupon.discount_amount, prospect.coupon.min_available_amount
    shown = {"discount": f"{discount:,}", "least": f"{least:,}"}
    if discount == 0:
        return WARNING, _("The discount is 0 won: the page names no benefit.")
    if least <= discount:
        return WARNING, _(
            "%(discount)s won off a purchase from %(least)s won: somebody may pay nothing.", **shown
        )
    return OK, _("%(discount)s won off a purchase from %(least)s won.", **shown)


# Who may come, and what it can cost


def _reach(prospect: Prospect) -> Found:
    if prospect.coupon.audience == LIST and not prospect.has_list:
        return BLOCKING, _("It is for the people on its list, and nobody is on it.")
    reach, quota = prospect.reach, prospect.most_issued
    shown = {"reach": f"{reach:,}"}
    if prospect.coupon.audience != EVERYBODY:
        return _reach_of_some(reach, quota, shown)
    if quota is None or quota >= reach:
        return WARNING, _("All %(reach)s members may claim it, and there is one for each of them.", **shown)
    return OK, _("All %(reach)s members may claim it, and who registers before it closes.", **shown)


def _reach_of_some(reach: int, quota: int | None, shown: dict[str, str]) -> Found:
    if reach == 0:
        return WARNING, _("Nobody who may claim it has an account yet.")
    if quota is None or quota >= reach:
        return WARNING, _("%(reach)s members may claim it, and there is one for each of them.", **shown)
    return OK, _("%(reach)s members may claim it, and whoever of them registers before it closes.", **shown)


def _cost(prospect: Prospect) -> Found:
    cost, dearest = prospect.most_cost, prospect.dearest
    if cost is None:
        return WARNING, _(
            "Nobody can say in won what one of it costs: reckon it yourself before it goes live."
        )
    shown = {"cost": f"{cost:,}", "dearest": f"{dearest:,}"}
    if prospect.most_issued is None and cost:
        return WARNING, _(
            "%(cost)s won with the members of now, and more with each new one: it has no quota.", **shown
        )
    if cost > DEARER * dearest and dearest:
        return WARNING, _("%(cost)s won at most; the dearest one before could cost %(dearest)s won.", **shown)
    if cost and not dearest:
        return WARNING, _("%(cost)s won at most; no campaign before it to compare with.", **shown)
    return OK, _("%(cost)s won at most; the dearest one before could cost %(dearest)s won.", **shown)


# Whether the installation can


def _rehearsal(prospect: Prospect) -> Found:
    last = rehearsing.latest(prospect.coupon.id, ended=True)
    if last is None or last.ended_at is None:
        return WARNING, _("It was not rehearsed.")
    shown = {"when": korean_time(last.ended_at), "people": f"{last.people:,}"}
    if last.terms != rehearsing.digest_of(prospect.coupon):
        return WARNING, _("Its quota or amounts have changed since the rehearsal of %(when)s.", **shown)
    if last.state == FAILED:
        return BLOCKING, _("The rehearsal of %(when)s found something wrong: read its report.", **shown)
    if last.state != PASSED:
        return WARNING, _("The rehearsal of %(when)s did not come to its end.", **shown)
    return OK, _("Rehearsed at %(when)s with %(people)s invented people, without a fault.", **shown)


def _at_work(prospect: Prospect) -> Found:
    if prospect.queue.says != "ok":
        return BLOCKING, _("The queue's Redis takes no job: %(what)s.", what=_said(prospect.queue.says))
    count = workers()
    if count == 0:
        return BLOCKING, _("No worker runs: people would wait, and nobody would get a coupon.")
    if not sweeper_lives():
        return BLOCKING, _("No sweeper runs: after a failure nobody would be served.")
    return OK, _("%(count)s workers and a sweeper run.", count=count)


def _clocks(prospect: Prospect) -> Found:
    if prospect.line.apart_ms is None:
        return BLOCKING, _(
            "Redis, whose clock decides, takes no write: %(what)s.", what=_said(prospect.line.says)
        )
    apart_ms = max(abs(prospect.line.apart_ms), abs(sql_apart_s()) * 1000, prospect.line.back_ms or 0)
    shown = {"seconds": f"{apart_ms / 1000:,.1f}"}
    if apart_ms > WRONG_CLOCK_MS:
        return BLOCKING, _(
            "The clocks of the servers are %(seconds)s s apart: it would not open when it says.", **shown
        )
    if apart_ms > CLOCK_MS:
        return WARNING, _("The clocks of the servers are %(seconds)s s apart. Redis's decides.", **shown)
    return OK, _("The clocks of the servers agree to the second.")


def _line_store(prospect: Prospect) -> Found:
    if prospect.line.says != "ok":
        return BLOCKING, _("The lines' Redis takes no write: %(what)s.", what=_said(prospect.line.says))
    info = prospect.line_info
    if info.get("maxmemory_policy") != "noeviction":
        return BLOCKING, _(
            "The lines' Redis may drop a whole line when it is full; set maxmemory-policy to noeviction."
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        return BLOCKING, _("The lines' Redis could not write its file the last time: its disk may be full.")
    if info.get("aof_enabled") != 1:
        level = WARNING if current_app.config["ALLOW_REDIS_WITHOUT_AOF"] else BLOCKING
        return level, _("The lines' Redis keeps no append-only file: when it restarts, it forgets who waits.")
    return OK, _("The lines' Redis takes writes, keeps its file and drops nothing.")


def _memory(prospect: Prospect) -> Found:
    need, left = prospect.plan.redis_bytes, prospect.free_memory
    shown = {
        "need": f"{need / 1e6:,.1f}",
        "people": f"{prospect.people:,}",
        "left": f"{(left or 0) / 1e6:,.1f}",
    }
    # A tenth of the memory is kept for what settles and closes.
    if left is not None and need > 0.9 * left:
        return WARNING, _(
            "%(people)s people need %(need)s MB of the lines' Redis, and %(left)s MB are left.", **shown
        )
    return OK, _("%(people)s people need %(need)s MB of the lines' Redis.", **shown)


def _database(_prospect: Prospect) -> Found:
    says = sql_condition()
    if says != "ok":
        return BLOCKING, _("The database takes no write: %(what)s.", what=_said(says))
    return OK, _("The database takes writes.")


def _disk(prospect: Prospect) -> Found:
    free = prospect.free_disk
    if free is None:
        return OK, _("The stores run on other hosts; look at their disks there.")
    shown = {"free": f"{free / 1e9:,.1f}"}
    if free < LITTLE_DISK:
        return BLOCKING if free < NO_DISK else WARNING, _("Only %(free)s GB of the disk are free.", **shown)
    return OK, _("%(free)s GB of the disk are free.", **shown)


def _capacity(prospect: Prospect) -> Found:
    plan = prospect.plan
    shown = {
        "people": f"{plan.users:,}",
        "seconds": f"{prospect.seconds:g}",
        "tickets": f"{plan.tickets_after_s:,.1f}",
        "results": f"{plan.results_after_s:,.1f}",
    }
    if plan.tickets_after_s > LATE * prospect.seconds:
        return WARNING, _(
            "%(people)s people within %(seconds)s s are more than this installation takes: the last gets a place"
            " after %(tickets)s s, and the result after %(results)s s.",
            **shown,
        )
    return OK, _(
        "%(people)s people within %(seconds)s s: each gets a place in time, and the result after %(results)s s.",
        **shown,
    )


CHECKS: list[tuple[str, Message, Callable[[Prospect], Found]]] = [
    ("period", _("Period"), _period),
    ("quota", _("Quota"), _quota),
    ("waves", _("Waves"), waves_are_ready),
    ("pool", _("Codes"), pool_is_enough),
    ("validity", _("Validity"), _validity),
    ("title", _("Title"), _title),
    ("content", _("Content"), _content),
    ("benefit", _("Benefit"), _benefit),
    ("reach", _("Who may claim"), _reach),
    ("cost", _("What it can cost"), _cost),
    ("rehearsal", _("Rehearsal"), _rehearsal),
    ("work", _("Workers and sweeper"), _at_work),
    ("clocks", _("Clocks"), _clocks),
    ("line", _("The lines' store"), _line_store),
    ("memory", _("Memory"), _memory),
    ("database", _("Database"), _database),
    ("disk", _("Disk"), _disk),
    ("capacity", _("Expected people"), _capacity),
]
"""Each check: its name, its title, and the function that looks. They are told in this order."""

_SAID: dict[str, Message] = {
    READ_ONLY: _("read only"),
    "full": _("full"),
    "loading its file": _("loading its file"),
    "no permission": _("no permission"),
    "cannot save": _("cannot save"),
    "too few replicas": _("too few replicas"),
    "held up by a script": _("held up by a script"),
    "its master is away": _("its master is away"),
    "not up to date": _("not up to date"),
}


def _said(what: str) -> Message:
    """Return in the reader's language what a store says (`condition.REDIS_SAYS`); the name of an error stays."""
    return _SAID.get(what, _("no answer (%(what)s)", what=what))
