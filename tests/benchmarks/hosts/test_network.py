from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.hosts.network import network
from launcher.errors import LauncherError
from launcher.stack.supervisor import Program, Supervisor

pytestmark = pytest.mark.services
SERVE = [sys.executable, "-m", "http.server", "8000"]
ENVIRONMENT = {"PATH": os.environ.get("PATH", "/usr/bin:/bin")}


def devices() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_a_host_that_is_cut_off_is_not_reached_until_it_is_back(tmp_path: Path, hosts_can_be_made: None) -> None:
    before = {line.split(": ")[1].split("@")[0] for line in devices().splitlines()}, set(namespaces().split())
    supervisor = Supervisor(tmp_path / "logs")
    with pytest.raises(ZeroDivisionError), network(["one", "two"]) as made:
        one, two = made.hosts["one"], made.hosts["two"]
        # Both listen on one port: each has its own.
        for host in (one, two):
            (tmp_path / host.name).mkdir()
            (tmp_path / host.name / "name").write_text(host.name)
            supervisor.start(host.program(Program(f"serve-{host.name}", SERVE, ENVIRONMENT, tmp_path / host.name)))

        def said(host: str) -> str:
            try:
                return httpx.get(f"http://{made.hosts[host].address}:8000/name", timeout=1).text
            except httpx.HTTPError:
                return ""

        try:
            supervisor.wait_until(lambda: said("one") + said("two") == "onetwo", what="Both", timeout_s=20)
            with made.cut("one"):
                assert said("one") == ""
                supervisor.wait_until(lambda: said("two") == "two", what="The other", timeout_s=20)
                assert said("one") == ""
                assert made.hosts["two"].run(["hostname"], ENVIRONMENT, tmp_path).stdout == "two\n"
            deadline = time.monotonic() + 20
            while said("one") != "one":
                assert time.monotonic() < deadline
        finally:
            supervisor.stop()
        raise ZeroDivisionError
    after = {line.split(": ")[1].split("@")[0] for line in devices().splitlines()}, set(namespaces().split())
    assert after == before


def test_networks_do_not_meet(hosts_can_be_made: None) -> None:
    with network(["one"]) as first, network(["one"]) as second:
        assert first.address != second.address
        assert first.hosts["one"].namespace != second.hosts["one"].namespace


def test_who_may_not_make_namespaces_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LauncherError, match="network namespaces"), network(["one"]):
        pass
