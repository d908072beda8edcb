"""Writes figures and photographs as files: for a demo project's storage, and as a YOLO data set.

`python -m label_studio_config.demo.write FOLDER` draws such a data set; what is there already is not drawn again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import typer

from backend.regions.polygons import joined_outline
from label_studio_config.demo.figures import LABELS, Figure, draw_figure

JPEG_QUALITY = 92
# How many pixels an outline in a YOLO label may be from its mask's edge: it needs no more detail.
OUTLINE_TOLERANCE_PX = 1.0
# No other figures of the project have these seeds.
DATA_SET_FROM = 300_000


def write_image(seed: int, folder: Path) -> Path:
    """Draws the figure of `seed` into `folder/figure_<seed>.jpg`, unless that file exists; returns its path."""
    path = folder / f"figure_{seed:06d}.jpg"
    if not path.exists():
        _save(draw_figure(seed), path)
    return path


def write_images(folder: Path, seeds: Iterable[int]) -> list[Path]:
    """Draws the figures of `seeds` into `folder` (made if missing); returns their paths in the order of `seeds`."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_image(seed, folder) for seed in seeds]


def write_photographs(folder: Path) -> list[Path]:
    """Copies the real photographs of people that Ultralytics' package ships into `folder`; returns their paths."""
    # Not imported: `drape up` would keep PyTorch's 500 MB for as long as it runs.
    spec = find_spec("ultralytics")
    assets = Path(spec.origin if spec and spec.origin else "").with_name("assets")
    folder.mkdir(parents=True, exist_ok=True)
    sources = sorted(assets.glob("*.jpg"))
    return [Path(shutil.copyfile(source, folder / f"photograph_{source.name}")) for source in sources]


def write_yolo_dataset(folder: Path, *, train_seeds: Sequence[int], val_seeds: Sequence[int]) -> Path:
    """Draws a YOLO segmentation data set on all cores; returns the path of its `data.yaml`."""
    with ProcessPoolExecutor() as pool:
        for part, seeds in (("train", train_seeds), ("val", val_seeds)):
            for kind in ("images", "labels"):
                (folder / kind / part).mkdir(parents=True, exist_ok=True)
            list(pool.map(partial(_write_example, folder=folder, part=part), seeds, chunksize=8))
    names = "\n".join(f"  {number}: {label}" for number, label in enumerate(LABELS))
    path = folder / "data.yaml"
    path.write_text(f"path: {folder.resolve()}\ntrain: images/train\nval: images/val\nnames:\n{names}\n")
    return path


def yolo_line(class_number: int, mask: npt.NDArray[np.bool_]) -> str:
    """Returns one line of a YOLO segmentation label: class, then one outline around all parts, as shares of the size.

    Args:
        mask: `bool (H, W)`, not empty; small holes are filled.
    """
    outline = joined_outline(mask, tolerance_px=OUTLINE_TOLERANCE_PX)
    height, width = mask.shape
    shares = np.clip(outline / (width, height), 0, 1)
    return f"{class_number} " + " ".join(f"{value:.5f}" for value in shares.ravel())


def _write_example(seed: int, folder: Path, part: str) -> None:
    name = f"figure_{seed:06d}"
    if (folder / "labels" / part / f"{name}.txt").exists():
        return
    figure = draw_figure(seed)
    _save(figure, folder / "images" / part / f"{name}.jpg")
    lines = [yolo_line(LABELS.index(instance.label), instance.mask) for instance in figure.instances]
    (folder / "labels" / part / f"{name}.txt").write_text("\n".join(lines) + "\n")


def _save(figure: Figure, path: Path) -> None:
    encoded = cv2.imencode(".jpg", figure.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    path.write_bytes(encoded.tobytes())


def main(folder: Path, train: int = 1350, val: int = 150) -> None:
    """Draws a data set of figures."""
    first_val = DATA_SET_FROM + train
    write_yolo_dataset(folder, train_seeds=range(DATA_SET_FROM, first_val), val_seeds=range(first_val, first_val + val))


if __name__ == "__main__":
    typer.run(main)
