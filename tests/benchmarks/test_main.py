from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from backend.errors import ModelError
from benchmarks import __main__ as bench
from benchmarks.table import Row, Timing, faster, timed

KEYS = {"name", "ours", "other", "ratio", "unit", "n"}


def sleepy() -> list[Row]:
    ours, other = timed(lambda number: None, 3), Timing(0.02, 0.03, 3)
    return [faster("a short sleep / a long sleep", ours, other)]


def missing() -> list[Row]:
    raise ModelError("There are no weights.")


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> tuple[CliRunner, typer.Typer]:
    quick = {"sleep": "quick.sleep", "missing": "quick.missing"}
    modules = {
        "quick.sleep": type("Part", (), {"measure": sleepy}),
        "quick.missing": type("Part", (), {"measure": missing}),
    }
    monkeypatch.setattr(bench, "PARTS", quick)
    monkeypatch.setattr("benchmarks.__main__.importlib.import_module", modules.__getitem__)
    app = typer.Typer()
    app.command()(bench.main)
    return CliRunner(), app


def test_one_part_prints_its_table_and_writes_its_json(runner: tuple[CliRunner, typer.Typer], tmp_path: Path) -> None:
    cli, app = runner
    page = tmp_path / "new" / "bench.md"
    answer = cli.invoke(app, ["--only", "sleep", "--into", str(page)])
    assert answer.exit_code == 0, answer.output
    (part,) = json.loads(page.with_suffix(".json").read_text())
    assert part["part"] == "sleep"
    assert f"{os.cpu_count()} cores" in part["machine"]
    (row,) = part["rows"]
    assert f"## sleep\n\n{part['date']}, commit {part['commit']}" in page.read_text()
    assert f"| {row['ratio']:.2f} | a short sleep / a long sleep |" in page.read_text()
    assert row.keys() >= KEYS
    assert row["unit"] == "ms" and row["n"] == 3
    assert row["ours"] < row["other"] and row["ratio"] == pytest.approx(row["other"] / row["ours"])
    assert row["ours"] <= row["ours_95"]
    assert "1 of 1, sleep" in answer.output and "a short sleep" in answer.output
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"bench.json", "bench.md"}


def test_a_part_that_cannot_run_is_named_and_the_others_run(
    runner: tuple[CliRunner, typer.Typer], tmp_path: Path
) -> None:
    cli, app = runner
    answer = cli.invoke(app, ["--into", str(tmp_path / "bench.md")])
    assert answer.exit_code == 0
    assert "missing is left out: There are no weights." in answer.output
    assert len(json.loads((tmp_path / "bench.json").read_text())) == 1


def test_nothing_measured_is_a_failure(runner: tuple[CliRunner, typer.Typer], tmp_path: Path) -> None:
    cli, app = runner
    assert cli.invoke(app, ["--only", "missing", "--into", str(tmp_path / "bench.md")]).exit_code == 1
    assert not (tmp_path / "bench.json").exists()


def test_an_unknown_part_is_refused_by_name(runner: tuple[CliRunner, typer.Typer]) -> None:
    cli, app = runner
    answer = cli.invoke(app, ["--only", "sam4"])
    assert answer.exit_code == 2
    assert "sam4" in answer.output and "missing" in answer.output


@pytest.mark.parametrize("module", sorted(bench.PARTS.values()))
def test_every_part_can_be_measured(module: str) -> None:
    assert callable(importlib.import_module(module).measure)
