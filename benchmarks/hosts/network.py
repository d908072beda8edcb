"""Hosts made of network namespaces, on a wire of their own that can be cut: for what spans several machines.

Linux alone, and only for who may make namespaces (root, or CAP_NET_ADMIN and CAP_SYS_ADMIN). Hosts share this machine's
files and processor; they share no address, no port and no host name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from launcher.errors import LauncherError
from launcher.stack.supervisor import Program

# Addresses for tests and measurements between machines (RFC 2544): no real network has them.
PREFIX = "198.18"
NETWORKS = 250
# Gives what follows a host name of its own: RQ tells by it whether a worker ran on the same machine.
WITH_HOST_NAME = 'echo "$0" > /proc/sys/kernel/hostname && exec "$@"'


@dataclass(frozen=True)
class Host:
    """One namespace.

    Attributes:
        namespace: as `ip netns` knows it.
        port: the bridge's end of its wire.
    """

    name: str
    address: str
    namespace: str
    port: str

    def program(self, program: Program) -> Program:
        """The same, on this host."""
        command = [
            "ip",
            "netns",
            "exec",
            self.namespace,
            "unshare",
            "--uts",
            "/bin/sh",
            "-c",
            WITH_HOST_NAME,
            self.name,
        ]
        return Program(program.name, [*command, *program.command], program.environment, program.folder)

    def run(
        self, command: Sequence[str], environment: dict[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on this host, to its end; what it prints is in the answer."""
        program = self.program(Program("once", command, environment, folder))
        return subprocess.run(program.command, env=environment, cwd=folder, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Network:
    """Hosts on one bridge, by name; this process reaches them all, and they reach it at `address`."""

    address: str
    hosts: dict[str, Host]

    @contextmanager
    def cut(self, name: str) -> Iterator[None]:
        """The host's wire is out while the block lasts: nothing passes, and nobody is told."""
        port = self.hosts[name].port
        _ip("link", "set", port, "down")
        try:
            yield
        finally:
            _ip("link", "set", port, "up")

    @contextmanager
    def slow(self, name: str, *, delay_ms: float) -> Iterator[bool]:
        """What the host sends takes so much longer while the block lasts; False where this kernel cannot do that."""
        device = ["dev", "eth0", "root"]
        base = ["tc", "-n", self.hosts[name].namespace, "qdisc"]
        try:
            added = subprocess.run([*base, "add", *device, "netem", "delay", f"{delay_ms}ms"], capture_output=True)
        except FileNotFoundError:
            yield False
            return
        try:
            yield added.returncode == 0
        finally:
            if added.returncode == 0:
                subprocess.run([*base, "del", *device], capture_output=True, check=False)


@contextmanager
def network(names: Sequence[str]) -> Iterator[Network]:
    """Hosts of these names, up while the block lasts; nothing of them is left afterwards, whatever happens in it.

    Raises:
        LauncherError: this machine, or this user, cannot make namespaces; says what is missing.
    """
    if sys.platform != "linux" or shutil.which("ip") is None or shutil.which("unshare") is None:
        raise LauncherError("Hosts are made of network namespaces: that takes Linux, with `ip` and `unshare`.")
    with ExitStack() as stack:
        number = _bridge(stack)
        hosts = {name: _host(stack, number, place, name) for place, name in enumerate(names, start=2)}
        yield Network(f"{PREFIX}.{number}.1", hosts)


def _bridge(stack: ExitStack) -> int:
    """Makes the bridge of a network that nobody else has; the network's number."""
    first = os.getpid() % NETWORKS
    for number in (*range(first, NETWORKS), *range(first)):
        # To make it is to claim it: of two that try at once one is refused.
        try:
            _ip("link", "add", _name(number), "type", "bridge")
        except LauncherError as e:
            if "exists" not in str(e):
                raise
            continue
        stack.callback(_ip_ignoring_errors, "link", "delete", _name(number))
        _ip("address", "add", f"{PREFIX}.{number}.1/24", "dev", _name(number))
        _ip("link", "set", _name(number), "up")
        return number
    raise LauncherError(f"All {NETWORKS} networks of hosts are taken. Remove old ones: `ip link delete NAME`.")


def _host(stack: ExitStack, number: int, place: int, name: str) -> Host:
    host = Host(name, f"{PREFIX}.{number}.{place}", f"{_name(number)}-{name}", f"{_name(number)}p{place}")
    _ip("netns", "add", host.namespace)
    stack.callback(_ip_ignoring_errors, "netns", "delete", host.namespace)
    # The end in the namespace goes with the namespace, and takes this one along, once no process is left in it.
    _ip("link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    stack.callback(_ip_ignoring_errors, "link", "delete", host.port)
    _ip("link", "set", host.port, "master", _name(number), "up")
    _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _ip("-n", host.namespace, "link", "set", device, "up")
    return host


def _name(number: int) -> str:
    # Names of network devices are short.
    return f"drape{number}"


def _ip(*arguments: str) -> None:
    completed = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if completed.returncode != 0:
        raise LauncherError(f"`ip {' '.join(arguments)}` failed: {completed.stderr.strip() or completed.returncode}.")


def _ip_ignoring_errors(*arguments: str) -> None:
    with suppress(LauncherError):
        _ip(*arguments)
