"""Where a request comes from, for limits: one IPv4 address, or the /64 that an IPv6 connection is given as a whole."""

import re
from ipaddress import IPv6Address, ip_address, ip_network

from flask import has_request_context, request

PORT = re.compile(r"^\[(.+)\](?::\d+)?$|^([\d.]+):\d+$")
"""Some proxies add the port of the client."""
UNKNOWN = "unknown"


def network_of(address: str | None) -> str:
    """Return what counts as one place; an IPv4 address written as IPv6 (mapped, 6to4) is that IPv4 address."""
    try:
        ip = ip_address(PORT.sub(r"\1\2", (address or "").partition("%")[0]))
    except ValueError:
        return UNKNOWN
    if not isinstance(ip, IPv6Address):
        return str(ip)
    ipv4 = ip.ipv4_mapped or ip.sixtofour
    return str(ipv4 or ip_network((ip, 64), strict=False))


def network_of_request() -> str | None:
    return network_of(request.remote_addr) if has_request_context() else None
