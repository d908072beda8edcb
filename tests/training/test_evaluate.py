"""`drape evaluate`: the judging table for weights from anywhere, on a real Label Studio."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.connections import Connections
from backend.errors import DatasetError, ModelError
from backend.settings import Settings
from launcher.cli import app, main
from tests.training.conftest import SEEDS, Workplace
from training.evaluate import ExternalSet, evaluate_model
from training.jobs import train

pytestmark = pytest.mark.services


def test_any_weights_are_scored_like_a_version(
    workplace: Workplace, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, registry = workplace.project_id, workplace.registry
    monkeypatch.setenv("TRAIN_IMAGE_SIZE_PX", "256")
    champion = registry.champion(project_id)
    assert champion is not None
    with pytest.raises(DatasetError, match="no approved image"):
        evaluate_model(Connections.of(Settings()), project_id, champion, source="approved")
    for seed in SEEDS:
        workplace.approve(seed)
    connections = Connections.of(Settings())
    with pytest.raises(DatasetError, match=r"\(split\)"):
        evaluate_model(connections, project_id, champion, source="split")
    ours, theirs = (evaluate_model(connections, project_id, model, source="approved") for model in (champion, starter))
    assert ours.images == theirs.images == len(SEEDS)
    assert ours.mask_map == pytest.approx(theirs.mask_map, abs=0.03) and (ours.mask_map or 0) > 0.2
    # The same as a set of others, without the project's own annotations.
    given = tmp_path / "given"
    said = CliRunner().invoke(app, ["export", "--project", str(project_id), "--format", "coco", "--into", str(given)])
    assert said.exit_code == 0, said.output
    as_a_set = evaluate_model(connections, project_id, starter, source=ExternalSet(str(given)))
    assert as_a_set.images == len(SEEDS)
    # But for the polygons' rounding, which moves a mask across a threshold.
    assert as_a_set.mask_map == pytest.approx(theirs.mask_map, abs=0.03)
    nothing = tmp_path / "mapping.yaml"
    nothing.write_text("".join(f"{label}:\n" for label in champion.classes))
    with pytest.raises(DatasetError, match="no image with a garment"):
        evaluate_model(connections, project_id, starter, source=ExternalSet(str(given), mapping=nothing))
    # Once a training has held images out, these alone.
    train(project_id, "test")
    latest = registry.versions(project_id)[-1]
    assert evaluate_model(connections, project_id, latest, source="split").images == 1
    told = CliRunner().invoke(app, ["evaluate", "--project", str(project_id), "--model", str(starter)])
    assert told.exit_code == 0, told.output
    assert "1 images," in " ".join(told.output.split())
    with pytest.raises(ModelError, match="do not load"):
        evaluate_model(connections, project_id, Path("missing.pt"), source="approved")


def test_a_project_without_a_model_says_so(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["drape", "evaluate", "--project", "999"])
    with pytest.raises(SystemExit):
        main()
    assert "has no model yet" in capsys.readouterr().err
