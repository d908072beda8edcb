"""Collects the contents of a version's report, and renders them as one self-contained HTML page."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import jinja2
from markupsafe import Markup

from backend.detector.average_precision import LabelMatches
from backend.domain import LabelledMask, Scene
from backend.errors import ReportError
from backend.label_studio.label_config import LabelConfig
from backend.predict.garments import lowest_threshold
from backend.regions.selection import select_garments
from backend.registry.records import REPORT, write_text
from backend.registry.registry import Version
from backend.registry.scores import read_scores
from backend.registry.verdict import Generation, Verdict, generations_of, read_verdict
from backend.settings import Settings
from backend.status.plots import generations_plot
from backend.templates import template
from training.evaluation.compact_scenes import CompactScenes
from training.evaluation.held_out import HeldOut
from training.evaluation.score import Evaluated
from training.metrics.matching import Confusion, agreement, confusion
from training.report.changes import Changes, changes_since_parent
from training.report.doubt_pictures import DoubtCard, doubt_card
from training.report.doubts import EvaluatedImage, find_doubts
from training.report.pictures import ReportPicture, colours_of, in_words, picture
from training.report.plots import confusion_plot, precision_plot
from training.report.score_table import ScoreTable, score_table

logger = logging.getLogger(__name__)

TEMPLATE = "report.html.jinja"
# The most images of each kind, and the most curves: a phone can still open a page of this size.
MAX_IMAGES = 12
MAX_CURVES = 24
# A detection with a lower score is ignored in the search for doubts.
MIN_DOUBT_SCORE = 0.05


@dataclass(frozen=True)
class Curve:
    """A label's precision-recall curve: its number of garments, AP50 in `[0, 1]`, and an `<svg>` element."""

    label: str
    garments: int
    ap50: float
    plot: Markup


@dataclass(frozen=True)
class ImageCard:
    """A held-out image: its ground truth, the detections, and their agreement in `[0, 1]`."""

    task_id: int
    score: float
    approved: ReportPicture
    found: ReportPicture


@dataclass(frozen=True)
class Report:
    """The contents of the page.

    Attributes:
        title: the project's title.
        verdict: None if the version was never evaluated.
        changes: None if the version has no parent, or the parent was deleted.
        worst, random: held-out images; no image is in both.
        tasks_url: a task's address in Label Studio without the task id; empty if the address is unknown.
    """

    title: str
    version: Version
    verdict: Verdict | None
    changes: Changes | None
    table: ScoreTable | None
    generations: tuple[Generation, ...]
    generations_plot: Markup
    curves: tuple[Curve, ...]
    confusion: Confusion
    confusion_plot: Markup
    images: int
    worst: tuple[ImageCard, ...]
    random: tuple[ImageCard, ...]
    doubts: tuple[DoubtCard, ...]
    tasks_url: str


def write_report(
    version: Version,
    *,
    versions: Sequence[Version],
    held_out: Sequence[HeldOut],
    evaluated: Evaluated,
    config: LabelConfig,
    title: str,
    settings: Settings,
) -> Path:
    """Writes the report atomically beside the version's weights, and returns its path.

    Args:
        version: evaluated already: its verdict and its metrics are read from its folder.
        versions: all versions of the project.
        held_out: images that the version was not trained on.
        evaluated: the version's evaluation on them.
        title: the project's title.

    Raises:
        ReportError: the report could not be made or stored; the message says why.
    """
    try:
        report = report_on(
            version,
            versions=versions,
            held_out=held_out,
            evaluated=evaluated,
            config=config,
            title=title,
            settings=settings,
        )
        path = write_text(version, REPORT, render(report))
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, MemoryError) as e:
        raise ReportError(f"The report on {version.name} could not be written: {e}") from e
    except (cv2.error, jinja2.TemplateError) as e:
        raise ReportError(f"The report on {version.name} could not be drawn: {e}") from e
    logger.info("The report on %s: %s", version.name, path)
    return path


