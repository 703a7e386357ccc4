"""What counts as one place."""

import pytest

from webapp.accounts.networks import UNKNOWN, network_of

PLACES = [
    ("192.0.2.7", "192.0.2.7"),
    ("192.0.2.7:51234", "192.0.2.7"),
    ("::ffff:192.0.2.7", "192.0.2.7"),
    ("[::ffff:192.0.2.7]:443", "192.0.2.7"),
    ("2002:c000:0207::1", "192.0.2.7"),
    ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("2001:db8:1:2::", "2001:db8:1:2::/64"),
    ("2001:DB8:0001:0002:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
    ("[2001:db8:1:2::9]:1024", "2001:db8:1:2::/64"),
    ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
    ("fe80::1%eth0", "fe80::/64"),
    ("::1", "::/64"),
    ("", UNKNOWN),
    (None, UNKNOWN),
    ("unix:", UNKNOWN),
    ("999.1.1.1", UNKNOWN),
    ("made up 1", UNKNOWN),
]


@pytest.mark.parametrize(("address", "network"), PLACES)
def test_an_address_is_of_one_network(address, network):
    assert network_of(address) == network
