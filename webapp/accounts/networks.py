"""The network of a request, for limits: one IPv4 address, or the IPv6 /64 that a connection is given as a whole."""

import re
from ipaddress import IPv6Address, ip_address, ip_network

from flask import has_request_context, request

PORT = re.compile(r"^\[(.+)\](?::\d+)?$|^([\d.]+):\d+$")
"""An address with the port of the client, as some proxies write it."""
UNKNOWN = "unknown"


def network_of(address: str | None) -> str:
    """Return the network of an address. An IPv4 address written as IPv6 (mapped, 6to4) is that IPv4 address."""
    try:
        # What follows a % is the interface of a link-local address.
        ip = ip_address(PORT.sub(r"\1\2", (address or "").partition("%")[0]))
    except ValueError:
        return UNKNOWN
    if not isinstance(ip, IPv6Address):
        return str(ip)
    ipv4 = ip.ipv4_mapped or ip.sixtofour
    return str(ipv4 or ip_network((ip, 64), strict=False))


def network_of_request() -> str | None:
    return network_of(request.remote_addr) if has_request_context() else None
