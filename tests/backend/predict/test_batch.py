"""Whole images through the pipeline, with a detector that writes down what it saw in the detector's place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from backend.detector.clusters import Clusters
from backend.detector.detector_pool import DetectorPool
from backend.detector.sam_detectors import RefinedDetector
from backend.domain import Detection, LabelScore, Photo, Scene, Segment
from backend.errors import ModelError
from backend.images.fetch import ImageStore
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task
from backend.predict.batch import ActiveModel, Batch, Outcome
from backend.regions.decode import decode
from backend.registry.registry import Registry
from backend.segmenters.builtin.network import load_builtin
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from backend.settings import Settings
from tests.support import add_starter

CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/><PolygonLabels name="p" toName="image"><Label value="saree"/>'
    "</PolygonLabels></View>"
)


@dataclass
class Recording:
    """Finds a saree and a blouse in the left half of each image; slow in answering, quick in taking images."""

    seen: list[Photo] = field(default_factory=list)

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        for image in images:
            self.seen.append(image)
            mask = np.zeros(image.pixels.shape[:2], bool)
            mask[:, : mask.shape[1] // 2] = True
            other = ~mask
            number = len(self.seen)
            yield Scene(
                (Detection(mask, "saree", 0.9, 0.5), Detection(other, "blouse", 0.8)),
                np.array([number % 2, 1 - number % 2], np.float32),
            )


def current(detector: Recording, *, side_px: int | None = None, settings: Settings | None = None) -> ActiveModel:
    clusters = Clusters(np.eye(2, dtype=np.float32))
    return ActiveModel("v3", lambda _: detector, settings or Settings(), ("saree", "blouse"), 3, clusters, side_px)


@pytest.fixture
def batch(tmp_path: Path, files: tuple[str, Path]) -> Batch:
    settings = Settings(label_studio_url=files[0], data_dir=tmp_path)
    return Batch(
        settings,
        images=ImageStore(settings, bearer=lambda: "Bearer x"),
        detectors=DetectorPool(Registry(tmp_path), settings),
        segmenter=load_builtin,
        builtin=load_builtin,
    )


class Builtin(BuiltinSegmenter):
    """Drape's own, without its weights: it finds what is clicked."""

    def __init__(self) -> None:
        super().__init__(lambda _, maps: maps[0])


class Sam(Builtin):
    """Stands for SAM 2.1: it encodes images."""

    name = "sam2.1_b"

    def prepare(self, image: Photo) -> None: ...

    def finish(self) -> None: ...


class Sam3(Sam):
    """Stands for SAM 3: it reads words, too."""

    name = "sam3"

    def find_words(self, image: Photo, phrases: Sequence[str], *, min_score: float) -> list[Segment]:
        return []


# REFINE, what is loaded, whether its masks replace the detector's: None where that is an error
REFINERS = [
    ("off", Sam3, False),
    ("auto", Builtin, True),
    ("auto", Sam, True),
    ("auto", Sam3, True),
    ("sam", Sam, True),
    ("sam", Sam3, None),
    ("sam", Builtin, None),
    ("sam3", Sam3, True),
    ("sam3", Builtin, None),
    ("builtin", Builtin, True),
    ("builtin", Sam, True),
    ("builtin", Sam3, True),
]


@pytest.mark.slow
@pytest.mark.parametrize(("refine", "loaded", "refines"), REFINERS)
def test_masks_are_refined_by_the_model_that_is_asked_for(
    tmp_path: Path, starter: Path, refine: str, loaded: type[Builtin], refines: bool | None
) -> None:
    settings, registry = Settings(data_dir=tmp_path, device="cpu", refine=refine), Registry(tmp_path)
    registry.promote(1, add_starter(registry, 1, starter).name)
    batch = Batch(
        settings,
        images=ImageStore(settings, bearer=lambda: "Bearer x"),
        detectors=DetectorPool(registry, settings),
        segmenter=loaded,
        builtin=Builtin,
    )
    if refines is None:
        with pytest.raises(ModelError, match=f"REFINE={refine} asks for another model than '{loaded.name}'") as refused:
            batch.active_model(1)
        # It may be no mistake of the settings, but the first minutes of SAM_WEIGHTS=auto.
        assert "still downloading" in str(refused.value)
        return
    model = batch.active_model(1)
    assert model is not None
    assert isinstance(model.detector(CONFIG), RefinedDetector) == refines
    # A mask is refined at the full resolution.
    assert model.side_px == (None if refines else 256)


def put(files: tuple[str, Path], *names: str, size_wh: tuple[int, int] = (90, 60)) -> None:
    for name in names:
        Pillow.new("RGB", size_wh, (10, 200, 30)).save(files[1] / name)


def predict(
    batch: Batch, tasks: list[dict[str, str]], detector: Recording | None = None, *, deadline_s: float | None = None
) -> list[Outcome]:
    wanted = [Task(id=number, data=data) for number, data in enumerate(tasks)]
    return list(batch.predict(wanted, CONFIG, current(detector or Recording()), deadline_s=deadline_s))


