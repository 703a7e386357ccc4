"""Sites to break, and a table of what they survived."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.stores import MariaDB
from tests.builders import make_coupon, make_users
from tests.conftest import missing
from tests.faults.history import History
from tests.faults.site import Site

Start = Callable[..., Site]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave all but the quick ones of these tests to `make faults`."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and not item.get_closest_marker("quick"):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def own_mariadb() -> Iterator[MariaDB]:
    """A MariaDB that may be killed: that of the other tests is left alone."""
    if not MariaDB.installed():
        missing("MariaDB (Debian: mariadb-server)")
    directory = Path(tempfile.mkdtemp(prefix="fc-"))
    with MariaDB(directory) as store:
        yield store
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def start(own_mariadb: MariaDB, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Start sites; they end with the test."""
    if not own_mariadb.answers():
        own_mariadb.start()
    sites: list[Site] = []
    with ExitStack() as stack:

        def starting(**options: Any) -> Site:
            directory = Path(tempfile.mkdtemp(prefix="fc-"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            sites.append(stack.enter_context(Site(directory, own_mariadb, **options)))
            return sites[-1]

        yield starting
        request.node.kills = sum(site.kills + site.deaths for site in sites)


@pytest.fixture
def open_sale(request: pytest.FixtureRequest) -> Callable[..., History]:
    """Open a coupon on a site for so many people, and return their history."""
    request.node.histories = []

    def opening(site: Site, *, people: int, quota: int | None, **coupon: Any) -> History:
        coupon_id = make_coupon(quota=quota, **coupon)
        history = History(site, coupon_id, make_users(people))
        request.node.histories.append(history)
        return history

    return opening


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """Note what each test of a fault survived, in the file that FAULTS_LOG names."""
    report = yield
    log = os.environ.get("FAULTS_LOG")
    if log and report.when == "teardown" and hasattr(item, "histories"):
        row = {
            "test": item.name,
            "passed": getattr(item, "passed", False),
            "claims": sum(history.claims for history in item.histories),
            "kills": getattr(item, "kills", 0),
        }
        with Path(log).open("a") as file:
            file.write(json.dumps(row) + "\n")
    elif report.when == "call":
        item.passed = report.passed  # type: ignore[attr-defined]
    return report
