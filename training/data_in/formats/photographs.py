"""Photographs without annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from training.data_in.annotated_image import AnnotatedImage, Source
from training.data_in.picture_folder import PictureFolder


def read_photographs(files: Sequence[Path], pictures: PictureFolder) -> Source:
    """Opens images, which are named by their paths below the folder."""
    images = (AnnotatedImage(pictures.picture(file)) for file in files)
    return Source(pictures.root.name, pictures.root, len(files), images)
