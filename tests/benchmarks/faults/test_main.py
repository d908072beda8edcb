from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.faults.__main__ import run
from benchmarks.faults.rig import (
    DURING_PREDICTIONS,
    DURING_TRAINING,
    LINKS,
    PROCESSES,
    SHARES,
    draw_fault,
    fill_disk,
    small_disk,
)
from benchmarks.invariants import unfinished_files


def test_the_seed_says_which_faults_and_every_one_comes() -> None:
    faults = [draw_fault(random.Random(f"7-{number}"), disk=True, clocks=True) for number in range(1000)]
    again = [draw_fault(random.Random(f"7-{number}"), disk=True, clocks=True) for number in range(1000)]
    assert faults == again
    found = Counter((fault.kind, fault.target) for fault in faults)
    hit = {(kind, target) for kind in ("kill", "restart", "stop", "skew") for target in PROCESSES}
    cut = {(kind, link) for kind in ("drop", "delay") for link in LINKS}
    promoted = {("promote", DURING_PREDICTIONS), ("promote", DURING_TRAINING)}
    others = {("full", "disk"), ("refuse", "redis"), ("forbidden", "image"), ("deadly", "job")}
    assert set(found) == hit | cut | promoted | others
    assert {kind for kind, _ in found} == set(SHARES)
    kinds = {draw_fault(random.Random(number), disk=False, clocks=False).kind for number in range(200)}
    assert kinds == set(SHARES) - {"full", "skew"}


# a file in the data directory, whether it is one that was begun and not finished
LEFT = [
    ("models/1/.half-abc", True),
    ("models/1/index/.1.json.4711-0a1b2c3d", True),
    ("approvals/.1.json.17-0a1b2c3d", True),
    ("models/1/.lock", False),
    ("models/1/index/1.json", False),
    (".version", False),
]


@pytest.mark.parametrize(("name", "is_left"), LEFT)
def test_unfinished_files_are_seen(tmp_path: Path, name: str, is_left: bool) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
    found = list(unfinished_files(tmp_path))
    assert bool(found) == is_left and all(name in one for one in found)


def test_a_full_disk_is_full_and_then_is_not(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        if disk is None:
            pytest.skip("This user may not mount a file system.")
        with fill_disk(disk), pytest.raises(OSError, match="No space left"):
            (disk / "more").write_bytes(b"x" * 10_000)
        (disk / "more").write_bytes(b"x" * 10_000)
    assert not any((tmp_path / "disk").iterdir())


@pytest.mark.services
@pytest.mark.long
@pytest.mark.timeout(2000)
def test_the_stack_is_whole_after_three_faults() -> None:
    assert run(3, 1, 0, None, Console(width=160)) == 0
