"""The prospect of a campaign: what the checks before going live look at. Each fact is read when it is asked for."""

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from flask import current_app
from sqlalchemy import func, select

from webapp.line.line import Line
from webapp.models import DRAFT, Coupon, CouponRow, User
from webapp.sale.audience import count_outsiders, names_anybody
from webapp.sale.benefit import most_worth
from webapp.sale.capacity import Plan, plan
from webapp.sale.condition import Probed, probed
from webapp.sale.content import Content, content_of
from webapp.sale.records import most_issued
from webapp.sale.waves import total_of, waves_of
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

RUSH_S = 10.0
"""Within how long the expected people click, unless the operator says otherwise."""
MOST_PEOPLE, MOST_RUSH_S = 1_000_000_000, 86_400


@dataclass(frozen=True)
class Rush:
    """Who is expected: so many people within so many seconds. None: twice the quota, but no more than may claim."""

    people: int | None = None
    seconds: float | None = None


@dataclass
class Prospect:
    """A campaign and its installation. A fact raises redis.RedisError or SQLAlchemyError when its store is away."""

    coupon: Coupon
    rush: Rush

    @cached_property
    def reach(self) -> int:
        """How many people may claim: the accounts that are neither blocked nor invented, of those it is for."""
        may = (
            select(func.count()).select_from(User).where(User.blocked_at.is_(None), User.rehearsal.is_(False))
        )
        with db.engine.connect() as connection:
            return int(connection.scalar(may) or 0) - count_outsiders(connection, self.coupon)

    @cached_property
    def has_list(self) -> bool:
        """Whether its list names anybody."""
        with db.engine.connect() as connection:
            return names_anybody(connection, self.coupon.id)

    @cached_property
    def written(self) -> dict[str, Content]:
        """What its page says, by language."""
        return content_of(self.coupon)

    @cached_property
    def waves(self) -> list[CouponRow]:
        """All waves of the campaign, which go live together; the coupon alone when it has none."""
        return waves_of(self.coupon)

    @property
    def quota(self) -> int | None:
        """How many coupons can go out in one rush; None when only the number of people limits it."""
        return most_issued(self.coupon)

    @property
    def most_issued(self) -> int | None:
        """How many coupons can go out at most, over all waves; None when only the number of people limits it."""
        return total_of(self.waves)

    @property
    def most_cost(self) -> int | None:
        """The most that it can cost, in won; without a quota with the people of now. None where nobody can say."""
        issued, worth = self.reach if self.most_issued is None else self.most_issued, most_worth(self.coupon)
        return None if worth is None else issued * worth

    @cached_property
    def dearest(self) -> int:
        """The most that another published campaign can cost, in won; 0 when there is none."""
        count = func.coalesce(Coupon.total_quantity, Coupon.issued_quantity)
        others = (Coupon.id != self.coupon.id, Coupon.status != DRAFT, Coupon.rehearsal.is_(False))
        worth = func.coalesce(Coupon.discount_cap, Coupon.discount_amount)
        # As a fraction: the product of two large integers would be too large for the database.
        cost = select(func.max(worth * 1.0 * count)).where(*others)
        with db.engine.connect() as connection:
            return int(connection.scalar(cost) or 0)

    @cached_property
    def people(self) -> int:
        if self.rush.people is not None:
            return self.rush.people
        wanted = self.reach if self.quota is None else min(self.reach, 2 * self.quota)
        return max(1, wanted)

    @property
    def seconds(self) -> float:
        return RUSH_S if self.rush.seconds is None else self.rush.seconds

    @property
    def cores(self) -> int:
        return os.cpu_count() or 1

    @cached_property
    def plan(self) -> Plan:
        """What the rush costs this installation, with everything on the cores of this host."""
        quota = self.people if self.quota is None else self.quota
        processes = current_app.config["WEB_CONCURRENCY"]
        return plan(self.people, self.seconds, quota=quota, cores=self.cores, processes=processes)

    @cached_property
    def line(self) -> Probed:
        return probed(line_redis())

    @cached_property
    def queue(self) -> Probed:
        return probed(current_app.extensions["bells"])

    @cached_property
    def line_info(self) -> dict[str, Any]:
        """What the Redis that holds this line says of its memory and its file."""
        server = Line(line_redis(), self.coupon.id).redis
        memory: Any = server.info("memory")
        persistence: Any = server.info("persistence")
        return {**memory, **persistence}

    @property
    def free_memory(self) -> int | None:
        """How many bytes the lines' Redis may still take; None when it has no limit of its own."""
        most = int(self.line_info.get("maxmemory", 0))
        return most - int(self.line_info["used_memory"]) if most else None

    @property
    def free_disk(self) -> int | None:
        """How many bytes are free where the embedded stores write; None when no store is embedded here."""
        directory = str(current_app.config["VAR_DIR"])
        stores = (current_app.config["REDIS_URL"], current_app.config["SQLALCHEMY_DATABASE_URI"])
        return shutil.disk_usage(directory).free if any(directory in store for store in stores) else None
