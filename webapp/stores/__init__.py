"""The connections to SQL, to Redis and to RQ's queue. Nothing here knows a coupon."""

import redis
from flask import Flask
from sqlalchemy import event
from werkzeug.local import LocalProxy

from webapp.stores.cluster import connect_lines
from webapp.stores.script_redis import connect_redis
from webapp.stores.sql import connect_sharing_tls, db, engine_options, migrations, prepare_connection
from webapp.stores.swallowed import swallow

OPENED = {"line": 20, "bells": 2}
"""How many connections a web process opens at its start, to each Redis; the nodes of a Cluster share them."""


def init_stores(app: Flask) -> None:
    """Connect the app to SQL and to Redis; nothing is sent before the first use."""
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(app.config)
    db.init_app(app)
    app.extensions["migrate"] = LocalProxy(lambda: migrations(app))
    # Bytes that are no UTF-8 become lone surrogates instead of an error, so that they can be set aside.
    app.extensions["line"] = connect_lines(
        app.config["REDIS_URL"], decode_responses=True, encoding_errors="surrogateescape"
    )
    app.extensions["bells"] = connect_redis(app.config["QUEUE_REDIS_URL"])
    with app.app_context():
        event.listen(db.engine, "connect", prepare_connection(app.config["SQL_LOCK_WAIT_S"]))
        if db.engine.name != "sqlite":
            event.listen(db.engine, "do_connect", connect_sharing_tls)


def open_connections(app: Flask) -> None:
    """Connect to Redis ahead of the first clicks: over TLS the connections of all who come at once take too long."""
    for name, count in OPENED.items():
        try:
            servers = app.extensions[name].each()
            for server in servers:
                server.connection_pool.open(-(-count // len(servers)))
        except redis.RedisError as error:
            swallow("connections not opened", error, "the first requests open theirs")
