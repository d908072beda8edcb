"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def test_no_command_waits_for_libraries_that_it_may_not_need() -> None:
    slow = "{'torch', 'ultralytics', 'openvino', 'label_studio_sdk', 'pandas', 'scipy'}"
    code = f"import sys, launcher.cli\nprint(sorted({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
