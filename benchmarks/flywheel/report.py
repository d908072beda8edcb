"""What came of a flywheel, generation by generation: as a table, as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from rich.table import Table


@dataclass(frozen=True)
class Generation:
    """One turn: a model is trained and judged, and people label the next images from what the champion predicts.

    Generation 0 is before any model. Effort is a mean over images. `…_an_image` is of those that were labelled in this
    generation, in the order that Label Studio served them, the least sure first; `unseen_…` is of the same figures in
    every generation, which nobody labels.

    Attributes:
        version: the one trained in this generation; '' in generation 0.
        promoted, reason: whether it became the champion, and why.
        champion: the one that predicts in this generation; '' where there is none.
        labels: approved images that it could be trained on.
        mask_map50_95: the champion's on the unseen figures, in `[0, 1]`.
        images_auto_acceptable, regions_auto_acceptable: share of the unseen figures, and of the regions found there,
            that the champion's calibrated gate would accept without a person, in `[0, 1]`.
        kept_share: share of the shown regions that stayed as they were; None where none was shown.
        training_seconds: of the whole job: data set, training, judging, calibration; 0 in generation 0.
    """

    generation: int
    version: str
    promoted: bool
    reason: str
    champion: str
    labels: int
    mask_map50_95: float
    images_auto_acceptable: float
    regions_auto_acceptable: float
    clicks_an_image: float
    seconds_an_image: float
    by_hand_clicks_an_image: float
    by_hand_seconds_an_image: float
    sam_alone_clicks_an_image: float
    sam_alone_seconds_an_image: float
    kept_share: float | None
    unseen_clicks_an_image: float
    unseen_seconds_an_image: float
    unseen_by_hand_seconds_an_image: float
    unseen_sam_alone_seconds_an_image: float
    training_seconds: float


# Heading, and what stands below it.
COLUMNS: tuple[tuple[str, Callable[[Generation], str]], ...] = (
    ("generation", lambda row: str(row.generation)),
    ("labels", lambda row: str(row.labels)),
    ("promoted", lambda row: "" if not row.version else "yes" if row.promoted else "no"),
    ("mask mAP50-95", lambda row: f"{row.mask_map50_95:.3f}"),
    (
        "auto-acceptable images / regions",
        lambda row: f"{row.images_auto_acceptable:.0%} / {row.regions_auto_acceptable:.0%}",
    ),
    ("regions kept", lambda row: "" if row.kept_share is None else f"{row.kept_share:.0%}"),
    (
        "clicks an image: flywheel / SAM alone / by hand",
        lambda row: (
            f"{row.clicks_an_image:.1f} / {row.sam_alone_clicks_an_image:.1f} / {row.by_hand_clicks_an_image:.0f}"
        ),
    ),
    (
        "seconds an image: flywheel / SAM alone / by hand",
        lambda row: (
            f"{row.seconds_an_image:.1f} / {row.sam_alone_seconds_an_image:.1f} / {row.by_hand_seconds_an_image:.0f}"
        ),
    ),
    (
        "seconds, unseen figures",
        lambda row: (
            f"{row.unseen_seconds_an_image:.1f} / {row.unseen_sam_alone_seconds_an_image:.1f} / "
            f"{row.unseen_by_hand_seconds_an_image:.0f}"
        ),
    ),
    ("training", lambda row: f"{row.training_seconds:.0f} s" if row.version else ""),
)


def table(generations: Sequence[Generation]) -> Table:
    """For a terminal."""
    drawn = Table(*(name for name, _ in COLUMNS), title="the flywheel")
    for generation in generations:
        drawn.add_row(*(cell(generation) for _, cell in COLUMNS))
    return drawn


def markdown(generations: Sequence[Generation]) -> str:
    """The same table for a page of documentation."""
    rows = [[name for name, _ in COLUMNS], ["---"] * len(COLUMNS)]
    rows += [[cell(generation) for _, cell in COLUMNS] for generation in generations]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def plot(generations: Sequence[Generation], path: Path) -> None:
    """Writes a PNG: over labels, how good the model is on the left, what an image takes on the right."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    good, effort = figure.subplots(1, 2)
    labels = [generation.labels for generation in generations]
    good.plot(labels, [generation.mask_map50_95 for generation in generations], marker="o", label="mask mAP50-95")
    kept = [generation for generation in generations if generation.kept_share is not None]
    good.plot(
        [generation.labels for generation in kept],
        [generation.kept_share for generation in kept],
        marker="s",
        label="shown regions kept",
    )
    good.plot(
        labels,
        [generation.images_auto_acceptable for generation in generations],
        marker="^",
        label="images auto-acceptable",
    )
    _finish(good, "on a scale from 0 to 1")
    good.set_ylim(-0.02, 1)
    lines = {
        "by hand": [generation.by_hand_seconds_an_image for generation in generations],
        "SAM alone": [generation.sam_alone_seconds_an_image for generation in generations],
        "flywheel": [generation.seconds_an_image for generation in generations],
        "flywheel, unseen figures": [generation.unseen_seconds_an_image for generation in generations],
    }
    for name, seconds in lines.items():
        effort.plot(labels, seconds, marker="o", label=name)
    # By hand takes ten times as long: on a linear scale the others would be one line.
    effort.set_yscale("log")
    for ticks in (effort.yaxis.set_major_formatter, effort.yaxis.set_minor_formatter):
        ticks(StrMethodFormatter("{x:.0f}"))
    _finish(effort, "simulated seconds an image")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _finish(axes: Axes, what: str) -> None:
    axes.set_xlabel("approved images")
    axes.set_ylabel(what)
    axes.grid(alpha=0.3)
    axes.legend()
