"""Groups of images that look similar to a detector, so that annotators do not get similar images over and over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.cluster.vq import kmeans2

from backend.detector.runtimes.base import Floats
from backend.errors import ModelError

MAX_CLUSTERS = 32
# Label Studio takes the largest cluster number of a task's predictions, so a later version's numbers must be larger.
NUMBERS_PER_VERSION = 100


@dataclass(frozen=True)
class Clusters:
    """Centres of the groups, `float32 (groups, channels)`, of features that are normalised to length 1."""

    centres: Floats

    def nearest(self, features: Floats) -> int:
        """Returns the number, from 0, of the group to which an image with `features` `(channels,)` belongs."""
        return int(np.linalg.norm(self.centres - _normalised(features), axis=1).argmin())

    def number(self, features: Floats, *, version: int) -> int:
        """Returns the group's number, unique over all versions of a project; `version` counts from 1."""
        return version * NUMBERS_PER_VERSION + self.nearest(features)

    def save(self, path: Path) -> None:
        """Writes the centres to a file."""
        save_file({"centres": self.centres}, path)


def find_clusters(features: Floats) -> Clusters:
    """Groups `features` `(images, channels)` by direction, with k-means.

    The number of groups is the square root of half the number of images (Mardia et al. 1979, Multivariate Analysis), at
    most 32. The same features always give the same groups.
    """
    count = min(max(round(np.sqrt(len(features) / 2)), 1), MAX_CLUSTERS)
    # With fewer distinct images than groups, some groups would stay empty, and SciPy would warn.
    count = min(count, len(np.unique(features, axis=0)))
    centres, _ = kmeans2(_normalised(features), count, minit="++", iter=50, seed=0)
    return Clusters(np.ascontiguousarray(centres, np.float32))


def load_clusters(path: Path) -> Clusters | None:
    """Returns the clusters that `Clusters.save` wrote; None if the file does not exist.

    Raises:
        ModelError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        return Clusters(load_file(path)["centres"])
    except (SafetensorError, KeyError, OSError) as e:
        raise ModelError(f"The clusters of model version '{path.parent.name}' cannot be read.") from e


def _normalised(features: Floats) -> Floats:
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(length, 1e-9)