def test_outcomes_come_in_the_order_of_the_tasks_whatever_fails(batch: Batch, files: tuple[str, Path]) -> None:
    put(files, *(f"{number}.png" for number in range(0, 24, 2)))
    (files[1] / "3.png").write_bytes(b"nothing")
    detector = Recording()
    outcomes = predict(batch, [{"image": f"/{number}.png"} for number in range(24)], detector)
    assert [outcome.task_id for outcome in outcomes] == list(range(24))
    assert [bool(outcome.prediction) for outcome in outcomes] == [True, False] * 12
    assert all(bool(outcome.problem) != bool(outcome.prediction) for outcome in outcomes)
    assert "not an image" in (outcomes[3].problem or "") and "answered 404" in (outcomes[5].problem or "")
    assert [image.source for image in detector.seen] == [f"/{number}.png" for number in range(0, 24, 2)]


def test_tasks_without_an_image_alone_are_outcomes_too(batch: Batch, files: tuple[str, Path]) -> None:
    outcomes = predict(batch, [{"text": "a"}, {"image": "/none.png"}])
    assert [outcome.problem is not None for outcome in outcomes] == [True, True]
    assert "no image under the key '$image'" in (outcomes[0].problem or "")


def test_a_prediction_has_scores_a_cluster_and_only_known_labels(batch: Batch, files: tuple[str, Path]) -> None:
    put(files, "a.png", "b.png")
    first, second = (outcome.prediction for outcome in predict(batch, [{"image": "/a.png"}, {"image": "/b.png"}]))
    assert first is not None and second is not None
    assert first.label_scores == (LabelScore("saree", 0.45),)
    assert (first.score, first.model_version) == (0.45, "v3")
    assert {first.cluster, second.cluster} == {300, 301}
    (mask,), problems = decode(first.regions)
    assert not problems and mask.label == "saree" and mask.score == 0.45


@dataclass
class Blind:
    """Finds nothing from the score that it is asked for; says how sure it was of each class."""

    class_scores: dict[str, float]

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        for _ in images:
            yield Scene((), class_scores=self.class_scores)


# confidence of the best candidate of each class → the image's score
BELOW = [
    ({"saree": 0.2, "shoe": 0.24, "blouse": 0.1}, 0.2),  # a shoe is no label of the project
    ({"saree": 0.01}, 0.01),
    ({"saree": 0.9}, 0.25),  # a speck, of which no region is left
    ({}, 0.0),
]


@pytest.mark.parametrize(("class_scores", "score"), BELOW)
def test_an_image_without_finds_has_the_score_of_the_best_below_the_threshold(
    batch: Batch, files: tuple[str, Path], class_scores: dict[str, float], score: float
) -> None:
    put(files, "a.png")
    model = ActiveModel("v3", lambda _: Blind(class_scores), Settings(), ("saree", "shoe", "blouse"), 3)
    (outcome,) = batch.predict([Task(id=1, data={"image": "/a.png"})], CONFIG, model)
    assert outcome.prediction is not None
    assert (outcome.prediction.score, outcome.prediction.regions) == (score, [])


def test_each_project_has_its_own_threshold(batch: Batch, files: tuple[str, Path], tmp_path: Path) -> None:
    put(files, "a.png")
    path = tmp_path / "projects.yaml"
    path.write_text("projects: {7: {model_score_threshold: 0.95}, 8: {model_score_threshold: 0.1}}")
    settings = Settings(project_settings=str(path))
    found = {}
    for project in (7, 8):
        asked = current(Recording(), settings=settings.for_project(project))
        (outcome,) = batch.predict([Task(id=1, data={"image": "/a.png"})], CONFIG, asked)
        found[project] = len(outcome.prediction.regions) if outcome.prediction else None
    assert found == {7: 0, 8: 1}


def test_regions_of_a_reduced_image_have_the_photographs_size(batch: Batch, files: tuple[str, Path]) -> None:
    put(files, "large.png", size_wh=(900, 600))
    detector = Recording()
    task = Task(id=1, data={"image": "/large.png"})
    (outcome,) = batch.predict([task], CONFIG, current(detector, side_px=90))
    assert detector.seen[0].size_wh == (90, 60)
    assert outcome.prediction is not None
    (mask,), _ = decode(outcome.prediction.regions)
    assert mask.mask.shape == (600, 900)
    assert mask.mask[:, :440].all() and not mask.mask[:, 460:].any()


def test_the_deadline_ends_it_after_the_first(batch: Batch, files: tuple[str, Path]) -> None:
    put(files, "a.png")
    tasks = [{"image": "/a.png"}] * 6
    assert [outcome.task_id for outcome in predict(batch, tasks, deadline_s=0.0)] == [0]
    assert len(predict(batch, tasks, deadline_s=60.0)) == 6
