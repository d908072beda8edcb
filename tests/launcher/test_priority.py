from __future__ import annotations

import os
import subprocess
import sys

import pytest

from launcher.priority import SESSION, TRAINING, WORKER

CODE = """
import os, sys
from launcher.priority import SESSION, give_way
give_way(int(sys.argv[1]))
group = SESSION.read_text().split()[-1] if SESSION.exists() else "none"
print(os.getpriority(os.PRIO_PROCESS, 0), group)
"""


def given_way(niceness: int, *, in_own_session: bool) -> list[str]:
    command = [sys.executable, "-c", CODE, str(niceness)]
    done = subprocess.run(command, start_new_session=in_own_session, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("niceness", [WORKER, TRAINING])
def test_it_gives_way_to_other_processes_and_to_other_sessions(niceness: int) -> None:
    here = os.getpriority(os.PRIO_PROCESS, 0)
    own, session = given_way(niceness, in_own_session=True)
    assert int(own) == min(here + niceness, 19)
    assert session == (str(niceness) if SESSION.exists() else "none")


def test_a_session_that_others_share_stays_as_it_is() -> None:
    before = SESSION.read_text().split()[-1] if SESSION.exists() else "none"
    own, session = given_way(WORKER, in_own_session=False)
    assert int(own) == min(os.getpriority(os.PRIO_PROCESS, 0) + WORKER, 19)
    assert session == before
