"""The losses of the systems that this product grew from, and pretrained weights that lie on disk."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.errors import ModelError
from training.students.families.segformer import SegFormer
from training.students.families.unet import URL, UNet, half_dice_half_bce
from training.students.families.yolo import initial
from training.students.lesson import Lesson
from training.students.pictures import Sample
from training.students.roster import open_student
from training.students.student import Terms

pytestmark = pytest.mark.slow


def test_half_of_the_loss_is_dice_and_half_is_cross_entropy() -> None:
    truth = torch.zeros(1, 2, 4)
    truth[0, 0] = 1
    unsure = half_dice_half_bce(torch.zeros(1, 2, 4), truth)
    # Half of 8 pixels at a probability of a half: Dice is (2 * 2 + 1) / (4 + 4 + 1), cross-entropy ln 2.
    assert unsure.item() == pytest.approx(0.5 * (1 - 5 / 9) + 0.5 * math.log(2))
    right = half_dice_half_bce(torch.where(truth > 0, 50.0, -50.0), truth)
    assert right.item() == pytest.approx(0, abs=1e-6)


def test_background_counts_once_and_each_label_three_times(terms: Terms) -> None:
    family = SegFormer(terms)
    family.network.eval()
    pixels, nothing = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint16)
    half = nothing.copy()
    half[:32] = 1
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        (probabilities,) = family.answering()(images)
        entropy = -probabilities.log()[0]
        losses = [
            family.loss(images, [Sample(pixels, np.zeros((0, 64, 64), bool), np.zeros(0, np.int64), one)])
            for one in (nothing, half)
        ]
    expected = (3 * entropy[1, :32].sum() + entropy[0, 32:].sum()) / (3 * 32 * 64 + 32 * 64)
    assert losses[0].item() == pytest.approx(entropy[0].mean().item(), rel=1e-4)
    assert losses[1].item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_project_with_one_label_has_it_from_a_student_that_tells_clothing(terms: Terms, lesson: Lesson) -> None:
    one_label = replace(terms, labels=lesson.labels[:1])
    student = open_student("unet-mobilenetv2", one_label)
    assert student.kind == "label map"
    for answer in student.predict([lesson.judge[0].image], min_score=0, device="cpu"):
        assert {garment.class_name for garment in answer.garments} <= {lesson.labels[0]}


def test_pretrained_weights_on_disk_are_begun_with(terms: Terms) -> None:
    folder = terms.weights.folder
    folder.mkdir()
    encoder: Any = UNet(terms).network.encoder
    torch.save(
        {name: torch.full_like(value, 0.25) for name, value in encoder.state_dict().items()},
        folder / URL.rpartition("/")[2],
    )
    family = UNet(terms)
    assert family.began_with == "MobileNetV2, pretrained on ImageNet"
    begun: Any = family.network.encoder
    assert all((value == 0.25).all() for value in begun.parameters())

    pretrained: Any = SegFormer(terms).network
    with torch.no_grad():
        for parameter in pretrained.parameters():
            parameter.fill_(0.125)
    pretrained.save_pretrained(folder / "mit-b2")
    former = SegFormer(replace(terms, labels=terms.labels[:2]))
    assert former.began_with == "nvidia/mit-b2, pretrained on ImageNet"
    network: Any = former.network
    assert (next(network.segformer.parameters()) == 0.125).all()
    assert network.config.num_labels == 3

    assert initial("yolo11s", terms)[0] == "yolo11s-seg.yaml"
    (folder / "yolo11s-seg.pt").write_bytes(b"weights")
    assert initial("yolo11s", terms) == (str(folder / "yolo11s-seg.pt"), "yolo11s-seg.pt, pretrained on COCO")


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("segformer-b2", "transformers", "transformers"),
        ("unet-mobilenetv2", "segmentation_models_pytorch", "segmentation-models-pytorch"),
    ],
)
def test_a_library_that_is_not_installed_is_named(
    terms: Terms, monkeypatch: pytest.MonkeyPatch, name: str, module: str, package: str
) -> None:
    # As Python has it where a module cannot be imported.
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match=f"{package}.*requirements-students.txt"):
        open_student(name, terms)


def test_weights_that_are_damaged_are_an_error_in_a_sentence(terms: Terms, lesson: Lesson, tmp_path: Path) -> None:
    terms.weights.folder.mkdir()
    (terms.weights.folder / "yolo11n-seg.pt").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=r"yolo11n-seg\.pt"):
        open_student("yolo11n", terms).train(lesson, tmp_path / "work", lambda progress: None)
