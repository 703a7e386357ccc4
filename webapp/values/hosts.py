"""The name of a host, in one spelling."""

import re
from ipaddress import IPv6Address

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = rf"(?=[^:]{{1,254}}(?::|$))(?P<name>{_LABEL}(?:\.{_LABEL})*\.?)"
_HOST = re.compile(rf"(?:{_NAME}|\[(?P<ipv6>[0-9a-f:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?", re.ASCII)


def host_name(host: str) -> str | None:
    """Return the name in a Host header, in one spelling and without its port, or None when it names no host."""
    found = _HOST.fullmatch(host.lower())
    if found is None or not 0 < int(found["port"] or 80) < 65536:
        return None
    try:
        if found["ipv6"]:
            return str(IPv6Address(found["ipv6"]))
        found["name"].encode().decode("idna")  # the framework decodes it too, and would fail there
    except ValueError:
        return None
    return found["name"].removesuffix(".")


def allowed_name(text: str) -> str:
    """Return one entry of ALLOWED_HOSTS as `webapp.web.hosts` compares it; a dot in front allows all names below.

    Raises ValueError when it names no host.
    """
    dot = "." if text.startswith(".") else ""
    name = host_name(text.removeprefix(".").encode("idna").decode())
    if name is None:
        raise ValueError(f"{text!r} is no host")
    return dot + name
