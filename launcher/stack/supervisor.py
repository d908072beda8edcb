"""Supervises child processes: one log file each, restarted with back-off, parked when they keep dying."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil

from launcher.errors import LauncherError

logger = logging.getLogger(__name__)

DEATHS_ALLOWED = 5
# Deaths that are further apart than this do not count together.
DEATHS_WINDOW_S = 300.0
# A program that keeps dying is not started for this long, while the others continue.
PARKED_S = 600.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
STOP_TIMEOUT_S = 6.0
# For the program that started first, which stops last.
LAST_STOP_TIMEOUT_S = 2.0
KILL_TIMEOUT_S = 1.0
LOG_TAIL_LINES = 15
PR_SET_PDEATHSIG = 1
# The variables that every program needs from this machine: where certificates, proxies and temporary files are.
INHERITED = (
    *("PATH", "HOME", "LANG", "TMPDIR", "CUDA_VISIBLE_DEVICES"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
)
LOOPBACK_HOSTS = "127.0.0.1,localhost"
# Only this account may read what programs write: databases and logs hold passwords and tokens.
PRIVATE_UMASK = 0o077


def inherited_environment() -> dict[str, str]:
    """What programs inherit from this process; no proxy is asked for what runs on this machine."""
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    # Libraries differ in which of the two they read.
    given = (environment.get(name) for name in ("NO_PROXY", "no_proxy"))
    direct = ",".join(dict.fromkeys(filter(None, (*given, LOOPBACK_HOSTS))))
    return {**environment, "NO_PROXY": direct, "no_proxy": direct}


@dataclass(frozen=True)
class Program:
    """A program to run. `environment` is all that it sees; secrets belong there, never in `command`."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes]
    deaths: list[float] = field(default_factory=list)
    start_at: float | None = None
    is_parked: bool = False


