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
SLACK_S, TOO_FAR_S = 5.0, 120.0
SET_IT = "Let both machines keep their clocks by NTP (Debian: apt install systemd-timesyncd)."
logger = logging.getLogger(__name__)

State = Literal["ok", "warning", "failed"]
STYLES: dict[State, str] = {"ok": "green", "warning": "yellow", "failed": "red"}


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        state: `warning` if the thing works, but not as it should or not for long.
        sentence: describes the state; holds no secret.
        remedy: what to do; empty if there is nothing to do.
    """

    name: str
    state: State
    sentence: str
    remedy: str = ""


def looked(name: str, look: Callable[[], Iterable[Finding]], *, remedy: str) -> list[Finding]:
    """Collects the findings of `look`; an exception becomes a failed finding, under `name` and with `remedy`."""
    found: list[Finding] = []
    try:
        # `extend` adds them one by one: findings before an exception are not lost.
        found.extend(look())
    except (DrapeError, LauncherError) as e:
        found.append(Finding(name, "failed", str(e), remedy))
    except Exception as e:
        # The other checks must still run, and a traceback would not help the user.
        logger.debug("%s could not be looked at", name, exc_info=True)
        found.append(Finding(name, "failed", f"This could not be looked at ({type(e).__name__}).", remedy))
    return found


def show_findings(findings: Sequence[Finding], console: Console) -> bool:
    """Prints the findings; returns False if a check failed."""
    table = Table("", "what", "how it is", show_lines=False)
    for one in findings:
        said = Text(one.sentence)
        if one.remedy and one.state != "ok":
            said.append(f"\n→ {one.remedy}", style="bold")
        table.add_row(Text(one.state, style=STYLES[one.state]), Text(one.name), said)
    console.print(table)
    failed = sum(one.state == "failed" for one in findings)
    warned = sum(one.state == "warning" for one in findings)
    console.print(f"{len(findings)} checks: {failed} failed, {warned} with a warning.", highlight=False)
    return failed == 0


def clock(name: str, *, theirs_s: float, ours_s: float) -> Finding:
    """Compares two clocks, in seconds since 1970.

    They must agree, because tokens last only minutes, and Drape asks Label Studio for changes by time.
    """
    ahead_s = theirs_s - ours_s
    if abs(ahead_s) <= SLACK_S:
        return Finding(name, "ok", "It agrees with this machine's clock.")
    side = "ahead of" if ahead_s > 0 else "behind"
    said = f"It is {abs(ahead_s):,.0f} s {side} this machine's clock."
    return Finding(name, "warning" if abs(ahead_s) < TOO_FAR_S else "failed", said, SET_IT)
