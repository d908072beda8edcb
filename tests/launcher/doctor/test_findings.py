"""A check that breaks, and clocks that are compared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from launcher.doctor.findings import Finding, State, compare_clocks, run_check


@pytest.mark.parametrize(
    ("ahead_s", "state", "said"),
    [
        (0.0, "ok", "agrees"),
        (-4.9, "ok", "agrees"),
        (30.0, "warning", "30 s ahead of"),
        (-30.0, "warning", "30 s behind"),
        (3600.0, "failed", "3,600 s ahead of"),
    ],
)
def test_clocks_are_compared(ahead_s: float, state: State, said: str) -> None:
    found = compare_clocks("a clock", remote_s=1_800_000_000 + ahead_s, local_s=1_800_000_000)
    assert found.state == state and said in found.message


def test_a_check_that_breaks_is_a_finding_beside_what_it_had_found() -> None:
    def look() -> Iterator[Finding]:
        yield Finding("first", "ok", "Here.")
        raise KeyError("secret")

    first, second = run_check("both", look, remedy="Look.")
    assert first.name == "first"
    assert second == Finding("both", "failed", "The check itself failed (KeyError).", "Look.")
