from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend.compute.devices import GPU_FILES
from backend.detector.detector_pool import DetectorPool, load_detector
from backend.detector.prepare import prepare
from backend.domain import Image
from backend.errors import ModelError
from backend.registry.files import NETWORK
from backend.registry.registry import Registry
from backend.settings import Settings
from tests.conftest import ROOT
from tests.exported import add_colours
from tests.projects import promote_starter

DETECT = """
import sys
from pathlib import Path
from backend.detector.detector_pool import DetectorPool, load_detector
from backend.domain import Image
from backend.registry.registry import Registry
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure

loaded = DetectorPool(Registry(Path(sys.argv[1])), Settings()).for_project(1)
(scene,) = loaded.detector.detect([Image(draw_figure(1).pixels, "1", "a drawing")], min_score=0.25)
print(loaded.runtime, len(scene.detections), "torch" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or any(Path(path).exists() for path in GPU_FILES), reason="PyTorch is asked for a GPU here"
)
def test_a_prepared_version_detects_without_pytorch(starter: Path, prepared_starter: Path, tmp_path: Path) -> None:
    """A worker would have 300 MB of it in memory, and take a second longer to start."""
    promote_starter(Registry(tmp_path), 1, starter, prepared_starter)
    command = [sys.executable, "-c", DETECT, str(tmp_path)]
    runtime, detections, has_torch = subprocess.check_output(command, cwd=ROOT, text=True).split()
    assert runtime.startswith("openvino") and int(detections) > 0 and has_torch == "False"


def test_a_network_of_another_architecture_is_a_projects_detector(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    version = add_colours(registry, 1, tmp_path, classes=("saree", "belt"))
    registry.promote(1, version.name)
    pixels = np.zeros((100, 60, 3), np.uint8)
    pixels[10:50, 10:50, 2] = 255
    images = [Image(pixels, "k", "s")]

    pool = DetectorPool(Registry(tmp_path / "models"), Settings(device="cpu"))
    before = pool.for_project(1)
    assert before is not None and not before.is_prepared
    made = prepare(version, images, device="cpu")
    after = pool.for_project(1)
    assert after is not None and after.is_prepared
    assert made.runtime == before.runtime == after.runtime == "openvino-f32"
    for loaded in (before, after):
        (scene,) = loaded.detector.detect(images, min_score=0.25, max_side_px=64)
        assert [one.class_name for one in scene.detections] == ["belt"]
        # Its images have no groups.
        assert loaded.clusters is None and scene.features is None


@pytest.mark.parametrize("file", [NETWORK, "weights.bin"])
def test_a_network_that_was_changed_is_not_loaded(tmp_path: Path, file: str) -> None:
    version = add_colours(Registry(tmp_path / "models"), 1, tmp_path, classes=("saree", "belt"))
    version.files.fetch(file).write_bytes(b"something else")
    with pytest.raises(ModelError, match="was changed"):
        load_detector(version, device="cpu")
