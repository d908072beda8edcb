"""Looks up and checks a host's IP address: images are fetched from the checked address, and from no other.

A name is looked up once, and the connection is made to the address that was found, so that a second answer of the name
server changes nothing (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field

import httpx

from backend.errors import ImageError, ImageUnavailableError

# Public IPv6 addresses come from this block only: the rest is local, reserved or out of use.
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
# With this prefix a network without IPv4 reaches IPv4 addresses, which are the last 32 bits.
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Addresses that look public, but lead to internal services of a cloud: Oracle's metadata, Azure's platform.
CLOUD_INTERNAL = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv4Network("168.63.129.16/32"))


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
        addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, url.port, type=socket.SOCK_STREAM)]
    except OSError as e:
        raise ImageUnavailableError(f"The image '{source}' is at {host}, whose name cannot be resolved.") from e
    internal = [ip for ip in addresses if not _is_global(ip)]
    if internal and not private:
        raise ImageError(
            f"The image '{source}' is at {host}, whose address {internal[0]} is not public. "
            "IMAGE_HOSTS_PRIVATE=true allows listed hosts in private networks."
        )
    return PinnedUrl(url.copy_with(host=addresses[0]), {"Host": url.netloc.decode()}, {"sni_hostname": host})


def _is_global(address: str) -> bool:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in NAT64 else None
        embedded = ip.ipv4_mapped or ip.sixtofour or nat64
        if embedded is None:
            return ip in GLOBAL_UNICAST and ip.is_global
        ip = embedded
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in CLOUD_INTERNAL)
