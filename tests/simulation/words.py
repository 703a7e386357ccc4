"""The words of the histories: what each crossing is to somebody who operates the system."""

WORDS = {
    "claim.lua": "the line gives the number",
    "read_standing.lua": "the line says where the user stands",
    "restore_ticket.lua": "the line takes the receipt",
    "read_head.lua": "the head of the line is read",
    "settle_batch.lua": "the results are written to Redis",
    "move_to_standby.lua": "the rest of the line moves to standby",
    "publish.lua": "the gate is written to Redis",
    "begin_epoch.lua": "the gate of a new epoch is written",
    "open_epoch.lua": "the epoch is opened",
    "ring_bell.lua": "the bell is set",
    "revoke.lua": "Redis hears of the revocation",
    "write_members.lua": "the list is written to Redis",
    "mark_members.lua": "Redis hears of a change to the list",
    "write_elsewhere.lua": "Redis hears who has one of another wave",
    "set_aside.lua": "malformed data is looked for",
    "the row lock": "it takes the lock of the coupon",
    "the commit": "SQL commits",
    "the queue": "the job is enqueued",
    "its turn": "it travels with the next call",
    "a pause": "it waits for more tickets",
    "DEL": "the bell is taken",
    "HSET": "results are written to Redis",
    "HMGET + INFO": "the life of the gate is read",
    "HGETALL + ZCARD + TIME": "the gate is read",
}


def span(ms: int) -> str:
    """Say a time in its greatest unit."""
    for unit, length in (("days", 86_400_000), ("minutes", 60_000), ("s", 1000)):
        if ms >= length and ms % length == 0:
            return f"{ms // length} {unit}"
    return f"{ms / 1000:g} s" if ms > 10_000 else f"{ms} ms"
