"""What is known of each generation of a flywheel, and the file that it is kept in, so that a run can go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from backend.errors import DatasetError
from backend.storage.atomic_files import write_atomically
from benchmarks.flywheel.work import Work


@dataclass(frozen=True)
class Plan:
    """How much is done, and with what.

    Attributes:
        data: the annotated set; '' for drawn figures.
        palette: the palette's name; '' for the labels of the drawn figures.
        initial: what the first model starts from, as in `YOLO11_BASE`.
        generations: trainings, one after another.
        labels: images that are labelled before each training, and once more after the last.
        epochs: the most of each training.
        images: how many images of the set can be labelled, from its first on.
        judged: how many judge, from its last back.
        side_px: image size of trainings and predictions.
        starter: the starter is the model from the beginning, and the images that judge are labelled.
        refine: as in `REFINE`.
    """

    data: str
    palette: str
    initial: str
    generations: int
    labels: int
    epochs: int
    images: int
    judged: int
    side_px: int
    starter: bool = False
    refine: str = "off"


@dataclass(frozen=True)
class Judged:
    """What a model did with the photographs that judge.

    Attributes:
        mask_map50_95: in `[0, 1]`; 0 without a model.
        shown_ious: for each garment, the IoU of the region that an annotator would keep or fix; None where none was.
        deleted: regions that an annotator would delete.
        images: how many photographs there are.
        accepted_images, accepted_regions: what the calibrated gate would accept without a person.
        right_regions: accepted regions that are right, as `AUTO_ACCEPT_IOU` means it.
        right_images: accepted images in which every region is right, and no garment is missing.
    """

    mask_map50_95: float
    shown_ious: tuple[float | None, ...]
    deleted: int
    images: int
    accepted_images: int
    accepted_regions: int
    right_regions: int
    right_images: int


@dataclass(frozen=True)
class Generation:
    """One turn: a model is trained and judged, and people label the next images from what the champion predicts.

    Generation 0 is before any model.

    Attributes:
        version: the one trained in this generation; '' in generation 0.
        promoted, reason: whether it became the champion, and why.
        champion: the one that predicts in this generation; '' where there is none.
        training_seconds: of the whole job: data set, training, judging, calibration; None where it is not known.
        works: the images that were labelled in this generation, in the order in which Label Studio served them.
    """

    generation: int
    version: str
    promoted: bool
    reason: str
    champion: str
    training_seconds: float | None
    judged: Judged
    works: tuple[Work, ...] = ()


@dataclass(frozen=True)
class Run:
    """A flywheel as far as it has turned."""

    plan: Plan
    generations: tuple[Generation, ...] = ()
    is_finished: bool = False


_JSON = TypeAdapter(Run)


def save_run(run: Run, path: Path) -> None:
    """Writes a run, whole or not at all."""
    write_atomically(path, _JSON.dump_json(run, indent=1))


def read_run(path: Path, plan: Plan) -> Run:
    """Returns the run that is kept in a file, or a new one where there is none; it may go on for more generations.

    Raises:
        DatasetError: the file is damaged, or is of another plan.
    """
    if not path.exists():
        return Run(plan)
    try:
        kept = _JSON.validate_json(path.read_bytes())
    except ValidationError as e:
        raise DatasetError(f"{path} cannot be read: {e}. Name another folder with --into, or remove this one.") from e
    if replace(kept.plan, generations=plan.generations) != plan:
        raise DatasetError(
            f"{path.parent} holds a run with other options ({kept.plan}). Repeat them to go on with it, name another "
            "folder with --into, or remove this one."
        )
    return replace(kept, plan=plan, is_finished=kept.is_finished and plan.generations <= kept.plan.generations)
