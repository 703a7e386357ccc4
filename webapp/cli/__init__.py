"""The `flask` commands."""

from flask import Flask

from webapp.cli import content, roles
from webapp.cli.base import Migrations
from webapp.cli.coupons import coupons
from webapp.cli.drops import plan_capacity, rehearse
from webapp.cli.lines import audit, reconcile
from webapp.cli.lists import read_upload
from webapp.cli.log import log
from webapp.cli.proposals import proposals
from webapp.cli.users import users


def init_app(app: Flask) -> None:
    content.add_to(coupons)
    roles.add_to(users)
    commands = (users, coupons, proposals, audit, log, rehearse, reconcile, plan_capacity, read_upload)
    for command in (*commands, Migrations("db")):
        app.cli.add_command(command)
