"""The addresses of servers, sentinels and Clusters: what is read from them, and in which words they are refused."""

import pytest
import redis

from webapp.stores.addresses import read_address

ACCOUNT = {"username": "kim", "password": "p@ss/word"}


def test_sentinels_their_master_and_two_accounts():
    address = read_address(
        "rediss+sentinel://kim:p%40ss%2Fword@a:1,[::1]:2,c/my%20master/3"
        "?sentinel_username=eve&sentinel_password=s%20t&ssl_ca_certs=/ca"
    )
    tls = {"ssl_ca_certs": "/ca", "connection_class": redis.SSLConnection}
    assert address.kind == "sentinel"
    assert address.servers == (("a", 1), ("::1", 2), ("c", 26379))
    assert address.master == "my master"
    assert address.options == ACCOUNT | tls | {"db": 3}
    assert address.sentinel_options == tls | {"username": "eve", "password": "s t"}


def test_nodes_of_a_cluster():
    address = read_address("redis+cluster://kim:p%40ss%2Fword@a,b:7001/?socket_keepalive=yes")
    assert address.kind == "cluster"
    assert address.servers == (("a", 6379), ("b", 7001))
    assert address.options == ACCOUNT | {"socket_keepalive": True}


@pytest.mark.parametrize("url", ["redis://a", "redis://a:1/2", "rediss://u:p@[::1]:2", "unix:///a/b?db=1"])
def test_one_server(url):
    assert read_address(url).kind == "one"


SENTINELS_WITHOUT_MASTER = "behind the sentinels stands the name of their master"
REFUSED = {
    "redis+sentinel://a:1": SENTINELS_WITHOUT_MASTER,
    "redis+sentinel://a:1/": SENTINELS_WITHOUT_MASTER,
    "redis+sentinel://a:1//0": SENTINELS_WITHOUT_MASTER,
    "redis+sentinel://a:1/mymaster/x": SENTINELS_WITHOUT_MASTER,
    "redis+sentinel://a:1/mymaster/0/1": SENTINELS_WITHOUT_MASTER,
    "redis+cluster://a/0": "a Redis Cluster has no numbered databases",
    "redis+cluster://a/1": "a Redis Cluster has no numbered databases",
    "redis+cluster://a?db=1": "a Redis Cluster has no numbered databases",
    "redis+cluster://": "each server is a host, or host:port",
    "redis+cluster://a,,b": "each server is a host, or host:port",
    "redis+cluster://a:port": "each server is a host, or host:port",
    "redis+cluster://a b:1": "each server is a host, or host:port",
    "redis+cluster://a:secret/b@c:1": "each server is a host, or host:port",
    "redis+cluster://a:0": "a port is a number from 1 to 65535",
    "redis+sentinel://a:65536/mymaster": "a port is a number from 1 to 65535",
    "redis://a:0": "a port is a number from 1 to 65535",
    "redis+cluster://[::1": "IPv6",
    "redis+cluster:a": "it has to begin with",
    "sentinel://a/mymaster": "it has to begin with",
    "redis+sentinels://a/mymaster": "it has to begin with",
    "unix+cluster://a": "it has to begin with",
    "valkey://a": "it has to begin with",
    "": "it has to begin with",
}


@pytest.mark.parametrize(("url", "words"), REFUSED.items())
def test_what_is_no_address_is_refused_in_words(url, words):
    with pytest.raises(ValueError, match=words) as raised:
        read_address(url)
    assert "secret" not in str(raised.value)
