"""Malformed data in a line's keys are set aside, and the rest goes on."""

from webapp.line.line import Line
from webapp.line.types import Claimed, Reply, Standing
from webapp.sale.records import known_results
from webapp.stores.malformed import count_aside
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db


def set_aside(coupon_id: int) -> int:
    """Set aside the data in a line's keys that no command of ours can have written, and return how many those were.

    A gate that cannot be read is one of them: it is missing then. Raises redis.RedisError.
    """
    found = Line(line_redis(), coupon_id).set_aside()
    count_aside("key of a line", found, coupon_id=coupon_id)
    return found


def set_user_aside(coupon_id: int, user_id: int, found: Claimed | Standing) -> None:
    """Set aside one user's place or result that cannot be read. SQL's own result takes the place of a result."""
    line = Line(line_redis(), coupon_id)
    if found.reply is not Reply.DECIDED:
        set_members_aside(line, coupon_id, [str(user_id)])
        return
    with db.engine.connect() as connection:
        known = known_results(connection, coupon_id, user_id)
    line.set_result_aside(user_id, known.get(str(user_id), ""))
    count_aside("result", coupon_id=coupon_id)


def set_members_aside(line: Line, coupon_id: int, members: list[str]) -> None:
    if members:
        line.set_members_aside(members)
        count_aside("member of a line", len(members), coupon_id=coupon_id)
