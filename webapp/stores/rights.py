"""The rights that our user of Redis needs. README.md has the rule of the access list that grants them."""

from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import AskError, ClusterDownError

from webapp.stores.script_redis import ScriptRedis

COMMANDS = (
    *("EVALSHA s 0", "SCRIPT LOAD s", "INFO", "TIME", "EXISTS k", "TYPE k", "DEL k", "RENAME k k"),
    *(
        "EXPIRE k 1",
        "PEXPIRE k 1",
        "PTTL k",
        "GET k",
        "SET k v",
        "HGET k f",
        "HGETALL k",
        "HMGET k f",
        "HSCAN k 0",
        "HSTRLEN k f",
        "HEXISTS k f",
        "HLEN k",
        "HVALS k",
        "PEXPIREAT k 1",
    ),
    *(
        "HSET k f v",
        "HSETNX k f v",
        "HDEL k f",
        "HINCRBY k f 1",
        "LLEN k",
        "LRANGE k 0 0",
        "LPUSH k v",
        "RPUSH k v",
    ),
    *("LREM k 0 v", "LTRIM k 0 0", "LMOVE k k LEFT RIGHT", "BLMOVE k k LEFT RIGHT 1", "SADD k m", "SREM k m"),
    *(
        "SMEMBERS k",
        "SCARD k",
        "ZADD k 1 m",
        "ZREM k m",
        "ZCARD k",
        "ZCOUNT k 0 1",
        "ZSCORE k m",
        "ZMSCORE k m",
    ),
    *("ZRANK k m", "ZRANGE k 0 0", "ZRANGEBYSCORE k 0 1", "ZREVRANGEBYSCORE k 1 0", "ZSCAN k 0"),
    *("ZREMRANGEBYSCORE k 0 1", "ZUNIONSTORE k 1 k"),
    *("GETRANGE k 0 0", "SETRANGE k 0 v", "GETBIT k 0", "SETBIT k 0 1", "BITCOUNT k"),
)
"""The commands of our scripts, of our own code and of RQ, each with arguments that it takes."""


ON_A_CLUSTER = ("CLUSTER SLOTS", "ASKING")


def missing_rights(client: ScriptRedis, commands: Sequence[str] = COMMANDS) -> list[str]:
    """Return those of the commands that the user may not run. Nothing is run or changed. Raises redis.RedisError."""
    connection: Any = client.connection_pool.get_connection()
    try:
        if not _may(connection, "MULTI"):
            return ["MULTI"]
        # In a transaction each command is checked, and put off; then the transaction is given up.
        missing = [command.split()[0] for command in commands if not _may(connection, *command.split())]
        return missing if _may(connection, "DISCARD") else [*missing, "DISCARD"]
    finally:
        connection.disconnect()
        client.connection_pool.release(connection)


def _may(connection: Any, *command: str) -> bool:
    connection.send_command(*command)
    try:
        connection.read_response()
    except redis.exceptions.NoPermissionError:
        return False
    except (AskError, ClusterDownError):
        return True  # the key of the question is another node's, whom it would have asked
    return True
