"""What cannot become a task; test_routes.py stores one."""

from __future__ import annotations

import functools
from pathlib import Path

import cv2
import pytest

from backend.detector.detector_pool import DetectorPool
from backend.errors import DrapeError, ImageError, LabelConfigError, LabelStudioError, NotFoundError
from backend.images.fetch import ImageStore
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.live.tried import TriedPhotograph, store_tried
from backend.predict.batch import Batch
from backend.registry.registry import Registry
from backend.segmenters.builtin.network import load_builtin
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.support import add_starter

FIGURE = cv2.imencode(".jpg", draw_figure(700).pixels[..., ::-1])[1].tobytes()
NESTED = palette(GARMENTS).replace('value="$image"', 'value="$photo.url"')

# label config, project, name, file, what is raised, a part of the sentence
CASES: list[tuple[str, int, str, bytes, type[DrapeError], str]] = [
    (NESTED, 7, "a.jpg", FIGURE, LabelConfigError, r"under '\$photo.url'"),
    (palette(GARMENTS), 7, "a.tiff", FIGURE, ImageError, "takes no file of this type"),
    (palette(GARMENTS), 7, "a.jpg", b"no picture", ImageError, "'a.jpg' is not an image"),
    (palette(GARMENTS), 8, "a.jpg", FIGURE, NotFoundError, "has no model yet"),
    # Everything is in order, but for Label Studio, which does not answer.
    pytest.param(palette(GARMENTS), 7, "a.jpg", FIGURE, LabelStudioError, "does not answer", marks=pytest.mark.slow),  # type: ignore[list-item]
]


@pytest.mark.parametrize(("config", "project_id", "name", "encoded", "raised", "said"), CASES)
def test_it_says_why_there_is_no_task(
    tmp_path: Path,
    starter: Path,
    config: str,
    project_id: int,
    name: str,
    encoded: bytes,
    raised: type[DrapeError],
    said: str,
) -> None:
    settings = Settings(device="cpu", label_studio_url="http://127.0.0.1:1", label_studio_api_key="0" * 40)
    registry, studio = Registry(tmp_path / "models"), LabelStudio(settings)
    registry.promote(7, add_starter(registry, 7, starter).name)
    builtin = functools.cache(load_builtin)
    images = ImageStore(settings, bearer=studio.bearer)
    batch = Batch(
        settings, images=images, detectors=DetectorPool(registry, settings), segmenter=builtin, builtin=builtin
    )
    with pytest.raises(raised, match=said):
        store_tried(
            batch,
            studio,
            parse_label_config(config),
            TriedPhotograph(name, encoded),
            project_id=project_id,
            version_name="",
        )
