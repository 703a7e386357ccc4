"""Memory: the bytes of a waiting ticket in Redis, with its share of the gate and of the sorted set's tables."""

from bench.admission import wait_in_line
from bench.measure import Figures, Table
from bench.stage import Stage
from webapp.line.line import Line
from webapp.stores.script_redis import line_redis

SIZES = (1_000, 100_000, 1_000_000)
FIRST_ID = 10_000_000
"""Ids of eight digits, as a service has them after years."""


def run(stage: Stage) -> list[Table]:
    _bytes_a_ticket(stage, 1)  # The first claim loads the scripts, which take memory too.
    rows = [_bytes_a_ticket(stage, size) for size in SIZES]
    return [Table("A waiting ticket", "bytes in Redis", rows)]


def _bytes_a_ticket(stage: Stage, waiting: int) -> Figures:
    """Return by how much the server's memory grew a ticket; MEMORY USAGE of the keys would leave parts out."""
    coupon_id = stage.coupon()
    line = Line(line_redis(), coupon_id)
    before = line.redis.info("memory")["used_memory"]
    wait_in_line(coupon_id, list(range(FIRST_ID, FIRST_ID + waiting)))
    grown = line.redis.info("memory")["used_memory"] - before
    line.forget()
    return Figures(f"{waiting:>9,} waiting", [grown / waiting])
