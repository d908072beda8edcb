from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from backend.domain import LabelledMask
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.prompts import parse_context
from benchmarks.soak.load import context_of, polygons
from benchmarks.soak.overload import Overload
from benchmarks.soak.report import Report, latency_of, memory_of, sentences
from label_studio_config.palette_xml import GARMENTS, palette


def test_times_are_counted_and_ranked() -> None:
    found = latency_of([(0.0, float(ms)) for ms in range(1, 101)])
    assert (found.count, found.median_ms, found.most_ms) == (100, 50.5, 100.0)
    assert 95 < found.p95_ms < 96.1 and 99 < found.p99_ms < 100


# megabytes by seconds, what it grows by in an hour once it has settled
MEMORY = [
    (lambda at: 500.0, 0.0),
    (lambda at: 500 + at / 3600 * 100, 100.0),
    # what it takes before it has settled does not count
    (lambda at: 100.0 if at < 300 else 500.0, 0.0),
]


@pytest.mark.parametrize(("used", "grows"), MEMORY)
def test_memory_is_watched_once_it_has_settled(used: Callable[[int], float], grows: float) -> None:
    found = memory_of([(float(at), used(at)) for at in range(0, 900, 5)], settled_after_s=300)
    assert found.growth_mb_an_hour == pytest.approx(grows, abs=1e-6)
    assert found.last_mb >= found.settled_mb


def test_a_click_is_in_the_garment_and_names_it() -> None:
    mask = np.zeros((60, 90), bool)
    mask[10:50, 20:30] = True
    context = context_of(LabelledMask(mask, "saree"), seed=3)
    config = parse_label_config(palette(GARMENTS))
    prompt = parse_context(context, config, size_wh=(90, 60), example_tag="example")
    assert prompt.label == "saree"
    (point,) = prompt.points
    assert mask[int(point.y), int(point.x)] and point.positive


def test_outlines_alone_are_compared() -> None:
    line = [[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]]
    result = [{"type": "polygon", "value": {"points": line}}, {"type": "labels", "value": {"labels": ["saree"]}}]
    assert polygons(result) == [line]


def test_the_report_says_what_does_not_hold() -> None:
    over = Overload(300, 30.0, {200: 5, 503: 9}, {503: 4}, recovered_s=1.25)
    report = Report(
        machine="2 cores",
        annotators=30,
        minutes=15,
        idle_click_ms=100,
        idle_click_iou=0.9,
        taken={},
        memory={},
        load_average=3,
        submitted=10,
        imported=20,
        trainings=1,
        clicks_right=7,
        clicks_wrong=["task 3"],
        errors=[],
        broken=["2 tasks have no prediction."],
        problems=[],
        overload=over,
        settled_after_s=300,
        memory_mb={},
        latency_ms={},
    )
    text = "\n".join(sentences(report))
    assert "Broken invariant: 2 tasks have no prediction." in text and "Different answer: task 3" in text
    assert "{200: 5, 503: 9}" in text and "recovered after 1.2 s" in text
