"""The `flask` commands."""

from flask import Flask

from webapp.cli import content
from webapp.cli.base import Migrations
from webapp.cli.coupons import coupons
from webapp.cli.drops import plan_capacity, rehearse
from webapp.cli.lines import audit, reconcile
from webapp.cli.lists import read_upload
from webapp.cli.users import users


def init_app(app: Flask) -> None:
    content.add_to(coupons)
    for command in (users, coupons, audit, rehearse, reconcile, plan_capacity, read_upload, Migrations("db")):
        app.cli.add_command(command)
