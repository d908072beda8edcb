"""Turns the whole flywheel, with simulated annotators and a real everything else: `make flywheel DATA=folder`.

`drape up` runs in a folder of its own, with its Label Studio, its Redis, its backend and its workers, over a project
that has no model. Annotators label as Label Studio serves, prompting through its own interactive endpoint; its webhook
tells the backend, a count starts a training, the new model is judged, and where it is promoted it predicts what is
left; then they label more, correcting that. Nothing here starts a training. What is stopped goes on with the same
command; once it is finished, the command prints the tables again, at any prices.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from backend.detector.starter import STARTER
from backend.label_studio.label_config import parse_label_config
from benchmarks.command import exit_on_known_errors
from benchmarks.flywheel.generation import Plan, Run, read_run, save_run
from benchmarks.flywheel.photographs import draw_figures, open_photographs
from benchmarks.flywheel.prices import Prices, read_prices
from benchmarks.flywheel.report import all_tables, labelled, markdown, plot, terminal_table
from benchmarks.flywheel.turn import Flywheel, settings_for
from benchmarks.flywheel.work import TARGET_IOU
from benchmarks.photographs.palette_config import FIGURES, palette_of
from label_studio_config.palette_xml import palette
from launcher.stack.stack import Options, Stack
from launcher.stack.supervisor import free_port

RUN_FILE = "flywheel.json"
FLATTERED = (
    "The first model starts from the starter that comes with Drape, which was trained on photographs 1 to 700 of the "
    "street photographs: where these are labelled here, the first generations are better than on new photographs. "
    "--initial starts from other weights."
)


def go_on(run: Run, into: Path, console: Console, prices: Prices) -> Run:
    """Sets all of it up, turns it, and ends it; what is known is written after every image.

    Raises:
        DrapeError, LauncherError: something does not start, or a step failed.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    plan = run.plan
    label_config = palette(palette_of(plan.palette or FIGURES))
    console.print("Reading the photographs …")
    data = Path(plan.data) if plan.data else draw_figures(into / "figures", images=plan.images, judged=plan.judged)
    photographs = open_photographs(
        data,
        parse_label_config(label_config),
        into,
        images=plan.images,
        judged=plan.judged,
        unseen=plan.starter,
    )
    options = Options(
        studio_port=free_port(), redis_port=free_port(), images=photographs.folder, label_config=label_config
    )
    console.print("Starting Redis, Label Studio, the backend and its workers …")
    with (
        Stack(settings_for(plan, into / "data"), options).running() as ready,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        turned = run
        for turned in Flywheel(ready, photographs, plan, progress).turn(run):
            save_run(turned, into / RUN_FILE)
            _print_finished(turned, console, prices)
    return turned


def _print_finished(run: Run, console: Console, prices: Prices) -> None:
    generation = run.generations[-1]
    if len(generation.works) == run.plan.labels and not run.is_finished:
        by_hand, alone, flywheel = labelled(generation, target_iou=TARGET_IOU, prices=prices).seconds_an_image()
        console.print(
            f"Generation {generation.generation}: mask mAP50-95 {generation.judged.mask_map50_95:.3f}, an image "
            f"{flywheel:.0f} s, with prompts alone {alone:.0f} s, by hand {by_hand:.0f} s. {generation.reason}",
            markup=False,
        )


def main(
    context: typer.Context,
    data: Annotated[
        Path | None, typer.Argument(help="An annotated set, as `drape import` reads it; drawn figures without.")
    ] = None,
    palette_name: Annotated[
        str, typer.Option("--palette", help="The palette whose labels the garments get; `street` for a set.")
    ] = "",
    generations: Annotated[int, typer.Option(min=1, help="Trainings, one after another.")] = 6,
    labels: Annotated[int, typer.Option(min=2, help="Images that are labelled before each, and after the last.")] = 100,
    epochs: Annotated[int, typer.Option(min=1, help="The most epochs of each.")] = 1000,
    images: Annotated[
        int | None, typer.Option(min=1, help="Images that can be labelled, the set's first; as many as are, without.")
    ] = None,
    judged: Annotated[int, typer.Option(min=1, help="Images that judge, the set's last.")] = 150,
    initial: Annotated[str, typer.Option(help="What the first model starts from, as in YOLO11_BASE.")] = str(STARTER),
    starter: Annotated[
        bool, typer.Option("--starter", help="No training: images that judge are labelled with the starter's help.")
    ] = False,
    refine: Annotated[str, typer.Option(help="As in REFINE: off or builtin.")] = "off",
    side: Annotated[int, typer.Option(min=32, help="Image size of trainings and predictions, in pixels.")] = 256,
    price: Annotated[
        list[str] | None, typer.Option(help="Another price: key, point, click, look or by_hand, as look=1.2 (seconds).")
    ] = None,
    into: Annotated[Path, typer.Option(help="The folder for results and services; a run goes on there.")] = Path(
        "var/flywheel"
    ),
) -> None:
    """Turns the flywheel and tells what each generation is worth. Best alone on the machine."""
    if starter:
        for name in ("generations", "labels", "initial", "epochs"):
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter("With --starter nothing is trained.", param_hint=f"--{name}")
        if (images or 0) > judged:
            raise typer.BadParameter("With --starter only images that judge are labelled.", param_hint="--images")
        generations, labels = 0, images or judged
    needed = labels * (generations + 1)
    if images is not None and images < needed:
        raise typer.BadParameter(f"{needed} images are labelled.", param_hint="--images")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    console = Console(width=None if sys.stdout.isatty() else 200)
    started = time.monotonic()
    with exit_on_known_errors(console):
        prices = read_prices(price or [])
        plan = Plan(
            data=str(data.resolve()) if data else "",
            palette=palette_name or ("street" if data else ""),
            initial=initial,
            generations=generations,
            labels=labels,
            epochs=epochs,
            images=images or needed,
            judged=judged,
            side_px=side,
            starter=starter,
            refine=refine,
        )
        run = read_run(into / RUN_FILE, plan)
        if not run.is_finished:
            run = go_on(run, into.resolve(), console, prices)
    plot(run.generations, into / "flywheel.png", prices)
    for title, rows in all_tables(run.generations, prices):
        console.print(terminal_table(title, rows))
        console.print(markdown(rows), markup=False, highlight=False, soft_wrap=True)
    console.print(f"By the keystroke-level model, and measured waits: {prices}", markup=False, highlight=False)
    if initial == str(STARTER) and not starter:
        console.print(FLATTERED)
    minutes = (time.monotonic() - started) / 60
    console.print(f"{into / RUN_FILE} and {into / 'flywheel.png'} hold all of it; {minutes:.0f} minutes.")


if __name__ == "__main__":
    typer.run(main)
