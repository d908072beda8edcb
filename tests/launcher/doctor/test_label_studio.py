"""What answers at Label Studio's address: of which version, and whether it is Label Studio at all."""

from __future__ import annotations

import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backend.settings import Settings
from launcher.doctor.findings import State
from launcher.doctor.label_studio import SUPPORTED, check_label_studio
from tests.conftest import ROOT


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        (json.dumps({"release": "1.19.0"}), "warning", "1.19.0"),
        # Not merely the same beginning.
        (json.dumps({"release": "1.230.0"}), "warning", "1.230.0"),
        (json.dumps({"version": "3"}), "failed", "not Label Studio"),
        ("<html>Welcome</html>", "failed", "not Label Studio"),
    ],
)
def test_another_version_is_a_warning_and_another_program_a_failure(
    tmp_path: Path, answer: str, state: State, said: str
) -> None:
    page = tmp_path / "api" / "version" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        found = check_label_studio(Settings(label_studio_url=f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert found[0].name == "Label Studio" and found[0].state == state and said in found[0].message


def test_the_supported_version_is_the_one_that_is_installed() -> None:
    assert f"label-studio=={SUPPORTED}." in (ROOT / "requirements-label-studio.txt").read_text()
