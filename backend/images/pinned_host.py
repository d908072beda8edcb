"""Where a host name leads: images are fetched from the address that was checked, and from no other.

Names are looked up once and the connection made to what was found, so that a second answer of the same name server
changes nothing (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field

import httpx

from backend.errors import ImageError

# Addresses of the internet are given out of this block alone: the rest is local, reserved or out of use.
GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
# By it a network without IPv4 reaches addresses of IPv4, which are its last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Of the internet by their number, and a cloud's own service inside of it: Oracle's metadata, Azure's platform.
OF_CLOUDS = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv4Network("168.63.129.16/32"))


@dataclass(frozen=True)
class Pinned:
    """A request's address with an IP address in the host's place, and what tells the server which host is meant."""

    url: httpx.URL
    headers: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)


def pinned(address: str, *, private: bool, source: str) -> Pinned:
    """The address, looked up.

    Args:
        private: whether it may lie in a private network, or on this machine.
        source: the image, as messages name it.

    Raises:
        ImageError: the host has no address, or one that is not of the internet.
        ValueError, httpx.InvalidURL: that is no address.
    """
    url = httpx.URL(address)
    host = url.host
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)]
    except OSError as e:
        raise ImageError(f"The image '{source}' is at {host}, which has no address.") from e
    inner = [one for one in found if not _is_global(one)]
    if inner and not private:
        raise ImageError(
            f"The image '{source}' is at {host}, whose address {inner[0]} is not of the internet. "
            "IMAGE_HOSTS_PRIVATE=true lets listed hosts lie in a private network."
        )
    return Pinned(url.copy_with(host=found[0]), {"Host": url.netloc.decode()}, {"sni_hostname": host})


def _is_global(address: str) -> bool:
    one = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(one, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(one) & 0xFFFF_FFFF) if one in NAT64 else None
        inner = one.ipv4_mapped or one.sixtofour or last
        if inner is None:
            return one in GIVEN_OUT and one.is_global
        one = inner
    return one.is_global and not one.is_multicast and not any(one in network for network in OF_CLOUDS)
