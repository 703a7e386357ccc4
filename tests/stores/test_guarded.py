"""TLS, and users with the rights of README.md: a Cluster, and a master that sentinels watch."""

from collections.abc import Iterator

import pytest

from deploy.clusters import Cluster, Watched, ask
from tests.conftest import SECRET_KEY, disconnect, on_sqlite
from tests.hosts.test_rights import PASSWORD, RULE
from tests.line.test_line import begin, policy
from tests.redises import program
from tests.tls import certificate
from webapp.line.line import Line
from webapp.sale.condition import probed
from webapp.startup import refuse_unsafe_start
from webapp.stores.cluster import connect_lines

ACCOUNT = f"firstcome:{PASSWORD}@"
ON_A_CLUSTER = ("+cluster|slots", "+asking")
OWN = "&sentinel_username=watcher&sentinel_password=seen"
"""The account of the sentinels themselves."""


@pytest.fixture(scope="module")
def cluster_over_tls(tmp_path_factory) -> Iterator[Cluster]:
    directory = tmp_path_factory.mktemp("tls")
    with Cluster(directory, program=program("redis 7"), tls=certificate(directory)) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def watched_over_tls(tmp_path_factory) -> Iterator[Watched]:
    directory = tmp_path_factory.mktemp("tls")
    with Watched(directory, program=program("redis 7"), tls=certificate(directory)) as servers:
        for server in servers.servers:
            allow(server)
        for sentinel in servers.sentinels:
            rule = "on >seen +@connection +sentinel|get-master-addr-by-name"
            ask(sentinel, "ACL", "SETUSER", "watcher", "reset", *rule.split())
        yield servers


def allow(server, *more: str) -> None:
    assert RULE
    ask(server, "ACL", "SETUSER", "firstcome", "reset", "on", f">{PASSWORD}", *RULE[1].split(), *more)


def safe_start(monkeypatch, lines_url: str, queue_url: str, database_url: str) -> None:
    for name, value in {
        "REDIS_URL": lines_url,
        "QUEUE_REDIS_URL": queue_url,
        "SECRET_KEY": SECRET_KEY,
        "DATABASE_URL": database_url,
    }.items():
        monkeypatch.setenv(name, value)
    refuse_unsafe_start()


def claims_of(url: str) -> list[int]:
    """Have somebody claim one of thirty coupons after the other."""
    lines, numbers = connect_lines(url, decode_responses=True), []
    assert probed(lines).says == "ok"
    for coupon_id in range(1, 31):
        begin(line := Line(lines, coupon_id), policy())
        numbers.append(line.claim(1).number)
    disconnect(lines)
    return numbers


@on_sqlite
def test_a_cluster(cluster_over_tls, valkey, database_url, monkeypatch):
    for node in cluster_over_tls.nodes:
        allow(node, *ON_A_CLUSTER)
    url = cluster_over_tls.url_of(*cluster_over_tls.nodes, account=ACCOUNT)
    safe_start(monkeypatch, url, valkey.url, database_url)
    assert claims_of(url) == [1] * 30


@on_sqlite
@pytest.mark.parametrize("right", ["cluster|slots", "asking", "zadd"])
def test_a_right_that_a_node_does_not_give_is_named(
    cluster_over_tls, valkey, database_url, monkeypatch, capsys, right
):
    nodes = cluster_over_tls.nodes
    for node in nodes:
        allow(node, *ON_A_CLUSTER, *([f"-{right}"] if "|" in right or node is nodes[1] else []))
    url = cluster_over_tls.url_of(*nodes, account=ACCOUNT)
    with pytest.raises(SystemExit):
        safe_start(monkeypatch, url, valkey.url, database_url)
    assert f"may not run {right.upper().replace('|', ' ')}; README" in capsys.readouterr().err


@on_sqlite
def test_sentinels_with_an_account_of_their_own(watched_over_tls, database_url, monkeypatch):
    url = watched_over_tls.url_of(*watched_over_tls.sentinels, account=ACCOUNT, options=OWN)
    safe_start(monkeypatch, url, url, database_url)
    assert claims_of(url) == [1] * 30


@on_sqlite
@pytest.mark.parametrize("wrong", [(ACCOUNT, OWN.replace("seen", "no")), ("no:no@", OWN)])
def test_control_a_wrong_password_for_either_is_refused(
    watched_over_tls, database_url, monkeypatch, capsys, wrong
):
    account, options = wrong
    url = watched_over_tls.url_of(*watched_over_tls.sentinels, account=account, options=options)
    with pytest.raises(SystemExit):
        safe_start(monkeypatch, url, url, database_url)
    assert "invalid username-password pair" in capsys.readouterr().err
