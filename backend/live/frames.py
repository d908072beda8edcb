"""Answers one frame: the bytes of a small picture become the garments that a version of the model sees in it.

Nothing is stored. `REFINE` does not apply: a SAM takes longer than a frame lasts, and keeps what it has encoded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from backend.detector.detector_pool import DetectorPool, LoadedDetector
from backend.domain import Image, LabelledMask
from backend.errors import NotFoundError
from backend.images.decode import decode_image
from backend.label_studio.label_colours import colour_of
from backend.label_studio.label_config import LabelConfig
from backend.predict.garments import lowest_threshold
from backend.regions.polygons import mask_to_outlines
from backend.regions.selection import select_garments
from backend.registry.registry import Registry
from backend.settings import Settings

# Two versions are compared; a third one takes the place of the one that was asked longest ago.
MAX_LOADED = 2
# Larger frames are reduced before the model sees them; their outlines are those of the whole frame.
SIDE_PX = 640

Point = tuple[float, float]


@dataclass(frozen=True)
class SeenGarment:
    """One garment in a frame.

    Attributes:
        label: as the label config spells it.
        colour: the label's, as CSS writes it.
        score: in `[0, 1]`.
        outlines: the closed lines around its parts, the largest first; points in pixels of the frame, x before y.
    """

    label: str
    colour: str
    score: float
    outlines: tuple[tuple[Point, ...], ...]


@dataclass(frozen=True)
class SeenFrame:
    """What a version sees in a frame of `width` times `height` pixels.

    Attributes:
        ms: milliseconds from the decoded frame to the outlines, without any wait.
        garments: the best score first.
    """

    version: str
    width: int
    height: int
    ms: float
    garments: tuple[SeenGarment, ...]


class Frames:
    """Answers frames, with two loaded versions at most beside those that predict for annotators. Thread-safe."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._settings = settings
        # A pool of its own: frames neither drop a project's model from memory, nor hold it while whole images wait.
        self.detectors = DetectorPool(registry, settings, max_loaded=MAX_LOADED)

    def see(self, project_id: int, config: LabelConfig, encoded: bytes, *, version_name: str = "") -> SeenFrame:
        """Returns what a version of the project's model sees in a picture.

        Args:
            config: the project's.
            encoded: the picture's file, in a format of `images.decode`.
            version_name: '' for the project's current version.

        Raises:
            ImageError: the file is no picture, is damaged, or has too many pixels.
            ModelError: there is no such version, or it does not load.
        """
        settings = self._settings.for_project(project_id)
        image = decode_image(encoded, source="frame", max_pixels=settings.image_max_pixels, side_px=SIDE_PX)
        loaded = self._loaded(project_id, version_name)
        started = time.perf_counter()
        garments = _garments(image, loaded, config, settings)
        seen = _drawn(garments, image, config, settings)
        ms = 1000 * (time.perf_counter() - started)
        width, height = image.original_wh or image.size_wh
        return SeenFrame(loaded.version.name, width, height, round(ms, 1), seen)

    def _loaded(self, project_id: int, version_name: str) -> LoadedDetector:
        loaded = self.detectors.for_project(project_id, version_name=version_name)
        if loaded is None:
            raise NotFoundError(f"Project {project_id} has no model yet.")
        return loaded


def _garments(image: Image, loaded: LoadedDetector, config: LabelConfig, settings: Settings) -> list[LabelledMask]:
    # A small frame is not enlarged to the model's own size: who sends one wants many a second.
    (scene,) = loaded.detector.detect(
        [image], min_score=lowest_threshold(config, settings), max_side_px=max(image.size_wh)
    )
    return select_garments(
        scene.detections, config, default_threshold=settings.model_score_threshold, max_regions=settings.max_regions
    )


def _drawn(
    garments: list[LabelledMask], image: Image, config: LabelConfig, settings: Settings
) -> tuple[SeenGarment, ...]:
    colours = {label: colour_of(number) for number, label in enumerate(config.label_values)}
    size = np.array(image.size_wh)
    scale = np.array(image.original_wh or image.size_wh) / size
    # All parts: what is cut out of the frame should not lack a sleeve.
    outlining = replace(settings.outlining, parts="each")
    seen = []
    for garment in garments:
        lines = [np.round(outline * scale, 1) for outline in mask_to_outlines(garment.mask, outlining)]
        outlines = tuple(tuple((float(x), float(y)) for x, y in line) for line in lines)
        if outlines:
            seen.append(SeenGarment(garment.label, colours[garment.label], garment.score or 0.0, outlines))
    return tuple(seen)
