"""A Docker engine of the tests' own, beside whatever runs on the machine, and what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from launcher.stack.supervisor import tail

PROGRAMS = ("dockerd", "docker", "runc", "tini", "debootstrap", "docker-compose", "git")
START_S, END_S = 60.0, 60.0
INSTALL = "apt install docker.io docker-compose runc tini debootstrap"
# Kept from run to run: building the images takes most of the first run's time.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drape" / "compose-test"


class EngineError(Exception):
    """What `docker` printed as it failed."""


@dataclass(frozen=True)
class Engine:
    """A running engine: its socket, and a folder whose contents outlive it."""

    socket: str
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What `docker` and `docker-compose` need to speak to it."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "DOCKER_HOST": self.socket}

    def docker(self, *arguments: str, timeout_s: float = 600) -> str:
        """What `docker` prints.

        Raises:
            EngineError: it ended with another status than 0.
        """
        done = subprocess.run(
            ["docker", *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if done.returncode != 0:
            raise EngineError(f"{done.args} ended with {done.returncode}.\n{done.stdout}\n{done.stderr}")
        return done.stdout.strip()

    def left(self) -> dict[str, list[str]]:
        """Containers, networks of ours and volumes that are there."""
        return {
            "containers": self.docker("ps", "--all", "--format", "{{.Names}}").split(),
            "networks": self.docker("network", "ls", "--filter", "type=custom", "--format", "{{.Name}}").split(),
            "volumes": self.docker("volume", "ls", "--quiet").split(),
        }

    def remove_all(self) -> None:
        """Removes them: what a run that was killed has left; and images that no tag names any more."""
        for names, command in zip(self.left().values(), ("rm", "network", "volume"), strict=True):
            arguments = ["rm", "--force"] if command == "rm" else [command, "rm"]
            if names:
                self.docker(*arguments, *names)
        self.docker("image", "prune", "--force")


def refuse_without_docker() -> None:
    """Skips the test where no engine can be started, saying what is missing; under CI that is a failure."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    reason = f"{', '.join(missing)} not found (Debian: {INSTALL})" if missing else ""
    if os.geteuid() != 0:
        reason = "only root can start a Docker engine"
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and under CI docker-compose.yml must be run.")
    if reason:
        pytest.skip(f"docker-compose.yml is not run: {reason}.")


@contextmanager
def docker_engine(folder: Path = CACHE) -> Iterator[Engine]:
    """An engine that touches neither the host's firewall nor its bridges; it ends with the block."""
    folder.mkdir(parents=True, exist_ok=True)
    socket, pid_file = f"unix://{folder}/docker.sock", folder / "pid"
    command = [
        "dockerd",
        "--data-root",
        str(folder / "data"),
        "--exec-root",
        str(folder / "exec"),
        "-p",
        str(pid_file),
        "-H",
        socket,
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-masq=false",
        "--containerd-namespace=drape-test",
        "--containerd-plugins-namespace=drape-test-plugins",
        "--default-address-pool",
        "base=10.202.0.0/16,size=24",
    ]
    engine = Engine(socket, folder)
    _end_earlier(pid_file)
    log = folder / "dockerd.log"
    with log.open("wb") as output:
        # In a session of its own: Ctrl-C is for the test, which then ends the engine.
        process = subprocess.Popen(
            command,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(engine, process, log)
        yield engine
    finally:
        process.terminate()
        process.wait(END_S)
        # An engine leaves this one mounted.
        subprocess.run(["umount", str(folder / "exec" / "netns" / "default")], capture_output=True, check=False)
        assert not _processes_of(folder), "the engine left processes behind"
        assert str(folder) not in Path("/proc/self/mountinfo").read_text(), "the engine left folders mounted"


def _processes_of(folder: Path) -> list[list[str]]:
    """Command lines that name the folder: those of an engine, and of what it starts for containers."""
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    return [command for command in commands if any(str(folder) in part for part in command)]


def _wait_for(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(EngineError, subprocess.TimeoutExpired):
            engine.docker("version", timeout_s=10)
            return
        time.sleep(0.2)
    pytest.fail(f"The Docker engine did not come up. The end of {log}:\n{tail(log)}")


def _end_earlier(pid_file: Path) -> None:
    """Ends the engine of a run that was killed: two cannot share the folder."""
    with suppress(OSError, ValueError, psutil.NoSuchProcess):
        earlier = psutil.Process(int(pid_file.read_text()))
        if str(pid_file) in earlier.cmdline():
            earlier.terminate()
            earlier.wait(END_S)
    # Left by a machine that went down: their numbers may be other programs' by now.
    if not _processes_of(pid_file.parent):
        pid_file.unlink(missing_ok=True)
        shutil.rmtree(pid_file.parent / "exec", ignore_errors=True)
