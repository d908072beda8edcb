"""Which segmenter answers when the best one does not load."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backend.errors import ModelError
from backend.segmenters import loader
from backend.segmenters.classical import ClassicalSegmenter
from backend.segmenters.loader import SegmenterLoader, choose
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2.00 GiB"


class Sam(ClassicalSegmenter):
    name = "sam"


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
    assert choose(settings, Metrics()).name == "classical"
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


@pytest.mark.parametrize(("segmenter", "before"), [("auto", "classical"), ("sam", "failed")])
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
