"""Models in other engines' formats: what is written, what is refused, and what is not trusted."""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import asdict
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.detector.runtimes.openvino_runtime import supported_precisions
from backend.domain import Image
from backend.errors import ModelError
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from launcher.commands.export_table import show_export
from tests.support import add_starter
from tests.training.conftest import Workplace
from training.model_export.compare import MIN_AGREEMENT, compare
from training.model_export.export import Export, example_images, export_version
from training.model_export.formats import missing_packages

pytestmark = pytest.mark.slow

# Higher than wide, and wider than high.
FIGURES = [Image(draw_figure(seed).pixels, str(seed), "figure") for seed in (500, 501, 502, 504)]


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes is no matter here."""
    monkeypatch.setattr("training.model_export.compare.WARM_UP", 1)
    monkeypatch.setattr("training.model_export.compare.ROUNDS", 2)


@pytest.fixture
def version(starter: Path, tmp_path: Path) -> Version:
    return add_starter(Registry(tmp_path / "models"), 7, starter)


def exports_of(version: Version) -> list[str]:
    """Names of the exports that are stored with the version."""
    return sorted({path.split("/")[1] for path in version.files.digests() if path.startswith("exports/")})


# Format, whether in half precision, what the exported file or folder ends with.
CASES = [
    ("openvino", False, "_openvino_model"),
    ("openvino", True, "_openvino_model"),
    ("torchscript", False, ".torchscript"),
    ("onnx", False, ".onnx"),
]


@pytest.mark.parametrize(("name", "half", "ending"), CASES)
def test_an_export_finds_what_pytorch_finds(version: Version, name: str, half: bool, ending: str) -> None:
    if name == "onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxruntime"))):
        pytest.skip("onnx and onnxruntime are not installed.")
    assert len({figure.size_wh for figure in FIGURES}) > 1
    folder, export = export_version(version, lambda: FIGURES, format_name=name, half=half, device="cpu")
    assert exports_of(version) == [folder.name] == [name + ("-half" if half else "")]
    assert sorted(entry.name for entry in folder.iterdir()) == ["export.json", f"{version.name}{ending}"]
    assert json.loads((folder / "export.json").read_text()) == asdict(export)
    assert export.check is not None and export.check.images == len(FIGURES)
    # OpenVINO computes in bfloat16 by itself where the processor does.
    exact = not half and (name != "openvino" or supported_precisions() == ("f32",))
    assert export.check.agreement == pytest.approx(1.0, abs=1e-3 if exact else 0.03) and export.check.agrees
    assert export.check.torch_ms > 1 and export.check.export_ms > 1
    assert show_export(folder, export, console=Console(quiet=True))


def test_an_export_is_made_anew_in_place_of_the_old(version: Version, tmp_path: Path) -> None:
    to = tmp_path / "given"
    for count in (1, 2):
        seen = partial(itemgetter(slice(count)), FIGURES)
        folder, export = export_version(version, seen, format_name="torchscript", half=False, device="cpu", to=to)
        assert folder == to and export.check is not None and export.check.images == count
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []
    assert exports_of(version) == []


def test_a_folder_that_holds_other_things_is_left_alone(version: Version, tmp_path: Path) -> None:
    to = tmp_path / "given"
    to.mkdir()
    (to / "notes.txt").write_text("of somebody")
    with pytest.raises(ModelError, match="contains other files"):
        export_version(version, lambda: FIGURES[:1], format_name="torchscript", half=False, device="cpu", to=to)
    assert [entry.name for entry in to.iterdir()] == ["notes.txt"]


# Format, whether in half precision, what is said.
REFUSED = [
    ("nonsense", False, "Choose one of: torchscript, onnx"),
    ("-", False, "no format '-'"),  # PyTorch's own row in Ultralytics' table
    ("engine", False, "TensorRT can only be exported on an NVIDIA GPU"),
    ("imx", False, "does not calibrate"),
    ("paddle", True, "no half precision"),
    ("torchscript", True, "only supported on GPU"),
    ("coreml", False, "Packages are missing: pip install 'coremltools"),
]


@pytest.mark.parametrize(("name", "half", "said"), REFUSED)
def test_what_cannot_be_made_here_is_refused_in_a_sentence(version: Version, name: str, half: bool, said: str) -> None:
    if name == "coreml" and importlib.util.find_spec("coremltools"):
        pytest.skip("coremltools is installed.")
    with pytest.raises(ModelError, match=said):
        export_version(version, lambda: FIGURES, format_name=name, half=half, device="cpu")
    assert exports_of(version) == []


def test_a_package_that_ultralytics_does_not_name_is_named_by_its_module() -> None:
    assert missing_packages([], ModuleNotFoundError("No module named 'x'", name="x")) == (
        "The Python package of the module 'x' is missing."
    )
    warning = logging.makeLogRecord({"msg": "Ultralytics requirement ['ncnn'] not found, …"})
    assert missing_packages([warning], RuntimeError("other")) is None
    assert missing_packages([warning], ImportError("other")) == "Packages are missing: pip install ncnn"


def test_an_export_that_disagrees_is_kept_and_said(
    version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = quiet_ultralytics().YOLO(version.weights, task="segment")
    with torch.no_grad():
        for parameter in model.model.parameters():
            parameter *= 0.97
    model.save(tmp_path / "worse.pt")
    check = compare(
        version.weights, tmp_path / "worse.pt", FIGURES, image_size_px=256, any_shape=True, half=False, device="cpu"
    )
    assert check.agreement is not None and 0 < check.agreement < MIN_AGREEMENT and not check.agrees
    export = Export(version.name, "onnx", "worse.onnx", False, 256, True, "cpu", check)
    assert not show_export(tmp_path, export, console=Console(width=200))
    assert "Do not use it" in capsys.readouterr().out


def test_an_export_that_does_not_run_here_is_not_trusted(
    version: Version, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.torchscript").write_bytes(b"nothing")
    with pytest.raises(ModelError) as caught:
        compare(
            version.weights,
            tmp_path / "broken.torchscript",
            FIGURES,
            image_size_px=256,
            any_shape=True,
            half=False,
            device="cpu",
        )
    export = Export(version.name, "torchscript", "broken.torchscript", False, 256, True, "cpu", None, str(caught.value))
    assert not show_export(tmp_path, export, console=Console(width=200))
    assert "could not be compared" in capsys.readouterr().out


def test_nothing_found_is_no_agreement(version: Version) -> None:
    blank = Image(np.full((90, 120, 3), 114, np.uint8), "blank", "blank")
    check = compare(
        version.weights, version.weights, [blank], image_size_px=256, any_shape=False, half=False, device="cpu"
    )
    assert check.agreement is None and not check.agrees


def test_without_label_studio_the_photographs_of_ultralytics_are_compared_on(
    version: Version, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = example_images(Settings(data_dir=tmp_path / "data"), version)
    assert len(images) >= 2 and all(max(image.size_wh) == 256 for image in images)
    assert "not the project's: LABEL_STUDIO_URL" in caplog.text


@pytest.mark.services
def test_the_projects_own_images_are_compared_on(workplace: Workplace) -> None:
    champion = workplace.registry.champion(workplace.project_id)
    assert champion is not None
    images = example_images(Settings(), champion)
    # The broken one is left out.
    assert len(images) == 3 and all("figure" in image.source for image in images)
