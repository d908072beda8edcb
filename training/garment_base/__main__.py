"""Trains the starter on annotated sets: `make garment-base DATA=folder`."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from backend.errors import DatasetError, DrapeError
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.settings import Settings
from backend.storage.atomic_files import write_atomically
from training.evaluation.held_out import HeldOut
from training.evaluation.score import evaluate_detector
from training.garment_base.photograph_set import load_weights, read_photographs, write_dataset
from training.garment_base.stages import Epoch, Stage, train_stages

app = typer.Typer(add_completion=False)
console = Console()
# No picture is reduced below what the last stage sees, mosaics enlarged by half included.
LONGEST_SIDE_PX = 640
# The size at which the result is better, though the last stage sees more.
IMAGE_SIZE_PX = 256
STAGES = (Stage(256, 50, 0.001), Stage(320, 18, 0.0006))


@dataclass(frozen=True)
class _Set:
    path: Path
    config: LabelConfig
    train: list[HeldOut]
    judge: list[HeldOut]


@app.command()
def main(
    data: Annotated[list[Path], typer.Argument(help="Annotated sets, as `drape import` reads them.")],
    labels: Annotated[list[Path], typer.Option(help="The label config of each set, in the same order.")],
    held_out: Annotated[int, typer.Option(min=1, help="The last so many pictures of each set only judge.")] = 150,
    initial: Annotated[str, typer.Option(help="Weights to start from; the default starts at random.")] = (
        "yolo11n-seg.yaml"
    ),
    epochs: Annotated[list[int] | None, typer.Option(help="Epochs of each stage.")] = None,
    into: Annotated[Path, typer.Option(help="The folder for pictures, curves and weights.")] = Path("var/garment-base"),
) -> None:
    """Trains in two stages, judges on held-out pictures of each set, and writes the weights with their facts."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    numbers = epochs or [stage.epochs for stage in STAGES]
    stages = [replace(stage, epochs=number) for stage, number in zip(STAGES, numbers, strict=False)]
    try:
        if len(labels) != len(data):
            raise DatasetError(f"There are {len(data)} sets but {len(labels)} label configs: give --labels for each.")
        sets = [
            _read(path, config, held_out, into / "pixels" / str(number))
            for number, (path, config) in enumerate(zip(data, labels, strict=True))
        ]
        shutil.rmtree(into / "set", ignore_errors=True)
        dataset = write_dataset(
            _numbered([one.train for one in sets]),
            _numbered([one.judge for one in sets]),
            list(dict.fromkeys(label for one in sets for label in one.config.label_values)),
            into / "set",
            image_size_px=IMAGE_SIZE_PX,
        )
        weights = train_stages(dataset, stages, initial=initial, folder=into.resolve(), report=_print)
        facts = _judge(sets, weights)
    except DrapeError as e:
        console.print(str(e), style="red", markup=False)
        raise typer.Exit(1) from e
    facts |= {
        "trained_on": {one.path.name: len(one.train) for one in sets},
        "initial": Path(initial).name,
        "stages": [asdict(stage) for stage in stages],
        "image_size_px": IMAGE_SIZE_PX,
        "classes": list(dataset.manifest.classes),
    }
    _write_without_folders(weights, into / "starter.pt")
    write_atomically(into / "starter.json", json.dumps(facts, indent=1) + "\n")
    console.print_json(data=facts)


def _write_without_folders(weights: Path, into: Path) -> None:
    """Writes the weights without the folders of this machine, which Ultralytics keeps in them."""
    content = torch.load(weights, map_location="cpu", weights_only=False)
    for args in (content["train_args"], content["model"].args):
        for name in ("model", "data", "project", "save_dir"):
            args[name] = str(args.get(name) or "").rpartition("/")[2]
    content["model"].pt_path, content["git"] = into.name, None
    torch.save(content, into)


def _read(path: Path, labels: Path, held_out: int, pixels: Path) -> _Set:
    try:
        config = parse_label_config(labels.read_text(encoding="utf-8"))
    except OSError as e:
        raise DatasetError(f"The label config {labels} cannot be read: {e.strerror}.") from e
    pixels.mkdir(parents=True, exist_ok=True)
    found = read_photographs(path, config, side_px=LONGEST_SIDE_PX, folder=pixels)
    if len(found) <= held_out:
        raise DatasetError(f"{path} has {len(found)} pictures, of which {held_out} would be held out: none is left.")
    return _Set(path, config, found[:-held_out], found[-held_out:])


def _numbered(groups: Sequence[Sequence[HeldOut]]) -> list[HeldOut]:
    """Returns the pictures of all sets together, each with a number of its own."""
    everything = [one for group in groups for one in group]
    return [replace(one, task_id=number, annotation_id=number) for number, one in enumerate(everything, start=1)]


def _judge(sets: Sequence[_Set], weights: Path) -> dict[str, Any]:
    detector = load_weights(weights, image_size_px=IMAGE_SIZE_PX)
    judged = {}
    for one in sets:
        scores = evaluate_detector(
            detector,
            one.judge,
            one.config,
            labels=one.config.label_values,
            min_score=Settings().model_score_threshold,
        ).scores
        judged[one.path.name] = {
            "held_out": len(one.judge),
            "mask_map50": round(scores.mask_map50 or 0.0, 4),
            "mask_map50_95": round(scores.mask_map or 0.0, 4),
        }
    return {"judged": judged}


def _print(epoch: Epoch) -> None:
    stage, metrics = epoch.stage, f", mask {epoch.metrics}" if epoch.metrics else ""
    console.print(
        f"{stage.side_px} pixels, epoch {epoch.number} of {stage.epochs}: {epoch.losses}{metrics}", markup=False
    )


if __name__ == "__main__":
    app()
