"""FirstCome: coupons for whoever asks first. The application factory is the list of its parts."""

from typing import Any

from flask import Flask

from webapp import (
    accounts,
    admin,
    cli,
    config,
    coupons,
    dashboard,
    errors,
    health,
    hosts,
    page_scripts,
    presenting,
    receipts_page,
    security,
    sessions,
    slashes,
    throttle,
    tickets,
    wallet,
)
from webapp.extensions import babel, csrf, init_stores, login
from webapp.lane import Lane


def create_app(overrides: dict[str, Any] | None = None) -> Flask:
    """Build the app from the environment; `overrides` replaces settings. Opens no connection."""
    app = Flask(__name__, template_folder="../templates", static_folder="../static")
    app.config.from_mapping(config.DEFAULTS)
    app.config.from_mapping(config.load())
    app.config.from_mapping(overrides or {})

    init_stores(app)
    hosts.init_app(app)
    security.init_app(app)  # first: the CSRF check reads the body already
    csrf.init_app(app)
    login.init_app(app)
    throttle.init_app(app)
    sessions.init_app(app)
    babel.init_app(app, locale_selector=presenting.locale)

    errors.init_app(app)
    page_scripts.init_app(app)
    presenting.init_app(app)
    dashboard.init_app(app)
    cli.init_app(app)
    for module in (coupons, tickets, receipts_page, accounts, wallet, admin, health):
        app.register_blueprint(module.bp)
    slashes.init_app(app)  # last: `admin` hides its pages before
    app.wsgi_app = Lane(app)  # type: ignore[method-assign]
    security.trust_proxies(app)
    return app
