"""Recognises a server under another name, such as `localhost` for `127.0.0.1`.

What is recognised is fetched from the configured address and from no other, so that a name server which lies can make
Drape ask nobody else, nor give Label Studio's credentials to anybody else.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urlsplit

PORTS = {"http": 80, "https": 443}


def is_same_server(url: str, other: str) -> bool:
    """Whether two addresses lead to the same port of the same machine; looks their hosts up if the names differ.

    Raises:
        ValueError: one is not a valid address.
    """
    first, second = urlsplit(url), urlsplit(other)
    # Readers of addresses disagree on which host stands beside these characters.
    if "@" in first.netloc or "\\" in first.netloc:
        return False
    if not (first.hostname and second.hostname) or _port(first) != _port(second):
        return False
    if first.hostname == second.hostname:
        return True
    here, there = _addresses(first.hostname), _addresses(second.hostname)
    if _port(first)[1] in PORTS.values():
        # A proxy serves sites of many names there, at one IP address.
        return _is_loopback(here) and _is_loopback(there)
    return bool(here & there) or (_is_this_machine(here) and _is_this_machine(there))


def _port(parts: SplitResult) -> tuple[str, int | None]:
    scheme = parts.scheme.lower()
    return scheme, parts.port or PORTS.get(scheme)


def _addresses(host: str) -> frozenset[str]:
    """The IP addresses of a host; none if its name cannot be resolved."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(str(info[4][0]).partition("%")[0] for info in found)


def _is_loopback(addresses: frozenset[str]) -> bool:
    return any(ipaddress.ip_address(address).is_loopback for address in addresses)


def _is_this_machine(addresses: frozenset[str]) -> bool:
    return _is_loopback(addresses) or bool(addresses & _addresses(socket.gethostname()))
