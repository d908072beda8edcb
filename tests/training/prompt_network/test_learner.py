from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from backend.errors import ModelError
from training.prompt_network.checkpoint import Checkpoint, Row, add_row, read_checkpoint, read_rows
from training.prompt_network.learner import Plan, _averaged, rate_share, train, trained_network
from training.prompt_network.pictures import Pictures


def with_pictures(folder: Path, pictures: Pictures) -> Path:
    folder.mkdir()
    (folder / "pictures").symlink_to(pictures.folder)
    return folder


def checkpoint_in(folder: Path) -> Checkpoint:
    checkpoint = read_checkpoint(folder)
    assert checkpoint is not None
    return checkpoint


def test_the_learning_rate_warms_up_and_falls_to_almost_nothing() -> None:
    shares = [rate_share(done / 100) for done in range(101)]
    assert shares[0] < 0.1 and max(shares) == pytest.approx(1, abs=0.01) and shares[100] == pytest.approx(0.01)
    assert shares[3:] == sorted(shares[3:], reverse=True)


def test_the_average_forgets_the_first_random_weights_at_once() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = _averaged(network, 0.999)
    for step in range(100):
        with torch.no_grad():
            network.weight.fill_(float(step))
        average.update_parameters(network)
    (weight,) = average.parameters()
    # With one memory from the beginning it would be 5.
    assert 80 < weight.item() < 99


@pytest.mark.slow
def test_a_training_goes_on_where_it_was_and_ends_the_same(pictures: Pictures, plan: Plan, tmp_path: Path) -> None:
    at_once, by_parts = (with_pictures(tmp_path / name, pictures) for name in ("at-once", "by-parts"))
    assert train(plan, at_once)
    # Each run's time is up after its first step.
    runs = 1
    while not train(replace(plan, minutes=0.0), by_parts):
        runs += 1
        assert runs < 6
    assert runs > 3
    one, other = checkpoint_in(at_once), checkpoint_in(by_parts)
    assert (other.phase, other.crops) == (one.phase, one.crops) == ("prompts", 4)
    for name, weights in one.average.items():
        assert torch.allclose(weights.float(), other.average[name].float(), atol=1e-6), name
    rows = read_rows(by_parts)
    assert [(row.phase, row.crops) for row in rows] == [("dense", 2), ("dense", 4), ("prompts", 2), ("prompts", 4)]
    assert rows[1].mean_iou is not None and len(rows[3].click_ious) == 3
    assert (by_parts / "curves.svg").read_text().count("<svg") == 1


@pytest.mark.slow
def test_lines_of_work_that_was_lost_are_written_again(pictures: Pictures, plan: Plan, tmp_path: Path) -> None:
    folder = with_pictures(tmp_path / "killed", pictures)
    train(replace(plan, minutes=0.0), folder)
    add_row(folder, Row("dense", 4, minutes=9999, loss=1.0))
    train(replace(plan, minutes=0.0), folder)
    assert [(row.crops, row.minutes < 9999) for row in read_rows(folder)] == [(2, True), (4, True)]


@pytest.mark.slow
def test_two_processes_train_one_network(pictures: Pictures, plan: Plan, tmp_path: Path) -> None:
    folder = with_pictures(tmp_path / "two", pictures)
    assert train(replace(plan, processes=2, crops=(4, 8)), folder)
    assert [(row.phase, row.crops) for row in read_rows(folder)] == [("dense", 4), ("prompts", 4), ("prompts", 8)]
    assert not trained_network(folder).training


@pytest.mark.slow
def test_half_precision_learns_the_same_network(pictures: Pictures, plan: Plan, tmp_path: Path) -> None:
    folder = with_pictures(tmp_path / "half", pictures)
    assert train(replace(plan, bfloat16=True), folder)
    # The weights themselves stay in full precision.
    weights = checkpoint_in(folder).network
    assert {each.dtype for each in weights.values()} <= {torch.float32, torch.int64}
    assert all(torch.isfinite(each).all() for each in weights.values())


@pytest.mark.slow
def test_a_checkpoint_of_another_training_is_refused(pictures: Pictures, plan: Plan, tmp_path: Path) -> None:
    folder = with_pictures(tmp_path / "other", pictures)
    train(replace(plan, minutes=0.0), folder)
    with pytest.raises(ModelError, match="not of resnet10t with 3"):
        train(replace(plan, encoder="resnet10t"), folder)
    (folder / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="Delete it to begin anew"):
        train(plan, folder)


def test_without_a_checkpoint_there_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no checkpoint"):
        trained_network(tmp_path)
