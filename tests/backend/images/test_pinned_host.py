"""Where images are fetched from: addresses of the internet, looked up once."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from backend.errors import ImageError
from backend.images.fetch import ImageStore
from backend.images.pinned_host import pin_host
from backend.settings import Settings
from tests.backend.images.support import encoded, store

INNER = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[fe80::1]",
    "[fd00::1]",
    "[::ffff:10.0.0.1]",
    "[2002:7f00:1::]",
    "localhost",
    # NAT64, IPv4 in forms out of use, site-local, multicast.
    "[64:ff9b::7f00:1]",
    "[64:ff9b::169.254.169.254]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[fec0::1]",
    "[ff0e::1]",
    "0x7f.1",
    "0177.1",
    "017700000001",
    # What clouds tell their machines, their credentials among it.
    "[fd00:ec2::254]",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
]


def test_what_ipv6_leads_to_elsewhere_is_of_the_internet() -> None:
    for host in ("[2606:4700::1111]", "[64:ff9b::8.8.8.8]", "[::ffff:8.8.8.8]"):
        assert pin_host(f"http://{host}/a.png", private=False, source="a.png").url.path == "/a.png"


@pytest.mark.parametrize("host", INNER)
def test_inner_addresses_are_refused(host: str) -> None:
    with pytest.raises(ImageError, match="is not public"):
        pin_host(f"http://{host}/a.png", private=False, source="a.png")
    assert pin_host(f"http://{host}/a.png", private=True, source="a.png").url.path == "/a.png"


def test_the_address_that_was_checked_is_the_one_that_is_asked() -> None:
    found = pin_host("https://8.8.8.8:8443/a.png?b=c", private=False, source="a.png")
    assert str(found.url) == "https://8.8.8.8:8443/a.png?b=c"
    assert found.headers == {"Host": "8.8.8.8:8443"} and found.extensions == {"sni_hostname": "8.8.8.8"}


def test_one_inner_address_among_others_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(host: str, port: Any, **_: Any) -> list[Any]:
        return [(2, 1, 6, "", (one, port or 80)) for one in ("8.8.8.8", "10.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    with pytest.raises(ImageError, match=r"images\.example, whose address 10\.0\.0\.1"):
        pin_host("http://images.example/a.png", private=False, source="a.png")


@pytest.mark.parametrize("host", ["0177.0.0.1", "127.0.0.1.", "127.0.0.256", "[::1%25lo]", "[::1"])
def test_addresses_that_few_understand_lead_nowhere(host: str) -> None:
    with pytest.raises((ImageError, ValueError, httpx.InvalidURL)):
        pin_host(f"http://{host}/a.png", private=False, source="a.png")


def test_a_host_without_an_address_is_said() -> None:
    with pytest.raises(ImageError, match="cannot be resolved"):
        pin_host("http://nowhere.invalid/a.png", private=False, source="a.png")


def listed(files: tuple[str, Path], **given: Any) -> tuple[ImageStore, str]:
    """A store that knows another Label Studio, and the address of an image at a listed host."""
    (files[1] / "a.png").write_bytes(encoded())
    settings = Settings(label_studio_url="http://127.0.0.1:1", image_hosts="localhost", **given)
    return store(settings), f"http://localhost:{urlsplit(files[0]).port}/a.png"


def test_a_listed_host_in_a_private_network_is_asked_for(files: tuple[str, Path]) -> None:
    images, address = listed(files)
    with pytest.raises(ImageError, match="IMAGE_HOSTS_PRIVATE"):
        images.load(address, task_id=1)
    images, address = listed(files, image_hosts_private=True)
    assert images.load(address, task_id=1).size_wh == (30, 20)
