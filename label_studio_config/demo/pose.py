"""The joints of a figure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Point = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Joints in pixels, x before y; 'left' is the viewer's left. `unit` is the figure's height in pixels."""

    unit: float
    head: Point
    neck: Point
    shoulders: tuple[Point, Point]
    elbows: tuple[Point, Point]
    wrists: tuple[Point, Point]
    waist: Point
    hips: tuple[Point, Point]
    knees: tuple[Point, Point]
    ankles: tuple[Point, Point]


def draw_pose(rng: np.random.Generator, *, foot: Point, unit: float) -> Pose:
    """Draws a standing figure, `unit` pixels high, with its feet near `foot`."""
    lean = rng.normal(0, 0.035)
    shift = rng.normal(0, 0.02)

    def at(x: float, y: float) -> Point:
        # In figure heights: y above the ground, x to the viewer's right; the lean grows with y.
        return np.array([foot[0] + unit * (x + lean * y + shift * (0.5 - abs(y - 0.5))), foot[1] - unit * y])

    half_shoulder, half_hip = rng.uniform(0.105, 0.13), rng.uniform(0.07, 0.09)
    stance = rng.uniform(0.03, 0.10)
    tilt = rng.normal(0, 0.012)
    shoulders = (at(-half_shoulder, 0.815 + tilt), at(half_shoulder, 0.815 - tilt))
    elbows, wrists = zip(
        *(_arm(rng, shoulder, side, unit) for shoulder, side in zip(shoulders, (-1, 1), strict=True)), strict=True
    )
    step = rng.normal(0, 0.015, 2)
    return Pose(
        unit=unit,
        head=at(rng.normal(0, 0.01), 0.925),
        neck=at(0.0, 0.845),
        shoulders=shoulders,
        elbows=(elbows[0], elbows[1]),
        wrists=(wrists[0], wrists[1]),
        waist=at(0.0, 0.61),
        hips=(at(-half_hip, 0.52), at(half_hip, 0.52)),
        knees=(at(-stance - 0.01, 0.28 + step[0]), at(stance + 0.01, 0.28 + step[1])),
        ankles=(at(-stance, 0.05 + max(step[0], 0)), at(stance, 0.05 + max(step[1], 0))),
    )


def _arm(rng: np.random.Generator, shoulder: Point, side: int, unit: float) -> tuple[Point, Point]:
    # Angles in radians from straight down: arm hanging, hand on hip, forearm across the body, or arm raised.
    upper, lower = ((0.16, 0.05), (0.75, -0.75), (0.3, -1.3), (1.4, 2.2))[int(rng.choice(4, p=(0.5, 0.2, 0.2, 0.1)))]
    upper, lower = upper + rng.normal(0, 0.1), lower + rng.normal(0, 0.15)
    elbow = shoulder + 0.165 * unit * np.array([side * np.sin(upper), np.cos(upper)])
    wrist = elbow + 0.15 * unit * np.array([side * np.sin(lower), np.cos(lower)])
    return elbow, wrist
