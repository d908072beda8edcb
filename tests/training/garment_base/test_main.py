"""`make garment-base`, on a few drawn figures in two sets."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from backend.detector.runtimes.network import load_network
from backend.detector.starter import STARTER
from label_studio_config.demo.figures import LABELS
from label_studio_config.demo.write import write_yolo_dataset
from label_studio_config.palette_xml import palette
from training.garment_base.__main__ import app

pytestmark = pytest.mark.slow


@pytest.fixture
def sets(tmp_path: Path) -> list[str]:
    """Two sets with label configs of their own, which share a label."""
    for name, first, labels in (("one", 50, LABELS[:2]), ("two", 60, LABELS[1:])):
        write_yolo_dataset(tmp_path / name, train_seeds=range(first, first + 3), val_seeds=[first + 3])
        (tmp_path / f"{name}.xml").write_text(palette(labels))
    return [str(tmp_path / "one"), str(tmp_path / "two")]


def arguments(sets: list[str], into: Path) -> list[str]:
    labels = [option for path in sets for option in ("--labels", f"{path}.xml")]
    return [*sets, *labels, "--held-out", "1", "--epochs", "1", "--epochs", "1", "--into", str(into)]


def test_two_sets_make_one_detector_of_all_their_labels(sets: list[str], tmp_path: Path) -> None:
    into = tmp_path / "base"
    done = CliRunner().invoke(app, arguments(sets, into), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    facts = json.loads((into / "starter.json").read_text())
    assert facts["classes"] == list(LABELS)
    assert facts["trained_on"] == {"one": 3, "two": 3}
    assert [one["held_out"] for one in facts["judged"].values()] == [1, 1]
    assert load_network(into / "starter.pt")[1] == LABELS
    # Nothing in it says in which folder it was made.
    assert str(tmp_path).encode() not in (into / "starter.pt").read_bytes()
    # A stage that is done is not trained again.
    again = CliRunner().invoke(app, arguments(sets, into), catch_exceptions=False)
    assert again.exit_code == 0 and "pixels, epoch" not in again.output
    # But one of another training.
    other = CliRunner().invoke(app, [*arguments(sets, into), "--held-out", "2"], catch_exceptions=False)
    assert other.exit_code == 0 and "pixels, epoch" in other.output


def test_each_set_needs_a_label_config_and_pictures_to_train_on(sets: list[str], tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, [*sets, "--labels", f"{sets[0]}.xml", "--into", str(tmp_path / "base")])
    assert missing.exit_code == 1 and "give --labels for each" in " ".join(missing.output.split())
    few = CliRunner().invoke(app, [*arguments(sets, tmp_path / "base"), "--held-out", "9"])
    assert few.exit_code == 1 and "none is left" in " ".join(few.output.split())


def test_each_stage_starts_from_the_weights_of_the_one_before(sets: list[str], tmp_path: Path) -> None:
    into = tmp_path / "base"
    done = CliRunner().invoke(app, [*arguments(sets, into), "--initial", str(STARTER)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    weights = [
        torch.load(file, weights_only=False)["model"].float().state_dict()["model.0.conv.weight"]
        for file in (STARTER, into / "stage-1.pt", into / "stage-2.pt")
    ]
    # An epoch of one step changes little; random weights would be others.
    for before, after in pairwise(weights):
        assert 0 < (after - before).abs().max() < 0.1 * before.abs().max()
