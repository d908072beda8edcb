"""`make bench-gpu` in its short form, on a CPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from benchmarks.gpu import __main__ as bench_gpu
from benchmarks.gpu.figures import Clock, Figure

app = typer.Typer()
app.command()(bench_gpu.main)


@pytest.mark.slow
def test_the_short_form_measures_every_part(tmp_path: Path) -> None:
    into = tmp_path / "figures.json"
    done = CliRunner().invoke(app, ["--short", "--device", "cpu", "--into", str(into)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    figures = [Figure(**one) for one in json.loads(into.read_text())]
    assert all(one.median > 0 and one.memory_mb is None for one in figures)
    rows = {(one.part, one.what, one.precision, one.batch): one for one in figures}
    assert len(rows) == len(figures)
    for precision in ("float32", "bfloat16"):
        for what in ("encode an image", "second click", "phrase"):
            assert ("SAM 3", what, precision, 1) in rows
        assert ("YOLO11n-seg", "training step, 128 px", precision, 2) in rows
    for batch in (1, 2):
        assert ("YOLO11n-seg", "network", "float32", batch) in rows
        # The same precision as what it is compared with; a batch rounds otherwise.
        alike = rows["YOLO11n-seg", "JPEG to regions, 2 megapixels", "float32", batch].equality
        assert alike is not None and alike > 0.99
    assert ("built-in", "first click", "float32, CPU", 1) in rows
    assert "CPU, torch" in done.output


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    for options in ([], ["--device", "cuda:0", "--short"]):
        done = CliRunner().invoke(app, [*options, "--into", str(tmp_path / "figures.json")])
        assert done.exit_code == 1 and "no NVIDIA GPU" in done.output


def test_a_part_that_fails_does_not_take_the_others_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> list[Figure]:
        raise RuntimeError("CUDA out of memory")

    for name in ("measure_networks", "measure_whole_path", "measure_training", "measure_sam3"):
        monkeypatch.setattr(bench_gpu, name, fails)
    monkeypatch.setattr(bench_gpu, "measure_builtin", lambda _: [Figure("p", "w", "float32", 1, 2.0, 3.0, "ms")])
    done = CliRunner().invoke(app, ["--short", "--device", "cpu", "--into", str(tmp_path / "figures.json")])
    assert done.exit_code == 1 and done.output.count("CUDA out of memory") == 4
    assert [one["median"] for one in json.loads((tmp_path / "figures.json").read_text())] == [2.0]


def test_the_clock_leaves_the_first_call_out() -> None:
    called: list[int] = []
    median, high = Clock("cpu", 3).milliseconds(called.append)
    assert called == [0, 1, 2, 3] and 0 <= median <= high