def report_on(
    version: Version,
    *,
    versions: Sequence[Version],
    held_out: Sequence[HeldOut],
    evaluated: Evaluated,
    config: LabelConfig,
    title: str,
    settings: Settings,
) -> Report:
    """Collects the report's contents; the arguments are those of `write_report`."""
    threshold, max_regions = settings.model_score_threshold, settings.max_regions
    scenes, least = evaluated.detections, lowest_threshold(config, settings)

    # The masks of one image at a time: those of all images would take gigabytes.
    def garments_in(number: int) -> list[LabelledMask]:
        detections = scenes.above(number, least).detections
        return select_garments(detections, config, default_threshold=threshold, max_regions=max_regions)

    # Noted while the confusions are counted: each image's masks are decoded once.
    agreements: list[float] = []

    def compared() -> Iterator[tuple[Sequence[LabelledMask], Sequence[LabelledMask]]]:
        for number, held_out_image in enumerate(held_out):
            truth, garments = tuple(held_out_image.truth), garments_in(number)
            agreements.append(agreement(truth, garments))
            yield truth, garments

    colours = colours_of(config.label_values)
    scores = read_scores(version)
    counted = confusion(compared())
    generations = generations_of((each, read_verdict(each)) for each in versions)
    worst, random_images = _choose_images(agreements, version.name)

    def shown(numbers: Sequence[int]) -> tuple[ImageCard, ...]:
        return tuple(_image_card(held_out[number], garments_in(number), colours) for number in numbers)

    return Report(
        title=title,
        version=version,
        verdict=read_verdict(version),
        changes=changes_since_parent(version, versions),
        table=score_table(scores) if scores else None,
        generations=generations,
        generations_plot=Markup(generations_plot(generations, current=version.number)),
        curves=_curves(held_out, evaluated.matches),
        confusion=counted,
        confusion_plot=Markup(confusion_plot(counted)),
        images=len(held_out),
        worst=shown(worst),
        random=shown(random_images),
        doubts=tuple(
            doubt_card(doubt, held_out[doubt.image].image.pixels, colours)
            for doubt in find_doubts(_EvaluatedImages(held_out, scenes, config))
        ),
        tasks_url=_tasks_url(settings.label_studio_url, version.project_id),
    )


def render(report: Report) -> str:
    """Renders the page as HTML; escapes everything except Drape's own plots, because people choose the names."""
    page = template(Path(__file__).parent / TEMPLATE)
    return page.render(report=report, version=report.version, verdict=report.verdict)


@dataclass(frozen=True)
class _EvaluatedImages:
    """The images that doubts are looked for in, each made when it is its turn."""

    held_out: Sequence[HeldOut]
    scenes: CompactScenes
    config: LabelConfig

    def __iter__(self) -> Iterator[EvaluatedImage]:
        for number, held_out_image in enumerate(self.held_out):
            yield EvaluatedImage(
                held_out_image.task_id,
                held_out_image.annotation_id,
                # Decoded once: each region is looked at several times.
                tuple(held_out_image.truth),
                _doubt_candidates(self.scenes.above(number, MIN_DOUBT_SCORE), self.config),
            )


def _doubt_candidates(scene: Scene, config: LabelConfig) -> Scene:
    """Drops detections of classes that are no label of the config."""
    detections = [detection for detection in scene.detections if config.label_for(detection.class_name)]
    return replace(scene, detections=tuple(detections))


def _curves(held_out: Sequence[HeldOut], matches: Mapping[str, LabelMatches]) -> tuple[Curve, ...]:
    """Returns the curves of the labels with the most garments, in that order."""
    labels = (label for held_out_image in held_out for label in held_out_image.truth.labels)
    counts = Counter(label for label in labels if label in matches)
    curves = []
    for number, (label, count) in enumerate(counts.most_common(MAX_CURVES)):
        precision = matches[label].precisions()[0]
        curves.append(Curve(label, count, float(precision.mean()), Markup(precision_plot(precision, number=number))))
    return tuple(curves)


def _choose_images(scores: Sequence[float], name: str) -> tuple[list[int], list[int]]:
    """Returns the indices of the worst images, worst first, and of as many random others; `name` is the seed."""
    ranked = sorted(range(len(scores)), key=lambda number: scores[number])
    worst, rest = ranked[:MAX_IMAGES], ranked[MAX_IMAGES:]
    return worst, random.Random(name).sample(rest, min(MAX_IMAGES, len(rest)))


def _image_card(held_out_image: HeldOut, detections: Sequence[LabelledMask], colours: dict[str, str]) -> ImageCard:
    approved = picture(
        held_out_image.image.pixels, held_out_image.truth, colours, alt=f"Approved: {in_words(held_out_image.truth)}"
    )
    detected = picture(held_out_image.image.pixels, detections, colours, alt=f"Found: {in_words(detections)}")
    return ImageCard(held_out_image.task_id, agreement(held_out_image.truth, detections), approved, detected)


def _tasks_url(label_studio: str, project_id: int) -> str:
    return f"{label_studio.rstrip('/')}/projects/{project_id}/data?task=" if label_studio.startswith("http") else ""
