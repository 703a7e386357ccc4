"""SQL: the connections, and the settings of every session."""

import sqlite3
import ssl
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pymysql
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool
from sqlalchemy.schema import MetaData

from webapp.stores import sqlite

SQL_IDLE_S = 30
POOL_WAIT_S = 0.4
LOST_TO_ANOTHER = frozenset({1205, 1213})
"""What MySQL and MariaDB say when a transaction waited too long for a lock of another one, or in a circle."""


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


def migrations(app: Flask) -> Any:
    """Import Alembic at its first use: a web process never uses it, and is 11 MB smaller."""
    from flask_migrate import Migrate

    Migrate(app, db, directory=f"{app.root_path}/../migrations")
    return app.extensions["migrate"]


def session_settings(lock_wait_s: int) -> list[str]:
    """Return the statements that every session with MySQL or MariaDB begins with."""
    return [
        f"SET SESSION innodb_lock_wait_timeout={int(lock_wait_s)}",
        # A process that was stopped while it held the row lock loses the lock after so many seconds.
        f"SET SESSION wait_timeout={SQL_IDLE_S}",
        "SET SESSION time_zone='+00:00'",
        "SET SESSION sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    ]


class MySQLConnection(pymysql.Connection):  # type: ignore[misc]
    """A connection that shares the certificates that an earlier connection of the process has read.

    PyMySQL reads all authorities of the machine for every connection, in case the server speaks TLS. That takes 20 ms
    of a core (`python -m timeit "import ssl; ssl.create_default_context()"`), in which a web process answers nobody.
    """

    read: ClassVar[dict[str, ssl.SSLContext]] = {}

    def _create_ssl_ctx(self, options: dict[str, Any]) -> ssl.SSLContext:
        key = repr(options)
        if key not in self.read:
            self.read[key] = super()._create_ssl_ctx(options)
        return self.read[key]


class ImpatientPool(QueuePool):
    """A pool that waits POOL_WAIT_S for a connection: SQLAlchemy's own setting takes whole seconds only."""

    def __init__(self, creator: Any, **options: Any) -> None:
        super().__init__(creator, **options | {"timeout": POOL_WAIT_S})


def engine_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `sqlalchemy.create_engine` for this database."""
    if make_url(config["SQLALCHEMY_DATABASE_URI"]).get_backend_name() == "sqlite":
        return {
            "pool_size": sqlite.CONNECTIONS,
            "max_overflow": 0,
            "pool_timeout": config["SQL_LOCK_WAIT_S"],
            "connect_args": {"factory": sqlite.Connection, "timeout": config["SQL_LOCK_WAIT_S"]},
        }
    return {
        # A read under the row lock must see the commit of the last holder, and not an older snapshot.
        "isolation_level": "READ COMMITTED",
        "pool_pre_ping": True,
        "pool_recycle": 25,  # below SQL_IDLE_S, or the server would end a connection that is about to be used
        "poolclass": ImpatientPool,
        "pool_size": 20,
        "max_overflow": 0,
        # The same few connections are used; the others stay idle until the server's wait_timeout ends them.
        "pool_use_lifo": True,
        "connect_args": {
            "connect_timeout": min(2, config["SQL_ANSWER_S"]),
            "read_timeout": config["SQL_ANSWER_S"],
            "write_timeout": config["SQL_ANSWER_S"],
        },
    }


def connect_sharing_tls(
    _dialect: object, _record: object, args: list[object], options: dict[str, object]
) -> MySQLConnection:
    return MySQLConnection(*args, **options)


def lost_to_another(error: OperationalError) -> bool:
    """Return whether a transaction was given up for another one: nothing of it stands, and it may be tried again."""
    return bool(error.orig and error.orig.args and error.orig.args[0] in LOST_TO_ANOTHER)


def prepare_connection(lock_wait_s: int) -> Callable[[DBAPIConnection, ConnectionPoolEntry], None]:
    def prepare(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
        if isinstance(connection, sqlite3.Connection):
            # WAL: readers do not wait for the writer. FULL: a commit is on the disk before it returns.
            statements = ["PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON"]
        else:
            statements = session_settings(lock_wait_s)
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()

    return prepare
