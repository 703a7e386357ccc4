"""Refusals to start where a promise could not be kept. `python -m webapp.startup` runs the checks alone."""

import os
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pymysql
import redis
from environs import EnvError
from sqlalchemy import (
    CheckConstraint,
    Connection,
    ForeignKeyConstraint,
    Table,
    UniqueConstraint,
    create_engine,
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from webapp.config import DEFAULTS, SECRET_KEY_BITS, SECRET_KEY_BYTES, load
from webapp.models import Coupon, CouponIssue
from webapp.stores.addresses import read_address
from webapp.stores.cluster import connect_lines
from webapp.stores.rights import COMMANDS, ON_A_CLUSTER, missing_rights
from webapp.stores.script_redis import ScriptRedis, is_shared
from webapp.stores.sql import Base, engine_options
from webapp.values import strength
from webapp.web.shop import read_shop

LINE, QUEUE = "REDIS_URL", "QUEUE_REDIS_URL"
CLOCKS_APART_S = 1.0
DRIVERS = frozenset({"mysql+pymysql", "mariadb+pymysql", "sqlite", "sqlite+pysqlite"})
UTF8 = "utf8mb4"
CONVERTED = f"CONVERT TO CHARACTER SET {UTF8} COLLATE {UTF8}_bin"
CHARSETS = text(
    "SELECT table_name, column_name, character_set_name FROM information_schema.columns "
    f"WHERE table_schema = DATABASE() AND character_set_name <> '{UTF8}' UNION ALL "
    "SELECT table_name, NULL, SUBSTRING_INDEX(table_collation, '_', 1) FROM information_schema.tables "
    f"WHERE table_schema = DATABASE() AND table_collation NOT LIKE '{UTF8}%' ORDER BY 1, 2"
)
OUTDATED = "the tables of DATABASE_URL are not up to date; run: flask --app wsgi db upgrade"
ISOLATION = {"mysql": "READ COMMITTED", "mariadb": "READ COMMITTED", "sqlite": "SERIALIZABLE"}


def refuse_unsafe_start(*, migrated: bool = True) -> None:
    """Return when it is safe to start; else print one line that gives the reason, and raise SystemExit(1).

    With `migrated` False the tables are not checked, for a process that is about to make them. An SQL server that does
    not answer is a warning only, because users get their tickets without it.
    """
    settings = read_settings()
    # Not from the settings: without the variable they have the key of `make run`, which is for commands beside it.
    _check_secret(os.environ.get("SECRET_KEY", ""))
    for name in (LINE, QUEUE):
        _check_redis(name, settings)
    if migrated:
        _check_sql(settings)


def read_settings() -> dict[str, Any]:
    """Return the settings; print one line and raise SystemExit(1) when one of them cannot be right."""
    try:
        settings = DEFAULTS | load()
    except EnvError as error:
        _refuse(str(error))
    try:
        read_shop(settings["SHOP_NAME"], settings["SHOP_COLOUR"], settings["SHOP_LOGO"])
    except ValueError as error:
        _refuse(str(error))
    _check_database_url(settings["SQLALCHEMY_DATABASE_URI"])
    for name in (LINE, QUEUE):
        _check_redis_url(name, settings[name])
    return settings


def _check_secret(secret: str) -> None:
    random = "e.g. from: python -c 'import secrets; print(secrets.token_hex(32))'"
    if len(secret.encode(errors="replace")) < SECRET_KEY_BYTES:
        _refuse(f"SECRET_KEY must be set to at least {SECRET_KEY_BYTES} random bytes, {random}")
    if strength.bits(secret) < SECRET_KEY_BITS:
        _refuse(f"SECRET_KEY is made of known words or repeats itself; it must be random, {random}")


def _check_database_url(url: str) -> None:
    wanted = f"an address such as mysql+pymysql://user:password@host/name?charset={UTF8}"
    try:
        address = make_url(url)
        if address.drivername not in DRIVERS:
            _refuse(f"DATABASE_URL speaks {address.drivername}; it has to be {wanted}, or sqlite:////path")
        if address.database in (None, "", ":memory:"):
            _refuse(f"DATABASE_URL names no database; it has to be {wanted}, or sqlite:////path")
        charset = address.query.get("charset", UTF8)
        if charset != UTF8:
            _refuse(f"DATABASE_URL speaks the charset {charset}; end it with ?charset={UTF8}")
        _args, options = address.get_dialect()().create_connect_args(address)
        if address.get_backend_name() != "sqlite":
            # Without a connection it still refuses options that the driver does not know.
            pymysql.Connection(**options, defer_connect=True)
    except (ArgumentError, TypeError, ValueError) as error:
        _refuse(f"DATABASE_URL is not {wanted} ({error})")


def _check_redis_url(name: str, url: str) -> None:
    try:
        address = read_address(url)
        # This raises for an option of the address that the client does not know; it does not connect.
        connect_lines(url).of("").connection_pool.make_connection()
    except (ValueError, TypeError, redis.RedisError) as error:
        _refuse(f"{name} is not an address of a Redis ({error})")
    if name == QUEUE and address.kind == "cluster":
        whose = name if os.environ.get(name, "").strip() else f"{name} is not set, and {LINE}"
        _refuse(
            f"{whose} names a Redis Cluster, on which RQ's queue cannot be; "
            f"set {name} to one Redis or to a Sentinel, as in redis://host:6379/0"
        )


def _check_redis(name: str, settings: dict[str, Any]) -> None:
    try:
        for server in connect_lines(settings[name], decode_responses=True).each():
            _check_server(name, server, settings)
    except redis.exceptions.NoPermissionError:
        _refuse(f"the account of {name} may not run CLUSTER SLOTS; README.md lists the rights")
    except redis.RedisError as error:
        _refuse(f"{name} does not answer ({error})")


def _check_server(name: str, server: ScriptRedis, settings: dict[str, Any]) -> None:
    if name == LINE and is_shared(server):
        _refuse(
            f"something between us and the Redis of {name} shares its connections among its clients; "
            "connect to the server itself, or through a proxy with one connection of its own for each of ours"
        )
    on_cluster = _check_kind(name, server, read_address(settings[name]).kind)
    if missing := missing_rights(server, (*COMMANDS, *ON_A_CLUSTER) if on_cluster else COMMANDS):
        _refuse(f"the account of {name} may not run {', '.join(missing)}; README.md lists the rights")
    policy = server.info("memory").get("maxmemory_policy")
    _compare_clocks(f"the Redis of {name}", float("{}.{:06}".format(*server.time())))
    if policy != "noeviction":
        _refuse(f"the Redis of {name} may evict keys (maxmemory-policy {policy}); set it to noeviction")
    has_file = server.info("persistence").get("aof_enabled") == 1
    # A lost bell is rung again, so only the Redis of the lines needs a file.
    if name == LINE and not has_file and not settings["ALLOW_REDIS_WITHOUT_AOF"]:
        _refuse(
            f"the Redis of {name} keeps no append-only file and forgets the line when it restarts; "
            "set its appendonly to yes, or ALLOW_REDIS_WITHOUT_AOF=true if its replicas stand in for one"
        )


def _check_kind(name: str, server: ScriptRedis, kind: str) -> bool:
    """Refuse a server that is of another kind than its address says; return whether it is a node of a Cluster."""
    try:
        said = server.info("server")
    except redis.exceptions.NoPermissionError:
        return kind == "cluster"  # the check of the rights names it
    mode = said.get("server_mode") or said.get("redis_mode")
    if mode == "sentinel":
        _refuse(
            f"{name} names a Sentinel as if it held data; write redis+sentinel://host:26379/name-of-its-master"
        )
    if mode == "cluster" and kind != "cluster":
        mend = (
            "begin it with redis+cluster://" if name == LINE else "RQ's queue needs one Redis or a Sentinel"
        )
        _refuse(f"{name} names a node of a Redis Cluster as if it were alone; {mend}")
    return mode == "cluster"


def _check_sql(settings: dict[str, Any]) -> None:
    engine = create_engine(settings["SQLALCHEMY_DATABASE_URI"], **engine_options(settings))
    try:
        with engine.connect() as connection:
            _check_isolation(connection)
            _check_columns(connection)
            _check_charset(connection)
            _check_constraints(connection)
            if connection.dialect.name != "sqlite":
                now = connection.scalar(text("SELECT UNIX_TIMESTAMP(NOW(6))"))
                _compare_clocks("the server of DATABASE_URL", float(now or 0))
    except SQLAlchemyError as error:
        # The web can number people without SQL, and the workers wait for it.
        _warn(f"DATABASE_URL does not answer ({type(error).__name__}); admission waits for it")
    finally:
        engine.dispose()


def _check_isolation(connection: Connection) -> None:
    """Refuse another isolation level: a read under the row lock has to see the last commit."""
    level, wanted = connection.get_isolation_level(), ISOLATION[connection.dialect.name]
    if level != wanted:
        _refuse(f"the sessions of DATABASE_URL have the isolation level {level}; it has to be {wanted}")


def _check_columns(connection: Connection) -> None:
    """Refuse tables that are older than this code. It runs on newer ones, as long as it can add rows to them."""
    known = inspect(connection)
    tables = set(known.get_table_names())
    for table in Base.metadata.sorted_tables:
        columns = (
            {each["name"]: each for each in known.get_columns(table.name)} if table.name in tables else {}
        )
        if missing := [column.name for column in table.columns if column.name not in columns]:
            _refuse(f"{table.name} has no {', '.join(missing)}: {OUTDATED}")
        for name in columns.keys() - {column.name for column in table.columns}:
            # An INSERT of this code does not name the column.
            if not columns[name]["nullable"] and columns[name]["default"] is None:
                _refuse(f"{table.name}.{name} is of a newer version, and needs a default; run that version")


def _check_charset(connection: Connection) -> None:
    """Refuse other charsets: MySQL turns characters that they cannot hold into errors or question marks."""
    if connection.dialect.name == "sqlite":
        return
    charset, name = connection.execute(text("SELECT @@character_set_database, DATABASE()")).one()
    columns = connection.execute(CHARSETS).all()
    ours = {
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        for column in (table, *table.columns)
    }
    wrong = [(table, column, other) for table, column, other in columns if (table, column or table) in ours]
    mend = [] if charset == UTF8 else [f"ALTER DATABASE `{name}` CHARACTER SET {UTF8}"]
    mend += [f"ALTER TABLE {table} {CONVERTED}" for table in dict.fromkeys(table for table, _, _ in wrong)]
    if mend:
        seen = sorted({charset, *(other for _, _, other in wrong)} - {UTF8})
        _refuse(f"DATABASE_URL is {', '.join(seen)} and not all {UTF8}; run in it: {'; '.join(mend)}")


def _check_constraints(connection: Connection) -> None:
    """Refuse tables without the constraints that keep the quota and one coupon a person."""
    known = inspect(connection)
    for table in (Coupon.__table__, CouponIssue.__table__):
        assert isinstance(table, Table)
        present = {str(each["name"]) for each in known.get_unique_constraints(table.name)}
        present |= {str(each["name"]) for each in known.get_check_constraints(table.name)}
        present |= {str(each["name"]) for each in known.get_foreign_keys(table.name)}
        if missing := sorted(set(_guards(table)) - present):
            _refuse(
                f"the table {table.name} has lost its constraints {', '.join(missing)}; they keep the promises"
            )


def _guards(table: Table) -> Iterator[str]:
    """Yield the names of the constraints that keep the promises."""
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint | CheckConstraint | ForeignKeyConstraint):
            yield str(constraint.name)


def _compare_clocks(whose: str, seconds: float) -> None:
    """Warn when a store's clock differs from ours: Redis's clock decides the period, and ours shows it to people."""
    apart = seconds - time.time()
    if abs(apart) > CLOCKS_APART_S:
        _warn(f"the clock of {whose} is {apart:+.1f} s off ours; set both by NTP")


def _warn(what: str) -> None:
    print("firstcome: warning: " + " ".join(what.split()), file=sys.stderr, flush=True)


def _refuse(reason: str) -> NoReturn:
    print("firstcome: refusing to start: " + " ".join(reason.split()), file=sys.stderr, flush=True)
    raise SystemExit(1)


if __name__ == "__main__":
    refuse_unsafe_start()
