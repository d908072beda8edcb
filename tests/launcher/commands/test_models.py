"""`drape models` on a registry and a Redis of its own."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rq import Queue
from typer.testing import CliRunner, Result

from backend.errors import DrapeError, ModelError, NotFoundError, StorageError
from backend.queues.queues import CHECKS, Queues
from backend.registry.records import REPORT, write_text
from backend.registry.registry import Registry, Version
from backend.registry.scores import Compared, LabelScores, Scores, write_scores
from backend.registry.verdict import LabelVerdict, Verdict, write_verdict
from backend.settings import Settings
from launcher.commands.models import app
from launcher.errors import LauncherError
from tests.exported import add_colours
from tests.full_disk import full_disk

pytestmark = pytest.mark.services
PROJECT = 7


@pytest.fixture
def registry(tmp_path: Path, redis_address: str, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("REDIS_URL", redis_address)
    monkeypatch.setenv("COLUMNS", "80")
    return Registry(Settings().models_path)


@pytest.fixture
def versions(registry: Registry, tmp_path: Path) -> list[Version]:
    """Four, each from the one before; the third is the champion."""
    made: list[Version] = []
    for number in range(4):
        weights = tmp_path / f"{number}.pt"
        weights.write_bytes(bytes([number]))
        made.append(
            registry.add(
                PROJECT,
                weights=weights,
                classes=("saree",),
                parent=made[-1].name if made else None,
                metrics={"mask_map50_95": 0.25},
                annotations={str(n): "x" for n in range(number)},
                image_size_px=256,
                origin="training",
            )
        )
    registry.promote(PROJECT, made[2].name)
    write_verdict(
        made[3],
        Verdict(False, "No better.", 9, made[2].name, 0.5, 0.6, (-0.2, 0.1), (LabelVerdict("saree", 4, 0.5, 0.6),)),
    )
    return made


def drape(*arguments: str) -> Result:
    result = CliRunner().invoke(app, [*arguments[:1], "--project", str(PROJECT), *arguments[1:]])
    if isinstance(result.exception, LauncherError | DrapeError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def plans() -> int:
    return len(Queue(CHECKS, connection=Queues(Settings()).redis))


def test_list_shows_each_version_and_marks_the_one_that_works(versions: list[Version]) -> None:
    lines = [line for line in drape("list").output.splitlines() if "yolo11n-seg" in line]
    assert [version.name in line for version, line in zip(versions, lines, strict=True)] == [True] * 4
    assert ["*" in line for line in lines] == [False, False, True, False]
    assert "0.250" in lines[0] and "0.500" in lines[3]


def test_show_says_why(versions: list[Version]) -> None:
    said = drape("show", versions[3].name).output
    assert "Not promoted. No better." in said and "-0.200 to +0.100" in said
    assert "never evaluated" in drape("show", versions[0].name).output


def test_show_prints_the_scores_beside_the_champions(versions: list[Version], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("launcher.commands.models.console", Console())
    saree = LabelScores("saree", 1234, *(number / 1000 for number in range(101, 111)))
    unseen = LabelScores("belt", 0, *[None] * 10)
    mistaken = replace(unseen, label="wrap over skirt", precision=0.0)
    own = Scores(
        9, 0.201, 0.202, 0.203, 0.204, 0.205, 0.206, 0.207, 0.208, 0.209, 0.21, 0.211, 12.34, (saree, unseen, mistaken)
    )
    champion = replace(own, mask_map=0.301, ms_an_image=43.2, labels=(replace(saree, mask_map=0.302),))
    for compared in (Compared(own, champion), Compared(own, None)):
        write_scores(versions[3], compared)
        said = drape("show", versions[3].name).output
        rows = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines() if "  0." in line]
        before = "0.302" if compared.champion else "-"
        assert rows == [
            ["saree", "1234", "0.103", before, "0.104", "0.105", "0.106", "0.107", "0.110"],
            ["wrap over skirt", "0", "-", "-", "-", "0.000", "-", "-", "-"],
        ]
        assert "boundary IoU" in said and max(map(len, said.splitlines())) <= 100
        sentences = " ".join(said.split())
        assert ("0.301" in sentences, "champion's 43.2" in sentences) == (compared.champion is not None,) * 2
        assert all(figure in sentences for figure in ("0.203", "0.207", "0.211", "12.3 ms"))


def test_show_tells_where_the_report_is(versions: list[Version]) -> None:
    assert "report" not in drape("show", "v4").output
    path = write_text(versions[3], REPORT, "<!doctype html>")
    assert f"report: {path.resolve()}\n" in drape("show", "v4").output


def test_a_full_disk_at_a_promotion_is_explained(registry: Registry, versions: list[Version]) -> None:
    with full_disk(), pytest.raises(StorageError, match="The disk is full"):
        drape("promote", "v4")
    assert registry.champion(PROJECT) == versions[2]


def test_promote_and_rollback_move_the_champion_and_have_it_predict(
    registry: Registry, versions: list[Version]
) -> None:
    drape("rollback")
    assert registry.champion(PROJECT) == versions[1] and plans() == 1
    drape("promote", "v4")
    assert registry.champion(PROJECT) == versions[3]
    registry.promote(PROJECT, versions[0].name)
    with pytest.raises(NotFoundError, match="no earlier model"):
        drape("rollback")
    with pytest.raises(LauncherError, match=f"Its versions: {versions[0].name}"):
        drape("promote", "yolo11n-seg-v9-abcdef")


def test_prune_spares_what_works_and_where_it_came_from(registry: Registry, versions: list[Version]) -> None:
    drape("prune", "--keep", "1")
    assert [version.name for version in registry.versions(PROJECT)] == [version.name for version in versions[1:]]
    assert registry.champion(PROJECT) == versions[2]
    assert not any(entry.name.startswith(".gone") for entry in (registry.root / str(PROJECT)).iterdir())


def test_one_of_another_architecture_is_kept_with_the_yolo_that_is_trained_next(
    registry: Registry, versions: list[Version], tmp_path: Path
) -> None:
    line = versions[1]
    for number in range(2):
        line = add_colours(registry, PROJECT, tmp_path / str(number), classes=("saree", "belt"), parent=line)
    newest = add_colours(registry, PROJECT, tmp_path / "newest", classes=("saree", "belt"), parent=line)
    registry.promote(PROJECT, newest.name)
    assert "colours-seg-v7" in drape("list").output and "UTC from a comparison" in drape("show", "v7").output
    drape("prune", "--keep", "1")
    assert [version.number for version in registry.versions(PROJECT)] == [2, 5, 6, 7]
    assert registry.newest_yolo(registry.champion(PROJECT)) == versions[1]
    with pytest.raises(ModelError, match="no other network") as refused:
        drape("export", "v7", "--format", "onnx")
    assert str(newest.weights) in str(refused.value) and "network.xml" in str(refused.value)
    drape("rollback")
    assert registry.champion(PROJECT) == line


def test_export_gives_a_model_that_was_compared(
    registry: Registry, starter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How fast it is does not matter here.
    monkeypatch.setattr("training.model_export.compare.WARM_UP", 1)
    monkeypatch.setattr("training.model_export.compare.ROUNDS", 2)
    with pytest.raises(LauncherError, match="no model yet"):
        drape("export", "--format", "openvino")
    version = registry.add(
        PROJECT,
        weights=starter,
        classes=("saree",),
        parent=None,
        metrics={},
        annotations={},
        image_size_px=256,
        origin="starter",
    )
    registry.promote(PROJECT, version.name)
    said = drape("export", "--format", "openvino", "--to", str(tmp_path / "out")).output
    assert "relative speed" in said and (tmp_path / "out" / f"{version.name}_openvino_model").is_dir()
    with pytest.raises(LauncherError, match="not an empty folder"):
        drape("export", "v1", "--format", "openvino", "--to", str(tmp_path / "out"))


def test_without_a_model_it_says_so(registry: Registry) -> None:
    with pytest.raises(LauncherError, match="no model yet"):
        drape("list")
