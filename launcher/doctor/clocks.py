"""How far another machine's clock is from ours, for `drape doctor`."""

from __future__ import annotations

from launcher.doctor.findings import Finding

# Label Studio tells whole seconds, and an answer takes its time.
SLACK_S, TOO_FAR_S = 5.0, 120.0
SET_IT = "Let both machines keep their clocks by NTP (Debian: apt install systemd-timesyncd)."


def clock(name: str, *, theirs_s: float, ours_s: float) -> Finding:
    """Compares two clocks, in seconds since 1970.

    Tokens last for minutes, and what changed in Label Studio is asked for by time.
    """
    ahead_s = theirs_s - ours_s
    if abs(ahead_s) <= SLACK_S:
        return Finding(name, "ok", "It agrees with this machine's clock.")
    side = "ahead of" if ahead_s > 0 else "behind"
    said = f"It is {abs(ahead_s):,.0f} s {side} this machine's clock."
    return Finding(name, "warning" if abs(ahead_s) < TOO_FAR_S else "failed", said, SET_IT)
