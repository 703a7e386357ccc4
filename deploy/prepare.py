"""The first step of `make run`: check the settings, migrate the tables, and with `--demo` make the demo data."""

import sys

import flask_migrate

from deploy import demo
from webapp import create_app
from webapp.startup import refuse_unsafe_start


def main() -> None:
    refuse_unsafe_start(migrated=False)
    with create_app().app_context():
        flask_migrate.upgrade()
        if "--demo" in sys.argv[1:]:
            demo.refresh()


if __name__ == "__main__":
    main()
