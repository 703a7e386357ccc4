"""Everything starts and works with exactly the rights that README.md lists, and says which one is missing."""

import re
from collections.abc import Iterator

import pytest
import redis

from deploy.processes import ROOT, free_port
from deploy.stores import Valkey
from tests.conftest import SECRET_KEY, on_sqlite
from tests.redises import REDISES, program
from webapp.startup import refuse_unsafe_start
from webapp.stores.rights import COMMANDS, missing_rights
from webapp.stores.script_redis import ROOMS, connect_redis

PASSWORD = "letmein"
RULE = re.search(r"ACL SETUSER firstcome on >PASSWORD (.*)", (ROOT / "README.md").read_text())
CALL = re.compile(r"redis\.p?call\('([A-Z]+)'")


@pytest.fixture(scope="module", params=REDISES)
def guarded(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("acl"), port=free_port(), program=program(request.param)) as store:
        yield store


def allow(store: Valkey, *more: str) -> str:
    """Give the user the rights of README.md and further rules, and return the address for it."""
    assert RULE
    with redis.Redis.from_url(store.url) as server:
        server.execute_command(
            "ACL", "SETUSER", "firstcome", "reset", "on", f">{PASSWORD}", *RULE[1].split(), *more
        )
    return f"redis://firstcome:{PASSWORD}@127.0.0.1:{store.port}/0"


def test_the_rights_of_the_readme_are_enough(guarded):
    client = connect_redis(allow(guarded))
    assert missing_rights(client) == []
    assert client.ping()
    client.connection_pool.disconnect()


@pytest.mark.parametrize(
    "command", [*dict.fromkeys(each.split()[0] for each in COMMANDS), "MULTI", "DISCARD"]
)
def test_a_missing_right_is_named(guarded, command):
    client = connect_redis(allow(guarded, f"-{command.lower()}"))
    assert missing_rights(client) == [command]
    client.connection_pool.disconnect()


def test_nothing_is_changed_by_asking(guarded):
    client = connect_redis(allow(guarded))
    missing_rights(client)
    assert client.dbsize() == 0
    client.connection_pool.disconnect()


def test_every_command_of_a_script_is_asked_for():
    used = {name for path in ROOMS.glob("*/lua/*.lua") for name in CALL.findall(path.read_text())}
    assert used <= {command.split()[0] for command in COMMANDS}


@on_sqlite
@pytest.mark.parametrize("name", ["REDIS_URL", "QUEUE_REDIS_URL"])
def test_a_start_without_a_right_is_refused_in_one_line(
    guarded, valkey, database_url, monkeypatch, capsys, name
):
    for setting, value in {
        "REDIS_URL": valkey.url,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database_url,
    }.items():
        monkeypatch.setenv(setting, value)
    monkeypatch.setenv(name, allow(guarded))
    refuse_unsafe_start()
    monkeypatch.setenv(name, allow(guarded, "-info", "-zadd"))
    with pytest.raises(SystemExit):
        refuse_unsafe_start()
    refused = f"refusing to start: the account of {name} may not run INFO, ZADD; README.md lists the rights"
    assert capsys.readouterr().err.splitlines() == [f"firstcome: {refused}"]
