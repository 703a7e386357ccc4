"""Memory: what a waiting ticket costs in Redis, with its gate and its share of the sorted set's tables."""

from bench.admission import wait_in_line
from bench.measure import Figures, Table
from bench.stage import Stage
from webapp.extensions import line_redis
from webapp.line import Line

SIZES = (1_000, 100_000, 1_000_000)
FIRST_ID = 10_000_000
"""Ids of eight digits: of a service that has been running for years."""


def run(stage: Stage) -> list[Table]:
    _bytes_a_ticket(stage, 1)  # The scripts are loaded with the first.
    rows = [_bytes_a_ticket(stage, size) for size in SIZES]
    return [Table("A waiting ticket", "bytes in Redis", rows)]


def _bytes_a_ticket(stage: Stage, waiting: int) -> Figures:
    """Return what the server's memory grew by, which counts what MEMORY USAGE of the keys does not."""
    coupon_id, redis = stage.coupon(), line_redis()
    before = redis.info("memory")["used_memory"]
    wait_in_line(coupon_id, list(range(FIRST_ID, FIRST_ID + waiting)))
    grown = redis.info("memory")["used_memory"] - before
    Line(redis, coupon_id).forget()
    return Figures(f"{waiting:>9,} waiting", [grown / waiting])
