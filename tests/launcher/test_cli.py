"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_no_command_waits_for_libraries_that_it_may_not_need() -> None:
    slow = "{'torch', 'ultralytics', 'openvino', 'label_studio_sdk', 'pandas', 'scipy'}"
    code = f"import sys, launcher.cli\nprint(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_waits_for_work_has_no_pytorch_in_memory(tmp_path: Path) -> None:
    """`drape up` and its workers run all day: each would hold 500 MB that it does not need."""
    code = """
import sys
from pathlib import Path
import backend.connections, backend.prelabel.jobs, backend.timer, launcher.stack.stack, training.jobs
from label_studio_config.demo.write import write_photographs
print(len(write_photographs(Path(sys.argv[1]))), "torch" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.check_output(command, cwd=ROOT, text=True).split() == ["2", "False"]
