"""The capacity model: how many processes a drop needs, and how long it takes, from unit costs.

The costs are microseconds of one core, measured by `make bench ARGS=costs`. docs/scaling.md names the costs that the
model leaves out. A core of another machine may be twice or half as fast: measure there, and put its figures here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

WEB_CLAIM_US, WEB_TICKET_US, WEB_SERVING_US = 311.0, 324.0, 192.0
REDIS_CLAIM_US, REDIS_TICKET_US, REDIS_ADMIT_US = 11.0, 9.0, 5.0
"""Of a click and a poll at a busy process, where several share a call."""
WORKER_US, SQL_US = 9.0, 26.0
REDIS_ALONE_US, REDIS_TOGETHER_US = 34.0, 3.0
"""Of a click that has a call of its own, and of one of 128, the most that share one: `make bench ARGS=claims`."""
BYTES_A_TICKET, BYTES_A_RESULT = 80, 60
BUSY = 0.7
"""The share of a core that may be busy before waiting times grow."""
POLLS_A_PERSON = 3
"""How often a page asks for its own ticket between the click and the result, once the line moves."""


@dataclass(frozen=True)
class Plan:
    """The plan of a drop: busy cores of each kind, seconds, and bytes of Redis."""

    users: int
    quota: int
    seconds: float
    claims_a_second: float
    web_cores: float
    redis_cores: float
    """While each click travels alone. Where that is more than BUSY, clicks come faster than calls, and share them."""
    redis_least_cores: float
    """While 128 clicks share each call."""
    worker_cores: float
    sql_cores: float
    tickets_after_s: float
    results_after_s: float
    redis_bytes: int

    @property
    def web_processes(self) -> int:
        return max(1, ceil(self.web_cores / BUSY))

    @property
    def one_redis_is_enough(self) -> bool:
        """Redis runs the scripts of one coupon on one core, where clicks share calls when they have to."""
        return self.redis_least_cores <= BUSY

    def lines(self) -> Iterator[str]:
        yield f"{self.users:,} people within {self.seconds:g} s: {self.claims_a_second:,.0f} claims/s"
        yield f"web      {self.web_processes} gunicorn processes, a core each ({self.web_cores:.1f} busy)"
        enough = "one is enough" if self.one_redis_is_enough else "too much for one coupon on one Redis"
        cores = f"{min(self.redis_cores, max(BUSY, self.redis_least_cores)):.2f} cores"
        yield f"Redis    {cores}, {self.redis_bytes / 1e6:,.1f} MB; {enough}"
        yield f"worker   {self.worker_cores:.2f} cores, SQL {self.sql_cores:.2f} cores while coupons last"
        yield f"tickets  everybody has one after {self.tickets_after_s:,.1f} s"
        yield f"results  everybody knows theirs after {self.results_after_s:,.1f} s"


def plan(
    users: int,
    seconds: float,
    *,
    quota: int | None = None,
    cores: float | None = None,
    processes: int | None = None,
) -> Plan:
    """Return what it takes to give `users` people their tickets within `seconds`, and `quota` of them a coupon.

    The quota is half of the users by default. Without `cores` the plan has as many as it needs. With `cores`, for all
    parts together, and with `processes` of the web (by default as many), the drop may take longer than `seconds`.
    Raises ValueError for figures that cannot be.
    """
    if users < 1 or seconds <= 0 or (cores is not None and cores <= 0):
        raise ValueError("at least one user, and more than no time and no cores")
    issued = min(users, users // 2 if quota is None else quota)
    tickets, results = _ends(users, issued, seconds, cores, processes)
    return Plan(
        users=users,
        quota=issued,
        seconds=seconds,
        claims_a_second=users / tickets,
        web_cores=users * (WEB_CLAIM_US + POLLS_A_PERSON * WEB_SERVING_US) / 1e6 / tickets,
        redis_cores=users * REDIS_ALONE_US / 1e6 / tickets,
        redis_least_cores=users * REDIS_TOGETHER_US / 1e6 / tickets,
        worker_cores=issued * WORKER_US / 1e6 / tickets,
        sql_cores=issued * SQL_US / 1e6 / tickets,
        tickets_after_s=tickets,
        results_after_s=results,
        redis_bytes=users * BYTES_A_TICKET + issued * BYTES_A_RESULT,
    )


def _ends(
    users: int,
    issued: int,
    seconds: float,
    cores: float | None,
    processes: int | None,
) -> tuple[float, float]:
    """Return after how many seconds everybody has a ticket, and after how many everybody knows the result."""
    web_s, redis_s = users * WEB_CLAIM_US / 1e6, users * REDIS_CLAIM_US / 1e6
    polls_s = issued * (WEB_TICKET_US + REDIS_TICKET_US) / 1e6
    if cores is None:
        # With cores enough only Redis can be the limit: it runs the scripts of one coupon on one core.
        tickets = max(seconds, users * REDIS_TOGETHER_US / 1e6 / BUSY)
        return tickets, tickets + polls_s / max(1.0, web_s / seconds / BUSY)
    at_once = min(processes or cores, cores)
    admit_s = issued * (WORKER_US + SQL_US + REDIS_ADMIT_US) / 1e6
    tickets = max(seconds, (web_s + redis_s + admit_s) / cores, web_s / at_once)
    return tickets, tickets + max(polls_s / cores, issued * WEB_TICKET_US / 1e6 / at_once)
