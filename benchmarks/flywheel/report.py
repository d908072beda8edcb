"""What came of a flywheel, generation by generation: as tables, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from benchmarks.flywheel.generation import Generation, Judged
from benchmarks.flywheel.prices import Effort, Prices, Reviewed, all_by_hand, effort, reviewed, total
from benchmarks.flywheel.work import TARGETS

MODELS = (
    "generation",
    "labels",
    "promoted",
    "mask mAP50-95",
    *(f"kept / to fix / to draw at {target}" for target in TARGETS),
    "to delete, an image",
    "accepted images / regions",
    "of these right",
    "training",
)
WORK = (
    "generation",
    "images",
    "kept / fixed / drawn / by hand",
    "relabelled / deleted",
    "prompts a garment: flywheel / alone",
    "wait a prompt",
    "right without drawing by hand: flywheel / alone",
    "seconds an image: by hand",
    "prompts alone",
    "flywheel",
    "with the review sheet",
    "approved there / of these wrong",
)


@dataclass(frozen=True)
class Labelled:
    """What the images that were labelled in a generation took together, in each of three ways."""

    images: int
    by_hand: Effort
    alone: Effort
    flywheel: Effort
    sheet: Reviewed

    def seconds_an_image(self) -> tuple[float, float, float]:
        """Returns the seconds of an image by hand, with prompts alone and with the flywheel."""
        efforts = (self.by_hand, self.alone, self.flywheel)
        by_hand, alone, flywheel = (one.seconds / max(self.images, 1) for one in efforts)
        return by_hand, alone, flywheel


def labelled(generation: Generation, *, target_iou: float, prices: Prices) -> Labelled:
    """Returns what a generation's images took, until each garment had the target's IoU."""
    works = generation.works
    return Labelled(
        images=len(works),
        by_hand=total([all_by_hand(len(work.garments), prices) for work in works]),
        alone=total([effort(work.alone, deleted=0, target_iou=target_iou, prices=prices) for work in works]),
        flywheel=total(
            [effort(work.garments, deleted=work.deleted, target_iou=target_iou, prices=prices) for work in works]
        ),
        sheet=reviewed(works, target_iou=target_iou, prices=prices),
    )


def model_rows(generations: Sequence[Generation]) -> list[tuple[str, ...]]:
    """Returns a row of cells for each generation's model, as the photographs that judge show it."""
    rows: list[tuple[str, ...]] = []
    labels = 0
    for generation in generations:
        judged = generation.judged
        seconds = generation.training_seconds
        rows.append(
            (
                str(generation.generation),
                str(labels),
                "" if not generation.version else "yes" if generation.promoted else "no",
                f"{judged.mask_map50_95:.3f}",
                *(_left_to_do(judged, target) for target in TARGETS),
                f"{judged.deleted / max(judged.images, 1):.2f}",
                f"{_share(judged.accepted_images, judged.images)} / {_share(judged.accepted_regions, _shown(judged))}",
                f"{_share(judged.right_images, judged.accepted_images)} / "
                f"{_share(judged.right_regions, judged.accepted_regions)}",
                "" if seconds is None else f"{seconds / 60:.1f} min",
            )
        )
        labels += len(generation.works)
    return rows


def work_rows(generations: Sequence[Generation], *, target_iou: float, prices: Prices) -> list[tuple[str, ...]]:
    """Returns a row of cells for what annotators did in each generation, until each garment had the target's IoU."""
    rows: list[tuple[str, ...]] = []
    for generation in generations:
        found = labelled(generation, target_iou=target_iou, prices=prices)
        flywheel, alone = found.flywheel, found.alone
        by_hand_s, alone_s, flywheel_s = found.seconds_an_image()
        rows.append(
            (
                str(generation.generation),
                str(found.images),
                " / ".join(
                    f"{count:.0f}" for count in (flywheel.kept, flywheel.fixed, flywheel.drawn, flywheel.by_hand)
                ),
                f"{flywheel.relabelled:.0f} / {flywheel.deleted:.0f}",
                f"{_ratio(flywheel.prompts, flywheel.garments)} / {_ratio(alone.prompts, alone.garments)}",
                f"{1000 * (flywheel.wait_s + alone.wait_s) / max(flywheel.prompts + alone.prompts, 1):.0f} ms",
                f"{_share(flywheel.garments - flywheel.by_hand, flywheel.garments)} / "
                f"{_share(alone.garments - alone.by_hand, alone.garments)}",
                f"{by_hand_s:.0f}",
                f"{alone_s:.0f}",
                f"{flywheel_s:.0f}",
                f"{found.sheet.seconds / max(found.images, 1):.0f}",
                f"{_share(found.sheet.approved, found.images)} / {_share(found.sheet.wrong, found.sheet.approved)}",
            )
        )
    return rows


def all_tables(generations: Sequence[Generation], prices: Prices) -> list[tuple[str, list[tuple[str, ...]]]]:
    """Returns the tables, each with its title, its headings first."""
    return [
        ("the models, on the photographs that judge", [MODELS, *model_rows(generations)]),
        *(
            (
                f"the work, until each garment has IoU {target}",
                [WORK, *work_rows(generations, target_iou=target, prices=prices)],
            )
            for target in TARGETS
        ),
    ]


def terminal_table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """Returns a table for a terminal."""
    drawn = Table(*rows[0], title=title)
    for row in rows[1:]:
        drawn.add_row(*row)
    return drawn


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Returns the same table for a page of documentation."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(generations: Sequence[Generation], path: Path, prices: Prices) -> None:
    """Writes a PNG: over generations, how good the model is on the left, what an image takes on the right."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    good, seconds = figure.subplots(1, 2)
    numbers = [generation.generation for generation in generations]
    judged = [generation.judged for generation in generations]
    good.plot(numbers, [one.mask_map50_95 for one in judged], marker="o", label="mask mAP50-95")
    for target in TARGETS:
        kept = [_kept(one, target) / max(len(one.shown_ious), 1) for one in judged]
        good.plot(numbers, kept, marker="s", label=f"garments kept at IoU {target}")
    good.plot(
        numbers, [one.accepted_images / max(one.images, 1) for one in judged], marker="^", label="images accepted"
    )
    _finish(good, "share of those that judge, and mAP")
    good.set_ylim(-0.02, 1)
    for target, style in zip(TARGETS, ("-", "--"), strict=True):
        took = [labelled(generation, target_iou=target, prices=prices) for generation in generations]
        by_hand, alone, flywheel = zip(*(one.seconds_an_image() for one in took), strict=True)
        seconds.plot(numbers, flywheel, style, color="C0", marker="o", label=f"flywheel, IoU {target}")
        seconds.plot(numbers, alone, style, color="C1", marker="o", label=f"prompts alone, IoU {target}")
    seconds.plot(numbers, by_hand, color="C3", marker="o", label="by hand")
    _finish(seconds, "seconds an image")
    seconds.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _finish(axes: Axes, what: str) -> None:
    axes.set_xlabel("generation")
    axes.set_ylabel(what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _left_to_do(judged: Judged, target_iou: float) -> str:
    garments, kept = len(judged.shown_ious), _kept(judged, target_iou)
    found = sum(overlap is not None for overlap in judged.shown_ious)
    return " / ".join(_share(count, garments) for count in (kept, found - kept, garments - found))


def _kept(judged: Judged, target_iou: float) -> int:
    return sum(overlap is not None and overlap >= target_iou for overlap in judged.shown_ious)


def _shown(judged: Judged) -> int:
    return sum(overlap is not None for overlap in judged.shown_ious) + judged.deleted


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _ratio(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole else "-"
