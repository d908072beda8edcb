"""The results of `drape doctor`: one sentence for each check, and the remedy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.errors import DrapeError
from launcher.errors import LauncherError

# Limits for the difference between two clocks. Label Studio reports whole seconds, and its answer needs time to arrive.
TOLERATED_SKEW_S, FAILED_SKEW_S = 5.0, 120.0
SYNC_CLOCKS = "Synchronise the clocks of both machines by NTP (Debian: apt install systemd-timesyncd)."
logger = logging.getLogger(__name__)

State = Literal["ok", "warning", "failed"]
STYLES: dict[State, str] = {"ok": "green", "warning": "yellow", "failed": "red"}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        state: `warning` if the thing works, but not as it should or not for long.
        message: describes the state; holds no secret.
        remedy: what to do; empty if there is nothing to do.
    """

    name: str
    state: State
    message: str
    remedy: str = ""


def run_check(name: str, check: Callable[[], Iterable[Finding]], *, remedy: str) -> list[Finding]:
    """Collects the findings of `check`; an exception becomes a failed finding, under `name` and with `remedy`."""
    findings: list[Finding] = []
    try:
        # `extend` adds them one by one: findings before an exception are not lost.
        findings.extend(check())
    except (DrapeError, LauncherError) as e:
        findings.append(Finding(name, "failed", str(e), remedy))
    except Exception as e:
        # The other checks must still run, and a traceback would not help the user.
        logger.debug("The check '%s' failed", name, exc_info=True)
        findings.append(Finding(name, "failed", f"The check itself failed ({type(e).__name__}).", remedy))
    return findings


def show_findings(findings: Sequence[Finding], console: Console) -> bool:
    """Prints the findings; returns False if a check failed."""
    table = Table("", "check", "result", show_lines=False)
    for finding in findings:
        result = Text(finding.message)
        if finding.remedy and finding.state != "ok":
            result.append(f"\n→ {finding.remedy}", style="bold")
        table.add_row(Text(finding.state, style=STYLES[finding.state]), Text(finding.name), result)
    console.print(table)
    states = [finding.state for finding in findings]
    failed, warnings = states.count("failed"), states.count("warning")
    console.print(f"{len(findings)} checks: {failed} failed, {warnings} with a warning.", highlight=False)
    return failed == 0


def compare_clocks(name: str, *, remote_s: float, local_s: float) -> Finding:
    """Compares two clocks, in seconds since 1970.

    They must agree, because tokens last only minutes, and Drape asks Label Studio for changes by time.
    """
    ahead_s = remote_s - local_s
    if abs(ahead_s) <= TOLERATED_SKEW_S:
        return Finding(name, "ok", "It agrees with this machine's clock.")
    direction = "ahead of" if ahead_s > 0 else "behind"
    message = f"It is {abs(ahead_s):,.0f} s {direction} this machine's clock."
    return Finding(name, "warning" if abs(ahead_s) < FAILED_SKEW_S else "failed", message, SYNC_CLOCKS)
