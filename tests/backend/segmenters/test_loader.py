"""Which segmenter answers when the best one does not load."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backend.errors import ModelError
from backend.segmenters import loader, sam_weights
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from backend.segmenters.loader import SegmenterLoader, choose
from backend.segmenters.sam_weights import CPU_FILE
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from launcher.stack.supervisor import free_port
from tests.backend.weights_server import WeightsServer
from tests.support import wait_for

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB"


class Sam(BuiltinSegmenter):
    name = "sam"

    def __init__(self) -> None:
        super().__init__(lambda _, maps: maps[0])


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each attempt to load SAM shall do: True to load, False to find no memory; none left: no memory."""
    shall: list[bool] = []

    def load(*_: Any) -> Sam:
        if not (shall and shall.pop(0)):
            raise RuntimeError(f"{OUT_OF_MEMORY}\nand much more")
        return Sam()

    monkeypatch.setattr(loader, "_load_sam", load)
    return shall


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(sam_weights="sam.pt", data_dir=tmp_path)


def test_any_failure_falls_back_and_is_told(
    attempts: list[bool], settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert choose(settings, Metrics()).name == "builtin"
    assert (
        f"The segmenter 'sam' does not load: {OUT_OF_MEMORY}. The next best segmenter answers instead." in caplog.text
    )
    with pytest.raises(ModelError, match=OUT_OF_MEMORY):
        choose(settings.model_copy(update={"segmenter": "sam"}), Metrics())


def test_only_what_is_better_is_tried_again(
    attempts: list[bool], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second SAM beside the one that answers would take memory on its device."""
    attempts += [True, True, True]
    tried: list[int] = []

    def load(*_: Any) -> Sam:
        tried.append(1)
        raise RuntimeError(f"{OUT_OF_MEMORY}, {len(tried)} times")

    monkeypatch.setattr(loader, "_load_sam3", load)
    reported: list[str] = []
    with_both = settings.model_copy(update={"sam3_weights": "sam3.pt"})
    with closing(SegmenterLoader(with_both, Metrics(), report=reported.append, retry_wait_s=0.01)) as loading:
        deadline = time.monotonic() + 30
        while len(tried) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert loading.name == "sam" and attempts == [True, True] and len(reported) == 1


@pytest.mark.parametrize(("segmenter", "before"), [("auto", "builtin"), ("sam", "failed")])
def test_it_is_tried_again_until_it_loads(
    attempts: list[bool], settings: Settings, segmenter: str, before: str
) -> None:
    attempts += [False, False, True]
    reported: list[str] = []
    seen = []

    def report(failure: str) -> None:
        reported.append(failure)

    loading = SegmenterLoader(
        settings.model_copy(update={"segmenter": segmenter}), Metrics(), report=report, retry_wait_s=0.2
    )
    deadline = time.monotonic() + 30
    while loading.name != "sam":
        assert time.monotonic() < deadline
        seen.append(loading.name)
        time.sleep(0.01)
    assert set(seen) <= {"loading", before} and before in seen
    assert loading.get(timeout_s=0).name == "sam"
    # The same failure is reported once.
    assert len(reported) == 1 and OUT_OF_MEMORY in reported[0]


@pytest.fixture
def server(server: WeightsServer) -> Iterator[WeightsServer]:
    yield server
    server.goes_on.set()
    wait_for(nothing_loads)


def nothing_loads() -> bool:
    return "load-segmenter" not in {thread.name for thread in threading.enumerate()}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam_weights, "ADDRESS", f"http://127.0.0.1:{free_port()}")


@pytest.fixture
def auto(tmp_path: Path) -> Settings:
    return Settings(sam_weights="auto", data_dir=tmp_path / "data", device="cpu")


@pytest.mark.slow
def test_what_was_downloaded_takes_over_without_a_restart(server: WeightsServer, auto: Settings) -> None:
    server.goes_on.clear()
    reported: list[str] = []
    with closing(SegmenterLoader(auto, Metrics(), report=reported.append)) as loading:
        assert loading.get(timeout_s=60).name == "builtin"
        wait_for(lambda: "of 41 MB" in str(loading.download))
        # Other processes go on with what there is.
        assert choose(auto, Metrics()).name == loading.name == "builtin"
        server.goes_on.set()
        wait_for(lambda: loading.name == "mobile_sam")
        assert loading.get(timeout_s=0).name == "mobile_sam"
        wait_for(lambda: loading.download is None)
    assert reported == [] and choose(auto, Metrics()).name == "mobile_sam"
    # The next start needs no server.
    server.asked.clear()
    with closing(SegmenterLoader(auto, Metrics(), report=reported.append)) as loading:
        assert loading.get(timeout_s=60).name == "mobile_sam" and loading.download is None
    assert server.asked == []


@pytest.mark.slow
def test_without_a_network_the_builtin_one_answers_and_a_copied_file_is_seen(
    no_network: None, auto: Settings, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    reported: list[str] = []
    with closing(SegmenterLoader(auto, Metrics(), report=reported.append, retry_wait_s=0.1)) as loading:
        assert loading.get(timeout_s=60).name == "builtin"
        wait_for(lambda: loading.download is not None and bool(loading.download.failure))
        assert "mobile_sam.pt was not downloaded: the connection to 127.0.0.1:" in str(loading.download)
        assert loading.name == "builtin"
        shutil.copy(weights, auto.data_dir / "weights.half")
        (auto.data_dir / "weights").mkdir(exist_ok=True)
        (auto.data_dir / "weights.half").rename(auto.data_dir / "weights" / CPU_FILE)
        wait_for(lambda: loading.name == "mobile_sam")
        wait_for(lambda: loading.download is None)
    (told,) = [record for record in caplog.records if "was not downloaded" in record.message]
    assert reported == [] and told.levelname == "INFO" and "copy the file into" in told.message


def test_sam_alone_is_loading_until_it_is_downloaded(server: WeightsServer, auto: Settings) -> None:
    server.goes_on.clear()
    alone = auto.model_copy(update={"segmenter": "sam"})
    with closing(SegmenterLoader(alone, Metrics(), report=lambda _: None)) as loading:
        wait_for(lambda: loading.download is not None)
        assert loading.name == "loading" and loading.ready is None
        with pytest.raises(ModelError, match="the backend downloads them"):
            loading.get(timeout_s=60)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"sam_weights": ""}, "builtin"),
        ({"segmenter": "builtin"}, "builtin"),
        # SAM 3 is there: nothing else is needed.
        ({"sam3_weights": "sam3.pt"}, "sam"),
        ({"sam_weights": "", "segmenter": "sam"}, "failed"),
    ],
)
def test_nothing_is_downloaded_where_nothing_is_needed(
    server: WeightsServer, auto: Settings, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], name: str
) -> None:
    monkeypatch.setattr(loader, "_load_sam3", lambda *_: Sam())
    reported: list[str] = []
    settings = auto.model_copy(update=given)
    with closing(SegmenterLoader(settings, Metrics(), report=reported.append, retry_wait_s=0.01)) as loading:
        wait_for(lambda: loading.name == name)
    wait_for(nothing_loads)
    assert loading.name == name and loading.download is None and server.asked == []
    assert all("SAM_WEIGHTS" in one for one in reported)
