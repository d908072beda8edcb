"""`make photographs DATA=folder`: how detectors learn from annotated photographs, and how they answer."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from backend.detector.starter import STARTER
from backend.segmenters.builtin.network import load_builtin
from backend.segmenters.loader import choose
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from benchmarks.command import exit_on_known_errors
from benchmarks.photographs.answers import draw_answers
from benchmarks.photographs.fixes import GOOD_IOUS, measure_fixes
from benchmarks.photographs.image_scores import FIRST_SHARE, measure_image_scores
from benchmarks.photographs.mask_parts import measure_parts
from benchmarks.photographs.order import CHANCE, ORDERS, SERVED, Comparison, Plan, Step, compare_orders, curves_of
from benchmarks.photographs.palette_config import palette_config
from benchmarks.photographs.recipes import RECIPES
from benchmarks.photographs.schedule import Result, Training, draw, judge_detector, train_once
from benchmarks.photographs.students import compare_students
from benchmarks.serving_order import Curve, labels_saved, mean_curve
from launcher.commands.options import split_list
from launcher.commands.project import DEFAULT_MINUTES, STUDENTS
from launcher.commands.score_table import show_students_scores
from training.evaluation.held_out import HeldOut
from training.finetuning.progress import TrainingProgress
from training.garment_base.photograph_set import load_weights, read_photographs
from training.students.project import Options
from training.students.roster import check_names

Data = Annotated[Path, typer.Argument(help="An annotated set of photographs, as `drape import` reads it.")]
Palette = Annotated[str, typer.Option(help="The palette whose labels the garments get.")]
TrainOn = Annotated[int, typer.Option(help="The first so many photographs train, all others judge.")]
Side = Annotated[int, typer.Option(help="The longer side of the photographs, in pixels.")]
# As large as photographs are in the street set: so many pixels have the masks that become polygons.
WHOLE_SIDE_PX = 832
Weights = Annotated[Path, typer.Option(help="The detector's weights, a `.pt` file.")]
Into = Annotated[Path, typer.Option(help="The folder for results and weights.")]

app = typer.Typer(no_args_is_help=True, add_completion=False)
console = Console()


@app.command()
def schedule(
    data: Data,
    palette: Palette = "street",
    train_on: TrainOn = 700,
    side: Side = 256,
    images: Annotated[list[int] | None, typer.Option(help="How many photographs a training sees.")] = None,
    seeds: Annotated[list[int] | None, typer.Option(help="The seeds of the trainings of each.")] = None,
    initial: Annotated[Path, typer.Option(help="Weights to start from.")] = STARTER,
    into: Into = Path("var/photographs"),
) -> None:
    """Trains on 100, 400 and 700 photographs by the product's own schedule, and judges on the others."""
    with exit_on_known_errors(console), TemporaryDirectory() as folder:
        config = palette_config(palette)
        found = read_photographs(data, config, side_px=side, folder=Path(folder))
        into.mkdir(parents=True, exist_ok=True)
        results: list[Result] = []
        for seed in seeds or (0, 1, 2):
            for number in images or (100, 400, 700):
                result = train_once(
                    Training(seed, side, initial),
                    draw(found[:train_on], number, seed=seed),
                    found[train_on:],
                    config,
                    Settings(),
                    weights_into=into / f"{number}-{seed}-{side}.pt",
                    report=_print_epoch,
                )
                results.append(result)
                console.print(result)
                # After each: what is measured stays, though a later training is stopped.
                (into / "schedule.json").write_text(json.dumps([asdict(one) for one in results], indent=1))
        console.print(_table("photographs", _by_number(results)))