class Supervisor:
    """Keeps programs running until `stop` is called."""

    def __init__(
        self,
        logs: Path,
        *,
        deaths_allowed: int = DEATHS_ALLOWED,
        longest_pause_s: float = LONGEST_PAUSE_S,
        on_parked: Callable[[str], object] = lambda message: None,
    ) -> None:
        """`on_parked` gets a message, for people, about each program that is parked."""
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._deaths_allowed = deaths_allowed
        self._longest_pause_s = longest_pause_s
        self._on_parked = on_parked
        self._children: list[_Child] = []

    def start(self, program: Program) -> None:
        """Starts a program; its output is appended to `<logs>/<name>.log`."""
        self._children.append(_Child(program, self._spawn(program)))

    def log_of(self, name: str) -> Path:
        """Path of a program's log."""
        return self._logs / f"{name}.log"

    def processes(self) -> dict[str, int]:
        """Program name → process id, of the programs that run."""
        return {child.program.name: child.process.pid for child in self._children if child.process.poll() is None}

    def watch(self) -> None:
        """Checks every child once, and restarts a child that died, after a pause that doubles with each death.

        A child that died five times within five minutes is parked for ten minutes; the others continue.
        """
        now = time.monotonic()
        for child in self._children:
            if child.start_at is not None:
                if now >= child.start_at:
                    child.process, child.start_at, child.is_parked = self._spawn(child.program), None, False
            elif child.process.poll() is not None:
                self._schedule_restart(child, now)

    def wait_until(self, ready: Callable[[], bool], *, what: str, timeout_s: float) -> None:
        """Supervises the children until `ready()` returns True.

        Raises:
            LauncherError: `ready()` did not return True within `timeout_s`, or a child keeps dying.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.watch()
            for child in self._children:
                if child.is_parked:
                    raise LauncherError(self._death_report(child.program.name))
            if time.monotonic() > deadline:
                raise LauncherError(f"{what} did not start within {timeout_s:.0f} s. Its log is in {self._logs}.")
            time.sleep(0.2)

    def stop(self) -> None:
        """Ends every child and every process that they started: by SIGTERM, and after a few seconds by SIGKILL.

        The program that started first ends last, because the others need it: workers put their jobs back into Redis.
        """
        _stop(self._children[1:], STOP_TIMEOUT_S)
        _stop(self._children[:1], LAST_STOP_TIMEOUT_S)
        self._children.clear()

    def _schedule_restart(self, child: _Child, now: float) -> None:
        # A worker that crashed leaves its work-horse behind, which would run beside that of the next worker.
        _kill(_family(child.process.pid))
        child.deaths = [death for death in child.deaths if now - death < DEATHS_WINDOW_S] + [now]
        name = child.program.name
        if len(child.deaths) >= self._deaths_allowed:
            child.deaths, child.start_at, child.is_parked = [], now + PARKED_S, True
            minutes = f"{PARKED_S / 60:.0f} minutes"
            logger.error("%s\nIt restarts in %s.", self._death_report(name), minutes)
            self._on_parked(f"{name} died {self._deaths_allowed} times. It restarts in {minutes}; its log says why.")
            return
        # The exponent is limited, because after hundreds of deaths the power would not fit into a float.
        pause_s = min(FIRST_PAUSE_S * 2 ** min(len(child.deaths) - 1, 10), self._longest_pause_s)
        logger.warning("%s ended with status %s. It restarts in %.1f s.", name, child.process.returncode, pause_s)
        child.start_at = now + pause_s

    def _death_report(self, name: str) -> str:
        log = self.log_of(name)
        return f"{name} died {self._deaths_allowed} times. The end of {log}:\n{tail(log)}"

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self.log_of(program.name).open("ab") as log:
            try:
                return subprocess.Popen(
                    program.command,
                    env=dict(program.environment),
                    cwd=program.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    umask=PRIVATE_UMASK,
                    preexec_fn=stop_with_parent(),
                )
            except OSError as e:
                raise LauncherError(f"{program.name} cannot be started: {e}.") from e


def stop_with_parent() -> Callable[[], object] | None:
    """What a child runs before its program, so that it ends with its parent; None where only Linux could do this."""
    # A parent that is killed cannot stop its children itself.
    if sys.platform != "linux":
        return None
    # Loaded here, because a process must not load a library between fork and exec.
    prctl = ctypes.CDLL(None).prctl

    return partial(prctl, PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(children: Sequence[_Child], timeout_s: float) -> None:
    families = [process for child in children for process in _family(child.process.pid)]
    for child in reversed(children):
        # Each child leads its own session and process group, so the signal reaches its children too.
        with suppress(ProcessLookupError):
            os.killpg(child.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    for child in children:
        try:
            child.process.wait(max(deadline - time.monotonic(), 0.05))
        except subprocess.TimeoutExpired:
            logger.warning("%s did not stop within %.0f s and is killed", child.program.name, timeout_s)
    _kill(families)
    for child in children:
        _kill(_family(child.process.pid))
        child.process.wait()


def _family(pid: int) -> list[psutil.Process]:
    """Returns the process, its descendants, and whatever remains of its session after it has ended."""
    family = [process for process in psutil.process_iter() if _session(process.pid) == pid]
    with suppress(psutil.NoSuchProcess):
        family += psutil.Process(pid).children(recursive=True)
    return family


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return -1


def _kill(processes: Sequence[psutil.Process]) -> None:
    """Kills the processes and waits briefly until they have ended; does not wait for parents to collect zombies."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while any(_is_running(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tail(log: Path) -> str:
    """Returns the last lines of a log file."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
    except FileNotFoundError:
        return "(no log)"


def port_is_free(port: int) -> bool:
    """Whether a server can listen on the loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def check_port(port: int, *, what: str, option: str) -> None:
    """Raises `LauncherError` if the port is in use; the message names the option that sets another port."""
    if not port_is_free(port):
        raise LauncherError(f"Port {port} for {what} is in use. Choose another with {option}.")


def free_port() -> int:
    """Returns a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
