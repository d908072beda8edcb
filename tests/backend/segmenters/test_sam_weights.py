"""The download of SAM's weights, from a real server: what it brings, and that what breaks leaves nothing behind."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from backend.errors import ModelError
from backend.segmenters import sam_weights
from backend.segmenters.sam_weights import CPU_FILE, GPU_FILE, Download, auto_weights, download_weights, stored_weights
from backend.settings import Settings
from launcher.stack.supervisor import free_port
from tests.backend.weights_server import WeightsServer
from tests.support import wait_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "weights" / CPU_FILE


def fetch(path: Path, closing: threading.Event | None = None) -> list[Download]:
    states: list[Download] = []
    download_weights(path, closing=closing or threading.Event(), report=states.append)
    return states


def left(path: Path) -> list[Path]:
    return list(path.parent.rglob("*"))


def test_the_files_are_those_of_the_installed_ultralytics() -> None:
    from ultralytics.utils import downloads

    parameters = inspect.signature(downloads.attempt_download_asset).parameters
    repository, release = parameters["repo"].default, parameters["release"].default
    assert f"https://github.com/{repository}/releases/download/{release}" == sam_weights.ADDRESS
    assert {GPU_FILE, CPU_FILE} <= downloads.GITHUB_ASSETS_NAMES


def test_each_device_has_its_file(tmp_path: Path) -> None:
    assert auto_weights(Settings(device="cpu", data_dir=tmp_path)) == tmp_path / "weights" / "mobile_sam.pt"
    assert auto_weights(Settings(device="cuda:1", data_dir=tmp_path)) == tmp_path / "weights" / "sam2.1_b.pt"


def test_only_what_suits_the_device_is_found(tmp_path: Path) -> None:
    settings = Settings(device="cpu", data_dir=tmp_path, sam_weights="auto")
    assert stored_weights(settings) is None
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / GPU_FILE).touch()
    assert stored_weights(settings) is None
    (tmp_path / "weights" / CPU_FILE).touch()
    assert stored_weights(settings) == tmp_path / "weights" / CPU_FILE
    assert stored_weights(settings.model_copy(update={"sam_weights": ""})) is None


@pytest.mark.slow
def test_it_brings_the_file_and_says_how_far_it_is(server: WeightsServer, weights: Path, path: Path) -> None:
    states = fetch(path)
    size = weights.stat().st_size
    assert path.read_bytes() == weights.read_bytes() and left(path) == [path]
    assert (states[0].done_bytes, states[0].total_bytes, states[-1].done_bytes) == (0, size, size)
    assert str(states[-1]) == f"mobile_sam.pt is being downloaded: {size / 1e6:.0f} of {size / 1e6:.0f} MB."


@pytest.mark.slow
def test_it_continues_where_the_connection_broke(server: WeightsServer, weights: Path, path: Path) -> None:
    server.break_off += [1_000_000, 2_000_000]
    fetch(path)
    assert path.read_bytes() == weights.read_bytes()
    # What the broken answers brought, in whole pieces, is not asked for again.
    ranges = [asked_range for _, asked_range in server.asked]
    assert len(ranges) == 3 and ranges[0] == "" and 0 < int(ranges[1][6:-1]) < int(ranges[2][6:-1])


@pytest.mark.slow
def test_what_is_no_model_is_not_kept(server: WeightsServer, weights: Path, path: Path) -> None:
    content = weights.read_bytes()
    for wrong in (b"<html>Log in first</html>", content[: len(content) // 2], b""):
        server.files[CPU_FILE] = wrong
        with pytest.raises(ModelError, match="SAM does not load from what 127"):
            fetch(path)
    other = path.with_name("other.pt")
    torch.save({"not": torch.zeros(3)}, other)
    server.files[CPU_FILE] = other.read_bytes()
    with pytest.raises(ModelError, match="SAM does not load"):
        fetch(path)
    assert left(path) == [other]


def test_a_connection_that_always_breaks_is_given_up(server: WeightsServer, path: Path) -> None:
    server.break_off += [10] * 9
    with pytest.raises(ModelError, match="the connection to 127"):
        fetch(path)
    assert len(server.asked) == sam_weights.ATTEMPTS and left(path) == []


def test_without_the_file_or_the_server_that_is_said(
    server: WeightsServer, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server.files[CPU_FILE]
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:\d+ answers 404 Not Found"):
        fetch(path)
    monkeypatch.setattr(sam_weights, "ADDRESS", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ModelError, match=r"the connection to 127\.0\.0\.1:\d+ fails"):
        fetch(path)
    assert left(path) == []


def test_a_folder_that_cannot_be_written_is_said(server: WeightsServer, path: Path) -> None:
    path.parent.parent.mkdir()
    path.parent.write_text("a file in the folder's place")
    with pytest.raises(ModelError, match="it cannot be stored"):
        fetch(path)
    assert server.asked == []


def test_it_ends_with_the_service(server: WeightsServer, path: Path) -> None:
    closing = threading.Event()
    server.goes_on.clear()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fetch, path, closing)
        wait_for(lambda: bool(server.asked))
        closing.set()
        server.goes_on.set()
        with pytest.raises(ModelError, match="the service ends"):
            running.result()
    with pytest.raises(ModelError, match="the service ends"):
        fetch(path, closing)
    assert len(server.asked) == 1 and left(path) == []
