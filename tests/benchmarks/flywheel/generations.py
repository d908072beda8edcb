"""A generation as a run keeps it."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.flywheel.generation import Generation, Judged, Plan
from benchmarks.flywheel.work import Work
from tests.benchmarks.flywheel.blocks import outlined

PLAN = Plan(data="", palette="", initial="", generations=1, labels=2, epochs=1, images=4, judged=3, side_px=64)


def generation(number: int, **facts: object) -> Generation:
    """Two images: of four garments one is kept, one fixed, one drawn, and one drawn by hand after six prompts."""
    alone = (outlined(0.5, 0.95), outlined(0.91))
    works = (
        Work(1, (outlined(shown=0.95), outlined(0.92, shown=0.87, relabelled=True)), alone, deleted=0),
        Work(2, (outlined(0.95), outlined(*[0.5] * 6)), (alone[0], outlined(*[0.5] * 6)), deleted=1),
    )
    judged = Judged(
        mask_map50_95=0.1 * number,
        shown_ious=(0.95, 0.87, 0.6, None),
        deleted=3,
        images=4,
        accepted_images=1,
        accepted_regions=2,
        right_regions=1,
        right_images=0,
    )
    usual = Generation(
        generation=number,
        version=f"v{number}" if number else "",
        promoted=number == 1,
        reason="It is better.",
        champion="v1" if number else "",
        training_seconds=90.0 if number else None,
        judged=judged,
        works=works,
    )
    return replace(usual, **facts)  # type: ignore[arg-type]