@app.command()
def recipes(
    data: Data,
    palette: Palette = "street",
    train_on: TrainOn = 700,
    side: Side = 256,
    seeds: Annotated[list[int] | None, typer.Option(help="The seeds of the trainings by each recipe.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="The name of a recipe; all, without.")] = None,
    initial: Annotated[Path, typer.Option(help="Weights to start from.")] = STARTER,
    into: Into = Path("var/photographs"),
) -> None:
    """Compares recipes for few photographs: trains on all the first by each, and judges on the others."""
    names = [recipe.name for recipe in RECIPES]
    for name in only or ():
        if name not in names:
            raise typer.BadParameter(f"There is no recipe '{name}', only {', '.join(names)}.", param_hint="--only")
    with _judging(data, palette, train_on) as judge, TemporaryDirectory() as folder:
        config = palette_config(palette)
        found = read_photographs(data, config, side_px=side, folder=Path(folder))[:train_on]
        into.mkdir(parents=True, exist_ok=True)
        untrained = judge_detector(load_weights(initial, image_size_px=side), judge, config, Settings())
        console.print(f"Without training: mask mAP50 {untrained[0]}, mAP50-95 {untrained[1]}")
        results: dict[str, list[Result]] = {}
        chosen = [recipe for recipe in RECIPES if not only or recipe.name in only]
        for seed in seeds or (0,):
            for recipe in chosen:
                result = train_once(
                    Training(seed, side, initial),
                    found,
                    judge,
                    config,
                    recipe.apply(Settings()),
                    weights_into=into / f"{recipe.file_name}-{seed}.pt",
                    report=_print_epoch,
                )
                results.setdefault(recipe.name, []).append(result)
                console.print(recipe.name, result)
                kept = {name: [asdict(one) for one in same] for name, same in results.items()}
                (into / "recipes.json").write_text(json.dumps(kept, indent=1))
        console.print(_table("recipe", results))


@app.command()
def order(
    data: Data,
    palette: Palette = "street",
    train_on: TrainOn = 700,
    side: Side = 160,
    batch: Annotated[int, typer.Option(min=1, help="How many photographs are labelled in each round.")] = 50,
    rounds: Annotated[int, typer.Option(min=1, help="How many models are trained by each order.")] = 4,
    updates: Annotated[int, typer.Option(min=1, help="Weight updates of a training, as in TRAIN_UPDATES.")] = 250,
    seeds: Annotated[list[int] | None, typer.Option(help="The seeds of the trainings of each order.")] = None,
    orders: Annotated[list[str] | None, typer.Option(help=f"Compared with chance, of: {', '.join(ORDERS)}.")] = None,
    initial: Annotated[
        Path, typer.Option(help="Weights to start from. The starter has seen the street set.")
    ] = STARTER,
    into: Into = Path("var/photographs/order"),
) -> None:
    """Compares the order that Label Studio serves with chance: as many labels, which detector is better?

    A run that was stopped goes on where it was. With more rounds or orders it goes on, too.
    """
    for name in orders or ():
        if name not in ORDERS:
            raise typer.BadParameter(f"There is no order '{name}', only {', '.join(ORDERS)}.", param_hint="--orders")
    with exit_on_known_errors(console), TemporaryDirectory() as folder:
        config = palette_config(palette)
        found = read_photographs(data, config, side_px=side, folder=Path(folder))
        steps = compare_orders(
            Comparison(
                Plan(batch, updates, side, str(initial)),
                found[:train_on],
                found[train_on:],
                config,
                Settings(),
                into,
                _print_epoch,
            ),
            orders=(CHANCE, *(orders or (SERVED,))),
            seeds=seeds or (0, 1, 2),
            rounds=rounds,
            report=_print_step,
        )
        console.print(_orders_table(curves_of(steps)))


@app.command()
def students(
    data: Data,
    students: Annotated[str, typer.Option(help="The students, separated by commas.")] = STUDENTS,
    palette: Palette = "street",
    train_on: TrainOn = 700,
    side: Side = 256,
    minutes: Annotated[float | None, typer.Option(help="Minutes of training for each.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each, in place of minutes.")] = None,
    first: Annotated[int | None, typer.Option(help="Only so many photographs are read at all.")] = None,
    download: Annotated[bool, typer.Option(help="Get pretrained weights from the internet.")] = True,
    into: Into = Path("var/photographs/students"),
) -> None:
    """Compares architectures, as `drape compare` does: a table, bars and photographs in `comparison.html`."""
    with exit_on_known_errors(console):
        names, config = check_names(split_list(students)), palette_config(palette)
        found = read_photographs(data, config, side_px=side, folder=into / "pixels")[:first]
        options = Options(minutes if minutes or epochs else DEFAULT_MINUTES, epochs, side, download)
        failed = compare_students(names, found, config, options, train_on=train_on, into=into, report=_print_epoch_of)
        show_students_scores(into, console)
    for name, reason in failed.items():
        console.print(f"{name}: {reason}", style="red", markup=False)
    if failed:
        raise typer.Exit(1)


@app.command()
def mask_parts(
    data: Data,
    weights: Weights,
    palette: Palette = "street",
    train_on: TrainOn = 700,
    side: Side = 256,
) -> None:
    """Counts the polygons of detected garments, for several rules of which parts of a mask are left out."""
    with _judging(data, palette, train_on) as found:
        table = Table("crumbs below", "polygons", "median", "95th percentile", "most", "IoU", "lower", "higher", "n")
        for parts in measure_parts(weights, found, image_size_px=side, min_score=Settings().model_score_threshold):
            mean, median, high, most = parts.polygons
            table.add_row(
                f"{parts.crumb_share:.0%}",
                f"{mean:.2f}",
                f"{median:.0f}",
                f"{high:.0f}",
                f"{most:.0f}",
                f"{parts.iou:.4f}",
                f"{parts.lower:.1%}",
                f"{parts.higher:.1%}",
                str(parts.detections),
            )
        console.print(table)


@app.command()
def answers(
    data: Data,
    weights: Weights = STARTER,
    palette: Palette = "street",
    train_on: TrainOn = 700,
    side: Side = 256,
    photographs: Annotated[int, typer.Option(min=1, help="How many are drawn.")] = 12,
    into: Into = Path("var/photographs"),
) -> None:
    """Draws truth, one click, three clicks, and a detected mask before and after it is refined, in `answers.png`."""
    with _judging(data, palette, train_on) as found:
        into.mkdir(parents=True, exist_ok=True)
        settings = Settings()
        draw_answers(
            found[:: max(1, len(found) // photographs)][:photographs],
            choose(settings, Metrics()),
            load_weights(weights, image_size_px=side),
            into / "answers.png",
            min_score=settings.model_score_threshold,
        )
        console.print(f"Written to {into / 'answers.png'}", markup=False)


@app.command()
def fixes(
    data: Data,
    weights: Weights = STARTER,
    palette: Palette = "street",
    train_on: TrainOn = 700,
    side: Side = 256,
) -> None:
    """Measures what refining detected masks is worth, and clicks that fix them, with Drape's own network."""
    with _judging(data, palette, train_on) as found:
        detector = load_weights(weights, image_size_px=side)
        table = Table("masks", "IoU", *(f"at least {good}" for good in GOOD_IOUS), "n")
        for row in measure_fixes(detector, load_builtin(), found, min_score=Settings().model_score_threshold):
            table.add_row(row.name, f"{row.iou:.3f}", *(f"{share:.1%}" for share in row.good), str(row.garments))
        console.print(table)


@app.command()
def image_scores(
    data: Data,
    weights: Weights = STARTER,
    palette: Palette = "street",
    train_on: TrainOn = 700,
    side: Side = 256,
) -> None:
    """Measures what an image's score, by which Label Studio serves images, tells of the detector's mistakes there."""
    with _judging(data, palette, train_on) as found:
        detector = load_weights(weights, image_size_px=side)
        table = Table("score of an image", "correlation with F1", f"F1 of the lowest {FIRST_SHARE:.0%}", "F1 of all")
        for worth in measure_image_scores(detector, found, palette_config(palette), Settings()):
            table.add_row(worth.name, f"{worth.correlation:.2f}", f"{worth.first_f1:.3f}", f"{worth.f1:.3f}")
        console.print(table)


@contextmanager
def _judging(data: Path, palette: str, train_on: int) -> Iterator[list[HeldOut]]:
    """Yields the photographs that judge, at their own size; known errors end the command with a sentence."""
    with exit_on_known_errors(console), TemporaryDirectory() as folder:
        config = palette_config(palette)
        yield read_photographs(data, config, side_px=WHOLE_SIDE_PX, folder=Path(folder), first=train_on)


def _print_epoch_of(student: str, progress: TrainingProgress) -> None:
    console.print(f"{student}: {progress.losses}, ", end="", markup=False)
    _print_epoch(progress)


def _print_epoch(progress: TrainingProgress) -> None:
    console.print(f"epoch {progress.epoch} of {progress.epochs}, {progress.seconds_left / 60:.0f} minutes left")


def _print_step(step: Step) -> None:
    console.print(
        f"{step.order}, seed {step.seed}, {len(step.labelled)} labels: mask mAP50 {step.mask_map50}, mAP50-95 "
        f"{step.mask_map}"
    )


def _orders_table(curves: Sequence[Curve]) -> Table:
    """Returns a row of mask mAP50-95 for each order: the mean of its seeds, and each; last, the labels it saves."""
    counts = [f"{count} labels" for count in curves[0].labels]
    table = Table("order", *counts, "labels for the same, and by chance", title="mask mAP50-95: mean, and each seed")
    chance = mean_curve(curves, CHANCE)
    for order in dict.fromkeys(curve.order for curve in curves):
        mean = mean_curve(curves, order)
        of_seeds = zip(*(curve.maps for curve in curves if curve.order == order), strict=True)
        cells = [
            f"{value:.3f} ({', '.join(f'{one:.3f}' for one in each)})"
            for value, each in zip(mean.maps, of_seeds, strict=True)
        ]
        saved = labels_saved(mean, chance)
        table.add_row(order, *cells, f"{saved.ours:.0f}, {saved.other:.0f} (mAP {saved.mask_map:.3f})")
    return table


def _by_number(results: Sequence[Result]) -> dict[str, list[Result]]:
    by_number: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_number[str(result.images)].append(result)
    return by_number


def _table(first: str, results: Mapping[str, Sequence[Result]]) -> Table:
    """Returns a row of means for each group of trainings that differ only in their seed."""
    table = Table(first, "updates", "mask mAP50", "mask mAP50-95", "of each seed", "minutes")
    for name, same in results.items():
        table.add_row(
            name,
            str(same[0].updates),
            f"{np.mean([one.mask_map50 for one in same]):.3f}",
            f"{np.mean([one.mask_map for one in same]):.3f}",
            ", ".join(f"{one.mask_map50:.3f}" for one in same),
            f"{np.mean([one.minutes for one in same]):.0f}",
        )
    return table


if __name__ == "__main__":
    app()
