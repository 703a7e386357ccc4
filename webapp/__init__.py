"""FirstCome: coupons for the people who ask first. The application factory is the list of its parts."""

from typing import Any

from flask import Flask

from webapp import cli, config
from webapp.accounts import sessions, throttle
from webapp.accounts.visitor import login
from webapp.sale import claims, turnout
from webapp.stores import init_stores
from webapp.web import (
    addresses,
    admin,
    errors,
    health,
    hosts,
    page_scripts,
    presenting,
    rights,
    security,
    shop,
    slashes,
)
from webapp.web.admin import queue
from webapp.web.fast.path import FastPath
from webapp.web.pages import accounts, content, coupons, joining, preview, receipts, tickets, wallet
from webapp.web.presenting import babel
from webapp.web.security import csrf


def create_app(overrides: dict[str, Any] | None = None) -> Flask:
    """Build the app from the environment; `overrides` replaces settings. No connection is opened."""
    app = Flask(__name__, template_folder="../templates", static_folder="../static")
    app.config.from_mapping(config.DEFAULTS)
    app.config.from_mapping(config.load())
    app.config.from_mapping(overrides or {})

    init_stores(app)
    addresses.init_app(app)
    hosts.init_app(app)
    security.init_app(app)  # before csrf, which reads the body that this may refuse
    csrf.init_app(app)
    login.init_app(app)
    throttle.init_app(app)
    sessions.init_app(app)
    claims.init_app(app)
    turnout.init_app(app)
    babel.init_app(app, locale_selector=presenting.locale)

    errors.init_app(app)
    page_scripts.init_app(app)
    presenting.init_app(app)
    rights.init_app(app)
    shop.init_app(app)
    queue.init_app(app)
    cli.init_app(app)
    for module in (coupons, content, preview, tickets, receipts, accounts, joining, wallet, admin, health):
        app.register_blueprint(module.bp)
    slashes.init_app(app)  # last: `admin` hides its pages before
    if app.config["FAST_PATH"]:
        app.wsgi_app = FastPath(app)  # type: ignore[method-assign]
    security.trust_proxies(app)
    return app
