"""What `drape up` leaves for the other commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.settings import Settings
from launcher.stack.saved_settings import complete, save_settings


@pytest.mark.parametrize("root", [None, Path("/photographs/served")])
def test_what_was_kept_completes_what_is_not_said(tmp_path: Path, root: Path | None) -> None:
    running = Settings(
        data_dir=tmp_path,
        label_studio_url="http://127.0.0.1:8080",
        label_studio_api_key="key",
        port=9191,
        local_files_root=root,
    )
    assert complete(Settings(data_dir=tmp_path)) == Settings(data_dir=tmp_path)
    save_settings(running)
    later = complete(Settings(data_dir=tmp_path, port=9090))
    assert (later.label_studio_url, later.label_studio_api_key) == ("http://127.0.0.1:8080", "key")
    assert later.port == 9090 and later.local_files_root == root
