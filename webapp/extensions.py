"""The extensions and the two Redis connections, one of each a process."""

import sqlite3
import ssl
from collections.abc import Mapping
from typing import Any, ClassVar

import pymysql
import redis
from flask import Flask, current_app
from flask_babel import Babel
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import event, make_url
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.schema import MetaData
from werkzeug.local import LocalProxy

from webapp import sqlite
from webapp.scripts import ScriptRedis
from webapp.security import OwnPages

QUEUE_NAME = "admission"
"""The one RQ queue. A worker listens to this queue alone: with two, a job that it takes can be lost."""

SWEEPER_ALIVE_KEY = "sweeper:alive"
"""Exists while a sweeper sweeps."""

CONNECTIONS = 50
"""Connections to one Redis a process."""

SQL_IDLE_S = 30
POOL_WAIT_S = 0.4
JOB_TIMEOUT_S = 30
FAILED_JOB_TTL_S = 3600


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


db = SQLAlchemy(model_class=Base)
login = LoginManager()
csrf = OwnPages()
babel = Babel()


def init_stores(app: Flask) -> None:
    """Connect the app to SQL and to Redis; nothing is sent before the first use."""
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(app.config)
    db.init_app(app)
    app.extensions["migrate"] = LocalProxy(lambda: _migrations(app))
    # Bytes that are no text are read all the same, so that they can be told from ours and set aside.
    app.extensions["line"] = connect_redis(
        app.config["REDIS_URL"], decode_responses=True, encoding_errors="surrogateescape"
    )
    app.extensions["bells"] = connect_redis(app.config["QUEUE_REDIS_URL"])
    with app.app_context():
        event.listen(db.engine, "connect", _prepare_connection(app.config["SQL_LOCK_WAIT_S"]))
        if db.engine.name != "sqlite":
            event.listen(db.engine, "do_connect", _connect)


def _migrations(app: Flask) -> Any:
    """Import Alembic when it is first asked for: a web process never asks, and is 11 MB smaller."""
    from flask_migrate import Migrate

    Migrate(app, db, directory=f"{app.root_path}/../migrations")
    return app.extensions["migrate"]


def connect_redis(url: str, **options: Any) -> ScriptRedis:
    """Connect with limits under which a visitor hears "busy" soon, and does not hang, when Redis is dead.

    A command whose reply was lost is sent once more, so every script has to be idempotent. At most CONNECTIONS
    requests of a process talk to Redis at a time; the others wait for their turn. The longest way to an error is the
    wait for a connection, an answer that does not come, a new connection, and once more no answer: 0.4 + 0.7 + 0.3 +
    0.7 s. So a connection begins with no questions of its own (no HELLO, no CLIENT SETINFO, no PING).
    """
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=0.4,
        socket_timeout=0.7,
        socket_connect_timeout=0.3,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[ReadOnlyError],
        protocol=2,
        driver_info=None,
        **options,
    )
    return ScriptRedis(connection_pool=pool)


def line_redis() -> ScriptRedis:
    """Return the current app's connection to the Redis that holds the lines (text, not bytes)."""
    connection: ScriptRedis = current_app.extensions["line"]
    return connection


def bell_queue() -> Queue:
    """Return the current app's RQ queue of bells."""
    return Queue(QUEUE_NAME, connection=current_app.extensions["bells"], serializer=JSONSerializer)


def session_settings(lock_wait_s: int) -> list[str]:
    """Return what every session with MySQL or MariaDB begins with."""
    return [
        f"SET SESSION innodb_lock_wait_timeout={int(lock_wait_s)}",
        # A process that was stopped with the row lock in its hands loses it after so many seconds.
        f"SET SESSION wait_timeout={SQL_IDLE_S}",
        "SET SESSION time_zone='+00:00'",
        "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    ]


class Connection(pymysql.Connection):  # type: ignore[misc]
    """Shares what it read of certificates with the connections before it.

    PyMySQL reads all of the machine's authorities for every connection, in case that the server speaks TLS: 20 ms of a
    core (`python -m timeit "import ssl; ssl.create_default_context()"`), in which a web process answers nobody. A
    process keeps what it read as long as it lives.
    """

    read: ClassVar[dict[str, ssl.SSLContext]] = {}

    def _create_ssl_ctx(self, options: dict[str, Any]) -> ssl.SSLContext:
        key = repr(options)
        if key not in self.read:
            self.read[key] = super()._create_ssl_ctx(options)
        return self.read[key]


class ImpatientPool(QueuePool):
    """Waits POOL_WAIT_S for a connection: SQLAlchemy's own setting is read in whole seconds, and 0.4 is none."""

    def __init__(self, creator: Any, **options: Any) -> None:
        super().__init__(creator, **options | {"timeout": POOL_WAIT_S})


def engine_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how to connect to SQL, for `sqlalchemy.create_engine`."""
    if make_url(config["SQLALCHEMY_DATABASE_URI"]).get_backend_name() == "sqlite":
        return {
            "pool_size": sqlite.CONNECTIONS,
            "max_overflow": 0,
            "pool_timeout": config["SQL_LOCK_WAIT_S"],
            "connect_args": {"factory": sqlite.Connection, "timeout": config["SQL_LOCK_WAIT_S"]},
        }
    return {
        "isolation_level": "READ COMMITTED",
        "pool_pre_ping": True,
        "pool_recycle": 25,
        "poolclass": ImpatientPool,
        "pool_size": 20,
        "max_overflow": 0,
        # What is not needed stays idle, until the server's wait_timeout ends it.
        "pool_use_lifo": True,
        "connect_args": {
            "connect_timeout": min(2, config["SQL_ANSWER_S"]),
            "read_timeout": config["SQL_ANSWER_S"],
            "write_timeout": config["SQL_ANSWER_S"],
        },
    }


def _connect(_dialect: object, _record: object, args: list[Any], options: dict[str, Any]) -> Connection:
    return Connection(*args, **options)


def _prepare_connection(lock_wait_s: int) -> Any:
    def prepare(connection: Any, _record: ConnectionPoolEntry) -> None:
        if isinstance(connection, sqlite3.Connection):
            statements = ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"]
        else:
            statements = session_settings(lock_wait_s)
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()

    return prepare
