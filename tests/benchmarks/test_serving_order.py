from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from backend.detector.clusters import NUMBERS_PER_VERSION, find_clusters
from backend.detector.detector_pool import DetectorPool
from backend.domain import Image
from backend.images.fetch import ImageStore
from backend.predict.batch import ActiveModel, Batch
from backend.registry.registry import Registry
from backend.segmenters.builtin.network import load_builtin
from backend.settings import Settings
from benchmarks.photographs.palette_config import palette_config
from benchmarks.serving_order import Curve, labels_for, labels_saved, mean_curve, score_and_group, served
from label_studio_config.demo.figures import draw_figure
from training.garment_base.photograph_set import load_weights


def test_the_cluster_annotated_least_is_served_first_and_in_it_the_lowest_score() -> None:
    scores, clusters = [0.9, 0.1, 0.5, 0.3, 0.7, 0.2], [0, 0, 0, 1, 1, 1]
    # One of cluster 0 is annotated: first one of cluster 1, then whichever has the lower score, then one of the other.
    assert served(scores, clusters, [1], 4) == [5, 3, 2, 4]


def test_images_of_the_same_score_are_served_in_their_order() -> None:
    assert served([0.0] * 4, [0] * 4, [0], 3) == [1, 2, 3]


def test_labels_between_two_rounds_are_read_from_a_straight_line() -> None:
    curve = Curve("by chance", 0, (50, 100, 150), (0.1, 0.2, 0.4))
    assert labels_for(curve, 0.1) == 50
    assert labels_for(curve, 0.3) == pytest.approx(125)
    assert labels_for(curve, 0.5) == math.inf


def test_orders_are_compared_at_the_best_that_both_reach() -> None:
    better = Curve("as served", 0, (50, 100), (0.1, 0.4))
    worse = Curve("by chance", 0, (50, 100), (0.1, 0.2))
    saved = labels_saved(better, worse)
    assert (saved.mask_map, saved.ours, saved.other) == pytest.approx((0.2, 50 + 50 / 3, 100))
    assert labels_saved(worse, better).ours == 100


def test_the_mean_of_an_order_is_over_its_seeds_alone() -> None:
    curves = [
        Curve("by chance", 0, (1, 2), (0.1, 0.2)),
        Curve("by chance", 1, (1, 2), (0.3, 0.4)),
        Curve("as served", 0, (1, 2), (0.9, 0.9)),
    ]
    assert mean_curve(curves, "by chance").maps == pytest.approx((0.2, 0.3))
    assert mean_curve(curves, "by chance", 1).maps == (0.3, 0.4)


@pytest.mark.slow
def test_images_have_the_score_and_the_cluster_of_their_predictions(starter: Path, tmp_path: Path) -> None:
    figures = [draw_figure(seed) for seed in range(6)]
    images = [Image(figure.pixels, str(number), "s") for number, figure in enumerate(figures)]
    detector = load_weights(starter, image_size_px=256)
    config, settings = palette_config("indo_western"), Settings()
    scores, clusters = score_and_group(detector, images, config, settings)
    assert len(set(clusters)) == 2
    store, pool = ImageStore(settings, bearer=lambda: ""), DetectorPool(Registry(tmp_path), settings)
    batch = Batch(settings, store, pool, load_builtin, load_builtin)
    scenes = list(detector.detect(images, min_score=0.25))
    found = find_clusters(np.stack([scene.features for scene in scenes if scene.features is not None]))
    model = ActiveModel("v1", lambda _: detector, settings, number=1, clusters=found)
    predictions = [batch.prediction(scene, model, config, None) for scene in scenes]
    assert scores == tuple(prediction.score for prediction in predictions)
    assert clusters == tuple((prediction.cluster or 0) - NUMBERS_PER_VERSION for prediction in predictions)
