"""What `make run` does once, before it starts the parts: check the settings, migrate, make the demo data (`--demo`)."""

import sys

import flask_migrate

from deploy import demo
from webapp import create_app
from webapp.checks import refuse_unsafe_start


def main() -> None:
    refuse_unsafe_start(migrated=False)
    with create_app().app_context():
        flask_migrate.upgrade()
        if "--demo" in sys.argv[1:]:
            demo.refresh()


if __name__ == "__main__":
    main()
