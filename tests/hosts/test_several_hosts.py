"""The whole system on several hosts, each part of which is cut off in the midst of a sale."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench import nginx
from deploy.processes import wait_until
from deploy.stores import MariaDB
from tests.conftest import cannot, missing
from tests.faults.history import Broken
from tests.hosts.network import network, obstacle
from tests.hosts.several import CUTS, PATIENCE_S, Clicks, play, several_hosts

PEOPLE = 600
STUMBLES_S = 6
"""In so many seconds clicks may be answered with 5xx while each web host stumbles; by the rules of nginx it is ten."""
KILLED = """
import os, signal
from tests.hosts.network import network
with network(["one", "two"]) as hosts:
    print(*(host.holder.pid for host in hosts.values()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module", autouse=True)
def possible():
    if reason := obstacle():
        cannot(reason)


@pytest.fixture(scope="module")
def several():
    if not MariaDB.installed():
        missing("MariaDB (Debian: mariadb-server)")
    if nginx.program() is None:
        missing("nginx (Debian: nginx-light)")
    with several_hosts() as running:
        yield running


class WithoutReceipts(Clicks):
    """Pages that have lost their receipts."""

    def _poll_request(self, index):
        return self.crowd.get(f"/coupons/{self.coupon_id}/ticket", index)


def test_nothing_is_cut(several):
    seen = play(several, CUTS["nothing"], Clicks(several, PEOPLE), spread_s=3)
    assert seen.issued == PEOPLE * 2 // 3
    assert seen.busy == 0


@pytest.mark.parametrize("cut", ["web", "webs"])
def test_web_hosts_are_cut_off(several, cut):
    seen = play(several, CUTS[cut], Clicks(several, PEOPLE))
    assert seen.answer_s < PATIENCE_S
    assert seen.busy_s <= STUMBLES_S


def test_control_by_the_rules_of_nginx_itself(several, monkeypatch, tmp_path):
    """A click waits for a lost host until its page gives up, and two hosts that stumble are both left out."""
    site = tmp_path / "site.conf"
    ours = [
        "max_fails=10 fail_timeout=2s",
        "proxy_read_timeout 6s;",
        "proxy_next_upstream error timeout non_idempotent;",
    ]
    text = nginx.SITE.read_text()
    for words in ours:
        assert words in text
        text = text.replace(words, "")
    site.write_text(text)
    monkeypatch.setattr(nginx, "SITE", site)
    monkeypatch.setattr(nginx, "SERVER", nginx.SERVER.replace(ours[0], ""))
    history = Clicks(several, PEOPLE)
    with several.in_front() as port:
        history.address = (several.address[0], port)
        seen = play(several, CUTS["webs"], history)
    assert seen.answer_s > PATIENCE_S
    assert seen.busy_s > STUMBLES_S


def test_the_host_of_the_master_is_cut_off(several):
    play(several, CUTS["master"], Clicks(several, PEOPLE))


def test_what_its_replica_had_not_heard_is_won_back(several):
    seen = play(several, CUTS["ahead"], Clicks(several, PEOPLE))
    assert seen.unknown == seen.won_back > 0


def test_control_without_receipts_it_is_lost(several):
    with pytest.raises(Broken, match=r"I3|I7"):
        play(several, CUTS["ahead"], WithoutReceipts(several, PEOPLE))


def test_the_host_of_sql_is_cut_off(several):
    seen = play(several, CUTS["sql"], Clicks(several, PEOPLE))
    assert seen.answer_s < PATIENCE_S


# The hosts themselves


def reaches(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=0.5).close()
    except OSError:
        return False
    return True


def test_a_host_whose_link_is_pulled_is_not_reached():
    with network(["one", "two"]) as hosts:
        one, two = hosts.values()
        with two.entered():
            listening = socket.create_server((two.address, 8000))
        with listening, one.entered():
            assert reaches(two.address, 8000)
            two.pull()
            assert not reaches(two.address, 8000)
            two.plug()
            assert wait_until(lambda: reaches(two.address, 8000), wait_s=5)
            assert not reaches("127.0.0.1", 8000)


def test_one_server_alone_may_go_unheard():
    with network(["one", "two"]) as hosts:
        one, two = hosts.values()
        with two.entered():
            servers = [socket.create_server((two.address, port)) for port in (8000, 8001)]
        with servers[0], servers[1], one.entered():
            with two.unheard(one, from_port=8000):
                assert [reaches(two.address, port) for port in (8000, 8001)] == [False, True]
            assert reaches(two.address, 8000)


def test_nothing_is_left_of_a_run_that_is_killed():
    run = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    assert run.returncode == -signal.SIGKILL, run.stderr
    holders = [Path(f"/proc/{pid}") for pid in run.stdout.split()]
    assert len(holders) == 2
    assert wait_until(lambda: not any(is_alive(holder) for holder in holders), wait_s=5)


def is_alive(process: Path) -> bool:
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except OSError:
        return False
