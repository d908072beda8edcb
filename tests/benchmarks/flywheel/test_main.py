from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.detector.starter import STARTER
from backend.domain import LabelledMask, Outlining
from backend.label_studio.label_config import parse_label_config
from backend.regions.decode import decode
from backend.regions.encode import encode
from benchmarks.flywheel.__main__ import Size, efforts, settings_for
from benchmarks.flywheel.annotators import Costs, Effort, annotation_regions, correct
from benchmarks.flywheel.report import Generation, markdown, plot
from benchmarks.flywheel.vocabulary import NAMES, SEED, truth_renamed
from benchmarks.table import write_json
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.support import iou

CONFIG = parse_label_config(palette(GARMENTS))
HEIGHT, WIDTH = 60, 90


def region(label: str, left: int, width: int = 20, *, region_id: str | None = None) -> LabelledMask:
    """A block of 40 rows: one that is moved by a column of its 20 has IoU 19 / 21 with what it was."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:50, left : left + width] = True
    return LabelledMask(mask, label, region_id=region_id)


TRUTH = (region("saree", 10), region("blouse", 50))
LOOK = Costs().look

# what is shown, counts of kept, relabelled, redrawn, drawn and deleted, clicks and seconds besides the look
CORRECTIONS: list[tuple[tuple[LabelledMask, ...], tuple[int, int, int, int, int], Effort]] = [
    # nothing
    ((), (0, 0, 0, 2, 0), Effort(4, 10)),
    # all as it is
    (TRUTH, (2, 0, 0, 0, 0), Effort(0, 0)),
    # a border that is hardly off: IoU 0.905
    ((region("saree", 11), TRUTH[1]), (2, 0, 0, 0, 0), Effort(0, 0)),
    # a border that is off: IoU 0.82
    ((region("saree", 12), TRUTH[1]), (1, 0, 1, 0, 0), Effort(2, 5)),
    # too far off to be the garment: IoU 0.43
    ((region("saree", 18), TRUTH[1]), (1, 0, 0, 1, 1), Effort(3, 6.5)),
    # the wrong label
    ((region("kurta", 10), TRUTH[1]), (1, 1, 0, 0, 0), Effort(1, 2)),
    # the wrong label and the wrong border: deleted and drawn, which is quicker than to mend both
    ((region("kurta", 12), TRUTH[1]), (1, 0, 0, 1, 1), Effort(3, 6.5)),
    # one found nowhere
    ((*TRUTH, region("shawl", 75, 10)), (2, 0, 0, 0, 1), Effort(1, 1.5)),
    # one garment under two labels, the wrong one first: the right one stays
    ((region("kurta", 10), *TRUTH), (2, 0, 0, 0, 1), Effort(1, 1.5)),
    # one garment twice: the better one stays
    ((region("saree", 12), *TRUTH), (2, 0, 0, 0, 1), Effort(1, 1.5)),
    # labels exchanged: both borders are right
    ((region("blouse", 10), region("saree", 50)), (0, 2, 0, 0, 0), Effort(2, 4)),
]


@pytest.mark.parametrize(("shown", "counts", "effort"), CORRECTIONS)
def test_a_correction_costs_what_is_wrong(
    shown: tuple[LabelledMask, ...], counts: tuple[int, ...], effort: Effort
) -> None:
    found = correct(shown, TRUTH)
    assert tuple(map(len, (found.kept, found.relabelled, found.redrawn, found.drawn, found.deleted))) == counts
    assert found.effort() == LOOK + effort
    assert (found.shown, found.garments) == (len(shown), len(TRUTH))


def test_an_image_without_garments_is_looked_at() -> None:
    nothing = correct((), ())
    assert nothing.effort() == nothing.by_hand() == nothing.sam_alone() == LOOK


def test_other_ways_cost_the_same_whatever_is_shown() -> None:
    for shown, _, _ in CORRECTIONS:
        found = correct(shown, TRUTH)
        assert found.by_hand() == LOOK + Effort(100, 120)
        assert found.sam_alone() == LOOK + Effort(4, 10)


def test_other_costs_can_be_assumed() -> None:
    dear = Costs(look=Effort(0, 0), delete=Effort(3, 7))
    assert correct((*TRUTH, region("shawl", 75, 10)), TRUTH).effort(dear) == Effort(3, 7)


def test_means_are_over_images() -> None:
    with_model, by_hand, sam_alone = efforts([correct(TRUTH, TRUTH), correct((), TRUTH)])
    assert with_model == Effort(1 + 2, 2 + 5)
    assert (by_hand, sam_alone) == (Effort(101, 122), Effort(5, 12))


def test_what_is_submitted_is_what_the_clicks_leave() -> None:
    # Kept though a column off; under a wrong label; a wrong border; and a region of nothing.
    shown = (region("saree", 11), region("kurta", 40, 15), region("jacket", 58, 15), region("top", 80, 8))
    truth = (region("saree", 10), region("blouse", 40, 15), region("jacket", 60, 15), region("shawl", 2, 6))
    outlining = Outlining(tolerance_px=0)
    result = [part for one in shown for part in encode(one, CONFIG, outlining=outlining, model_version="v1")]
    seen, _ = decode(result)
    correction = correct(seen, truth)
    masks, problems = decode(annotation_regions(result, correction, CONFIG, outlining))
    assert not problems
    expected = {"saree": shown[0].mask, **{one.label: one.mask for one in truth[1:]}}
    assert {one.label for one in masks} == set(expected)
    for one in masks:
        assert iou(one.mask, expected[one.label]) == 1, one.label
    # What nobody drew anew is the region that was shown.
    assert {one.region_id for one in seen[:2]} == {one.region_id for one in masks if one.label in ("saree", "blouse")}


def generation(number: int, **facts: float | str | bool | None) -> Generation:
    usual = Generation(
        generation=number,
        version=f"v{number}" if number else "",
        promoted=number == 1,
        reason="It is better.",
        champion="v1" if number else "",
        labels=30 * number,
        mask_map50_95=0.1 * number,
        images_auto_acceptable=0.125,
        regions_auto_acceptable=0.0,
        clicks_an_image=7.5 - number,
        seconds_an_image=17.25,
        by_hand_clicks_an_image=151,
        by_hand_seconds_an_image=182,
        sam_alone_clicks_an_image=7,
        sam_alone_seconds_an_image=17,
        kept_share=0.5 if number else None,
        unseen_clicks_an_image=7,
        unseen_seconds_an_image=17,
        unseen_by_hand_seconds_an_image=182,
        unseen_sam_alone_seconds_an_image=17,
        training_seconds=61.4,
    )
    return replace(usual, **facts)  # type: ignore[arg-type]


def test_the_markdown_is_one_table_with_a_row_a_generation() -> None:
    lines = markdown([generation(0), generation(1), generation(2)]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(cells) == 5 and {len(row) for row in cells} == {len(cells[0])}
    assert set(cells[1]) == {"---"}
    assert [row[:4] for row in cells[2:]] == [
        ["0", "0", "", "0.000"],
        ["1", "30", "yes", "0.100"],
        ["2", "60", "no", "0.200"],
    ]
    assert "5.5 / 7.0 / 151" in cells[4] and "61 s" in cells[4] and "61 s" not in cells[2]


def test_the_figures_are_kept_as_a_list_and_plotted(tmp_path: Path) -> None:
    found = [generation(0), generation(1)]
    write_json(found, tmp_path / "flywheel.json")
    read = json.loads((tmp_path / "flywheel.json").read_text())
    assert [Generation(**one) for one in read] == found
    plot(found, tmp_path / "new" / "flywheel.png")
    drawn = cv2.imread(str(tmp_path / "new" / "flywheel.png"))
    assert drawn is not None and drawn.shape[1] > drawn.shape[0] and drawn.std() > 10


def test_the_model_that_training_starts_from_knows_none_of_the_labels() -> None:
    base = quiet_ultralytics().YOLO(STARTER, task="segment").model.float()
    quiet_ultralytics().utils.torch_utils.init_seeds(SEED, deterministic=True)
    # As Ultralytics' own trainer makes the model.
    model = quiet_ultralytics().nn.tasks.SegmentationModel(base.yaml, nc=len(NAMES), verbose=False)
    model.names = dict(enumerate(NAMES.values()))
    model.load(base, verbose=False)
    for new, old in zip(model.model[-1].cv3, base.model[-1].cv3, strict=True):
        rows, known = (part[-1].weight.detach().flatten(1)[: len(NAMES)].numpy() for part in (new, old))
        alike = (rows * known).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(known, axis=1)
        assert np.abs(alike).max() < 0.5
    # All else it takes over.
    assert np.array_equal(model.model[0].conv.weight.detach().numpy(), base.model[0].conv.weight.detach().numpy())


def test_only_the_names_differ_from_what_was_drawn() -> None:
    named = [one for one in draw_figure(1).instances if one.label in NAMES]
    for one, garment in zip(truth_renamed(1), named, strict=True):
        assert one.label == NAMES[garment.label]
        assert np.array_equal(one.mask, garment.mask)


# labels a generation, approved images that a training needs
NEEDED = [(6, 6), (30, 20)]


@pytest.mark.parametrize(("labels", "needed"), NEEDED)
def test_every_batch_starts_one_training(
    labels: int, needed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A service of one's own is left alone.
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://studio.example")
    monkeypatch.setenv("REDIS_URL", "redis://redis.example")
    settings = settings_for(Size(generations=5, labels=labels, epochs=3, images=100), tmp_path)
    assert (settings.retrain_after, settings.retrain_min_images) == (labels, needed)
    assert (settings.label_studio_url, settings.redis_url, settings.models_path) == ("", "", tmp_path / "models")
