"""Looks up and checks a host's IP address: images are fetched from the checked address, and from no other.

A name is looked up once, and the connection is made to the address that was found, so that a second answer of the name
server changes nothing (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field

import httpx

from backend.errors import ImageError

# Public IPv6 addresses come from this block only: the rest is local, reserved or out of use.
GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
# With this prefix a network without IPv4 reaches IPv4 addresses, which are the last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Addresses that look public, but lead to internal services of a cloud: Oracle's metadata, Azure's platform.
OF_CLOUDS = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv4Network("168.63.129.16/32"))


@dataclass(frozen=True)
class PinnedUrl:
    """A request's URL with an IP address instead of the host, and the parts that tell the server the host's name."""

    url: httpx.URL
    headers: dict[str, str] = field(default_factory=dict)
    extensions: dict[str, str] = field(default_factory=dict)


def pin_host(address: str, *, private: bool, source: str) -> PinnedUrl:
    """Looks up the host of a URL, and checks its IP addresses.

    Args:
        private: whether the host may lie in a private network, or be this machine.
        source: the image, as messages name it.

    Raises:
        ImageError: the host has no IP address, or one that is not public although it must be.
        ValueError, httpx.InvalidURL: `address` is not a valid URL.
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
    return PinnedUrl(url.copy_with(host=found[0]), {"Host": url.netloc.decode()}, {"sni_hostname": host})


def _is_global(address: str) -> bool:
    one = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(one, ipaddress.IPv6Address):
        last = ipaddress.IPv4Address(int(one) & 0xFFFF_FFFF) if one in NAT64 else None
        inner = one.ipv4_mapped or one.sixtofour or last
        if inner is None:
            return one in GIVEN_OUT and one.is_global
        one = inner
    return one.is_global and not one.is_multicast and not any(one in network for network in OF_CLOUDS)
