"""Simulated annotators at a real Label Studio, with a real backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from backend.domain import LabelledMask, Outlining, Prediction
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.regions.decode import decode
from backend.regions.encode import encode
from benchmarks.flywheel.annotators import Annotators, regions_to_begin_with
from benchmarks.flywheel.matching import match
from benchmarks.flywheel.open_task import Region
from benchmarks.flywheel.work import MOST_PROMPTS, TARGET_IOU, Work
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import Backend, connect_backend
from tests.backend.conftest import PASSWORD, SECRET, USER, served, settings_with_label_studio
from tests.benchmarks.flywheel.blocks import region
from tests.conftest import Studio
from tests.projects import project_of_figures
from tests.support import iou, wait_for

CONFIG = parse_label_config(palette(GARMENTS))
EXACT = Outlining(tolerance_px=0, parts="joined")
# A figure with one garment a label.
SEED, VERSION = 29, "v1"


def regions_of(masks: list[LabelledMask]) -> list[Region]:
    return [part for one in masks for part in encode(one, CONFIG, outlining=EXACT, model_version=VERSION)]


def test_what_is_shown_is_as_it_was_but_for_what_is_relabelled_or_deleted() -> None:
    # A column off; under a wrong label; and a region of nothing.
    result = regions_of([region("saree", 11), region("kurta", 40, 15), region("top", 80, 8)])
    meant, left = match(decode(result)[0], [region("saree", 10), region("blouse", 40, 15)])
    shown = regions_to_begin_with(result, meant, left)
    assert shown[:2] == result[:2]
    assert [one.label for one in decode(shown)[0]] == ["saree", "blouse"]
    assert [part["id"] for part in shown] == [part["id"] for part in result[:4]]
    assert [part["value"].get("points") for part in shown] == [part["value"].get("points") for part in result[:4]]


@dataclass(frozen=True)
class Labelled:
    """An image that was labelled: what was shown, what is there, what was done, and what was submitted."""

    shown: list[Region]
    truth: list[LabelledMask]
    work: Work
    submitted: list[Region]


@pytest.fixture
def labelled(label_studio: Studio, redis_address: str, tmp_path: Path) -> Iterator[Labelled]:
    """A figure whose blouse is right, whose saree lacks its lower third, and where nothing is no jacket."""
    settings = settings_with_label_studio(
        label_studio, redis_address, tmp_path / "data", segmenter="builtin", polygon_parts="joined"
    )
    studio = LabelStudio(settings)
    project_id = project_of_figures(studio, label_studio.files / tmp_path.name, (SEED,), title=tmp_path.name)
    (task_id,) = studio.task_ids(project_id)
    figure = draw_figure(SEED)
    truth = [LabelledMask(one.mask, one.label) for one in figure.instances]
    by_label = {one.label: one.mask for one in truth}
    partly, nothing = by_label["saree"].copy(), np.zeros_like(by_label["saree"])
    rows = np.flatnonzero(partly.any(axis=1))
    partly[rows[2 * len(rows) // 3] :] = False
    nothing[:20, :20] = True
    found = [LabelledMask(partly, "saree", 0.8), LabelledMask(by_label["blouse"], "blouse", 0.9)]
    shown = regions_of([*found, LabelledMask(nothing, "jacket", 0.4)])
    studio.write_predictions(project_id, [(task_id, Prediction(shown, 0.4, VERSION))])
    studio.show_model_version(project_id, VERSION)
    with served(settings) as running:
        wait_for(lambda: running.service.interactive.segmenter.name == "builtin")
        backend = Backend(str(running.client.base_url), user=USER, password=PASSWORD, webhook_secret=SECRET)
        connect_backend(studio, project_id=project_id, backend=backend)
        with studio.api() as sdk:
            (connected,) = sdk.ml.list(project=project_id)
        config = parse_label_config(studio.project(project_id).label_config)
        names = {f"figure_{SEED:06d}.jpg": truth}
        annotators = Annotators(studio, project_id, int(connected.id or 0), config, EXACT, names)
        work = annotators.label_next()
        (task,) = studio.annotated_tasks(project_id)
        (annotation,) = task["annotations"]
        assert annotation["prediction"]["model_version"] == VERSION
        assert annotation["lead_time"] > 0
        # The page's draft has become the annotation.
        assert studio.send("GET", f"/api/tasks/{task_id}/drafts").json() == []
        yield Labelled(shown, truth, work, annotation["result"])


@pytest.mark.services
@pytest.mark.timeout(600)
def test_an_image_is_kept_fixed_drawn_and_deleted_through_label_studio(labelled: Labelled) -> None:
    garments = dict(zip([one.label for one in labelled.truth], labelled.work.garments, strict=True))
    alone = dict(zip([one.label for one in labelled.truth], labelled.work.alone, strict=True))
    masks = {one.label: one for one in decode(labelled.submitted)[0]}
    shown = {one.label: one for one in decode(labelled.shown)[0]}
    assert masks.keys() == garments.keys() and labelled.work.deleted == 1

    # Nobody touched the blouse.
    assert garments["blouse"].outcome(TARGET_IOU) == "kept" and not garments["blouse"].clicks
    blouse_id = shown["blouse"].region_id
    assert [one for one in labelled.submitted if one["id"] == blouse_id] == [
        one for one in labelled.shown if one["id"] == blouse_id
    ]
    # The saree is fixed in its place, by clicks that get better.
    saree = garments["saree"]
    assert saree.shown_iou is not None and saree.shown_iou < 0.8 and not saree.replaced
    assert saree.outcome(TARGET_IOU) == "fixed" and masks["saree"].region_id == shown["saree"].region_id
    assert iou(masks["saree"].mask, labelled.truth[[*garments].index("saree")].mask) >= TARGET_IOU
    # All else, and with prompts alone everything, is drawn from nothing.
    for label, one in [*alone.items(), *((label, one) for label, one in garments.items() if label not in shown)]:
        assert one.shown_iou is None and one.outcome(TARGET_IOU) in ("drawn", "by hand"), label
        assert 1 <= len(one.clicks) <= MOST_PROMPTS and all(click.wait_s > 0 for click in one.clicks)
