from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.compute.devices import GPU_FILES
from backend.registry.registry import Registry
from tests.conftest import ROOT
from tests.projects import promote_starter

DETECT = """
import sys
from pathlib import Path
from backend.detector.detector_pool import DetectorPool
from backend.domain import Image
from backend.registry.registry import Registry
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure

loaded = DetectorPool(Registry(Path(sys.argv[1])), Settings()).for_project(1)
(scene,) = loaded.detector.detect([Image(draw_figure(1).pixels, "1", "a drawing")], min_score=0.25)
print(loaded.detector.runtime.name, len(scene.detections), "torch" in sys.modules)
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
