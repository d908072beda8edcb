"""Trains the prompt network on annotated pictures: `make prompt-network DATA=folder`."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from backend.errors import DrapeError
from training.prompt_network.checkpoint import read_checkpoint
from training.prompt_network.crops import LEAST_PX
from training.prompt_network.evaluate import REPORTED_CLICKS, click_metrics, simulated_clicks
from training.prompt_network.export import export_network
from training.prompt_network.learner import Plan, train, trained_network
from training.prompt_network.pictures import Source, decode_pictures, open_pictures

console = Console()
MOST_CLICKS = 20


def main(
    data: Annotated[list[str], typer.Argument(help="Annotated sets, as `drape import` reads them; photographs first.")],
    labels: Annotated[
        Path | None, typer.Option(help="Label config: of the first set, only its labels are asked for.")
    ] = None,
    held_out: Annotated[int, typer.Option(min=1, help="The last so many pictures of each set only judge.")] = 150,
    into: Annotated[Path, typer.Option(help="The folder for checkpoint, log, curves and weights.")] = Path(
        "var/prompt-network"
    ),
    encoder: Annotated[str, typer.Option(help="timm's name of the encoder.")] = "mobilenetv4_conv_small",
    start: Annotated[
        Path | None, typer.Option(help="The .xml of an exported network to start from; none: random weights.")
    ] = None,
    dense_crops: Annotated[int, typer.Option(min=0, help="Crops of the pre-training on classes.")] = 200_000,
    prompt_crops: Annotated[int, typer.Option(min=1, help="Crops of the training on prompts.")] = 200_000,
    batch: Annotated[int, typer.Option(min=1, help="Crops of a step, in each process.")] = 16,
    processes: Annotated[int, typer.Option(min=1, help="Processes that train together.")] = 2,
    learning_rate: Annotated[float, typer.Option(help="The highest.")] = 0.001,
    decay: Annotated[float, typer.Option(help="Of the moving average of the weights.")] = 0.999,
    seed: Annotated[int, typer.Option(help="Of everything that is left to chance.")] = 0,
    bfloat16: Annotated[bool, typer.Option(help="Half precision: for processors with AMX or AVX512-BF16.")] = False,
    minutes: Annotated[float | None, typer.Option(help="Stop then; the same command goes on later.")] = None,
    report_every: Annotated[int, typer.Option(min=1, help="Crops between lines of the log.")] = 1_000,
    evaluate_every: Annotated[int, typer.Option(min=1, help="Crops between evaluations.")] = 10_000,
    monitored: Annotated[int, typer.Option(min=1, help="Held-out garments, or pictures, of each evaluation.")] = 120,
    judged: Annotated[
        int | None, typer.Option(help="Held-out garments at the end; none: all of the first set.")
    ] = None,
) -> None:
    """Trains from random or exported weights, or goes on; then judges and exports for OpenVINO."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    plan = Plan(
        encoder=encoder,
        start=str(start) if start else None,
        crops=(dense_crops, prompt_crops),
        batch=batch,
        processes=processes,
        learning_rate=learning_rate,
        decay=decay,
        seed=seed,
        bfloat16=bfloat16,
        minutes=minutes,
        checkpoint_every_s=180.0,
        report_every=report_every,
        evaluate_every=evaluate_every,
        monitored=monitored,
    )
    source = Source(tuple(data), held_out, str(labels) if labels else None)
    try:
        decode_pictures(source, into / "pictures")
        if train(plan, into):
            _judge_and_export(plan, source, into, judged)
        else:
            console.print(f"The time is up. The same command goes on from {into}.", markup=False)
    except DrapeError as e:
        console.print(str(e), style="red", markup=False)
        raise typer.Exit(1) from e
    except KeyboardInterrupt as e:
        console.print("Stopped. The same command goes on from the last checkpoint.")
        raise typer.Exit(1) from e


def _judge_and_export(plan: Plan, source: Source, into: Path, judged: int | None) -> None:
    pictures, network, checkpoint = open_pictures(into / "pictures"), trained_network(into), read_checkpoint(into)
    # The first set is what the network is for.
    targets = [
        target
        for target in pictures.targets(held_out=True, least_px=LEAST_PX)
        if pictures.entries[target.picture].set_number == 0
    ][:judged]
    runs = simulated_clicks(network, pictures, targets, most_clicks=MOST_CLICKS)
    metrics = click_metrics(runs, most_clicks=MOST_CLICKS)
    facts = {
        # Folders of this machine say nothing elsewhere.
        "trained_on": [Path(path).name for path in source.sets],
        "held_out": source.held_out,
        "start": Path(plan.start).name if plan.start else None,
        "plan": {name: value for name, value in asdict(plan).items() if name not in ("minutes", "start")},
        "minutes": round(checkpoint.minutes, 1) if checkpoint else None,
        "metrics": asdict(metrics),
    }
    export = export_network(network, into / "export", facts)
    ious = ", ".join(f"{iou:.1%} at {click}" for click, iou in zip(REPORTED_CLICKS, metrics.ious, strict=True))
    console.print(
        f"{metrics.garments} held-out garments: IoU {ious} clicks; {metrics.clicks_to_85:.1f} clicks to an IoU of 85 %."
    )
    console.print(
        f"{export.model}: {export.size_bytes / 1e6:.1f} MB, {export.click_ms:.0f} ms a click, {export.difference:.4f} "
        "from PyTorch at most.",
        markup=False,
    )
    (into / "runs.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    typer.run(main)
