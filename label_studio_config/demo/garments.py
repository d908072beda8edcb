"""Outlines of garments on a pose. All but `sleeves` return closed outlines `(N, 2)` in pixels, x before y."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from label_studio_config.demo.canvas import Points, smooth
from label_studio_config.demo.pose import Point, Pose


def _mix(a: Point, b: Point, share: float) -> Point:
    return a + share * (b - a)


def _offset(point: Point, x: float, y: float, unit: float) -> Point:
    return point + unit * np.array([x, y])


def torso(pose: Pose, rng: np.random.Generator, *, length: float, ease: float, flare: float = 0.0) -> Points:
    """Returns a bodice from the shoulders down; `length` from there, `ease` and `flare` are in figure heights."""
    u = pose.unit
    (sl, sr), (hl, hr) = pose.shoulders, pose.hips
    neck = rng.uniform(0.035, 0.05)
    depth = rng.uniform(0.015, 0.06)
    hem_y = (sl[1] + sr[1]) / 2 + length * u
    waist_l, waist_r = _offset(pose.waist, -0.082 - ease, 0, u), _offset(pose.waist, 0.082 + ease, 0, u)
    # A hem above the waist is as wide as the waist; a lower one approaches the hips' width, and `flare` widens it.
    reach = np.clip((hem_y - pose.waist[1]) / max(hl[1] - pose.waist[1], 1), 0, 3)
    hem_l = np.array([_mix(waist_l, hl + [-ease * u, 0], min(reach, 1))[0] - flare * u * reach, hem_y])
    hem_r = np.array([_mix(waist_r, hr + [ease * u, 0], min(reach, 1))[0] + flare * u * reach, hem_y])
    outline = [
        _offset(pose.neck, -neck, 0.015, u),
        _offset(sl, -0.012 - ease / 2, 0.005, u),
        _offset(sl, 0.005 - ease, 0.085, u),
    ]
    if hem_y > pose.waist[1]:
        outline.append(waist_l)
    outline += [hem_l, hem_l, _mix(hem_l, hem_r, 0.5) + [0, 0.012 * u], hem_r, hem_r]
    if hem_y > pose.waist[1]:
        outline.append(waist_r)
    outline += [
        _offset(sr, -0.005 + ease, 0.085, u),
        _offset(sr, 0.012 + ease / 2, 0.005, u),
        _offset(pose.neck, neck, 0.015, u),
        _offset(pose.neck, 0, 0.015 + depth, u),
    ]
    return smooth(np.array(outline))


def sleeves(pose: Pose, *, share: float, ease: float) -> list[tuple[Points, npt.NDArray[np.float64]]]:
    """Returns both sleeves as limbs, joints `(N, 2)` and widths `(N,)`; they cover `share` of the arm, 0 to 1."""
    limbs = []
    for shoulder, elbow, wrist in zip(pose.shoulders, pose.elbows, pose.wrists, strict=True):
        start = _offset(shoulder, 0, 0.02, pose.unit)
        wide, narrow = (0.062 + ease) * pose.unit, (0.046 + ease) * pose.unit
        if share <= 0.5:
            joints, widths = [start, _mix(start, elbow, share * 2)], [wide, _width(wide, narrow, share)]
        else:
            joints, widths = [start, elbow, _mix(elbow, wrist, share * 2 - 1)], [wide, (wide + narrow) / 2, narrow]
        limbs.append((np.array(joints), np.array(widths)))
    return limbs


def _width(first: float, last: float, share: float) -> float:
    return first + (last - first) * share


def skirt(pose: Pose, rng: np.random.Generator, *, flare: float) -> Points:
    """Returns a saree's lower part or a long skirt, from the waist to the ankles."""
    u = pose.unit
    low = max(pose.ankles[0][1], pose.ankles[1][1]) + 0.012 * u
    left, right = pose.ankles[0][0] - flare * u, pose.ankles[1][0] + flare * u
    hem = [np.array([x, low + rng.normal(0, 0.006) * u]) for x in np.linspace(left, right, 6)]
    return smooth(
        np.array(
            [
                _offset(pose.waist, 0.088, 0.01, u),
                _offset(pose.waist, -0.088, 0.01, u),
                _offset(pose.hips[0], -0.045, 0.01, u),
                _mix(_offset(pose.hips[0], -0.045, 0, u), hem[0], 0.5),
                hem[0],
                *hem,
                hem[-1],
                _mix(_offset(pose.hips[1], 0.045, 0, u), hem[-1], 0.5),
                _offset(pose.hips[1], 0.045, 0.01, u),
            ]
        )
    )


def pallu(pose: Pose, rng: np.random.Generator, *, side: int) -> Points:
    """Returns a saree's end: from the far hip over the chest and the shoulder of `side` (-1 viewer's left, 1 right)."""
    u = pose.unit
    over = pose.shoulders[0 if side < 0 else 1]
    hip = pose.hips[1 if side < 0 else 0]
    broad = rng.uniform(0.07, 0.11)
    drop = rng.uniform(0.06, 0.16)
    return smooth(
        np.array(
            [
                _offset(over, side * -0.055, -0.008, u),
                _offset(over, side * 0.025, -0.004, u),
                _offset(over, side * 0.05, drop, u),
                _offset(pose.waist, side * 0.085, -0.03, u),
                _offset(pose.waist, side * 0.05, 0.05, u),
                _offset(hip, side * -0.035, 0.03, u),
                _offset(hip, side * -0.04, -0.04, u),
                _offset(pose.waist, side * -0.09, -0.01, u),
                _offset(_mix(over, pose.waist, 0.45), side * -broad, 0.0, u),
            ]
        )
    )


def pallu_tail(pose: Pose, rng: np.random.Generator, *, side: int) -> Points:
    """Returns the part of the pallu that hangs behind the arm and shows beside the body."""
    u = pose.unit
    over = pose.shoulders[0 if side < 0 else 1]
    long, wide = rng.uniform(0.35, 0.55), rng.uniform(0.05, 0.1)
    return smooth(
        np.array(
            [
                _offset(over, side * -0.03, 0.0, u),
                _offset(over, side * 0.04, 0.02, u),
                _offset(over, side * (0.05 + wide * 0.6), long * 0.55, u),
                _offset(over, side * (0.05 + wide), long, u),
                _offset(over, side * 0.0, long + 0.02, u),
                _offset(over, side * -0.03, long * 0.5, u),
            ]
        )
    )


def trousers(pose: Pose, rng: np.random.Generator) -> list[Points]:
    """Returns the seat and two legs, one garment in three outlines; at random churidar, straight or palazzo."""
    u = pose.unit
    knee, hem = ((0.035, 0.024), (0.045, 0.042), (0.062, 0.085))[int(rng.integers(3))]
    outlines = [
        smooth(
            np.array(
                [
                    _offset(pose.waist, -0.085, 0.02, u),
                    _offset(pose.hips[0], -0.042, 0.02, u),
                    _offset(pose.hips[0], 0.06, 0.08, u),
                    _offset(pose.hips[1], -0.06, 0.08, u),
                    _offset(pose.hips[1], 0.042, 0.02, u),
                    _offset(pose.waist, 0.085, 0.02, u),
                ]
            ),
            rounds=2,
        )
    ]
    for hip, joint, ankle, side in zip(pose.hips, pose.knees, pose.ankles, (-1, 1), strict=True):
        outlines.append(
            smooth(
                np.array(
                    [
                        _offset(hip, side * 0.042, -0.01, u),
                        _offset(hip, side * 0.042, 0.03, u),
                        _offset(joint, side * knee, 0, u),
                        _offset(ankle, side * hem, 0, u),
                        _offset(ankle, side * hem, 0.004, u),
                        _offset(ankle, -side * hem, 0.004, u),
                        _offset(ankle, -side * hem, 0, u),
                        _offset(joint, -side * knee, 0, u),
                        _offset(hip, -side * 0.07, 0.02, u),
                    ]
                ),
                rounds=2,
            )
        )
    return outlines


def jacket(pose: Pose, rng: np.random.Generator, *, length: float) -> list[Points]:
    """Returns two open fronts over the garments below, `length` figure heights down from the shoulders."""
    u = pose.unit
    gap = rng.uniform(0.012, 0.04)
    fronts = []
    for shoulder, hip, side in zip(pose.shoulders, pose.hips, (-1, 1), strict=True):
        hem = shoulder[1] + length * u
        outer = max(abs(hip[0] - pose.waist[0]) / u, 0.08) + 0.03
        fronts.append(
            smooth(
                np.array(
                    [
                        _offset(pose.neck, side * 0.035, 0.005, u),
                        _offset(shoulder, side * 0.018, 0.0, u),
                        _offset(shoulder, side * 0.012, 0.09, u),
                        _offset(pose.waist, side * (outer - 0.012), 0, u),
                        np.array([pose.waist[0] + side * outer * u, hem]),
                        np.array([pose.waist[0] + side * outer * u, hem]),
                        np.array([pose.waist[0] + side * (gap + 0.012) * u, hem + 0.01 * u]),
                        np.array([pose.waist[0] + side * (gap + 0.012) * u, hem + 0.01 * u]),
                        _offset(pose.waist, side * gap, 0, u),
                        _offset(pose.neck, side * (gap + 0.004), 0.09, u),
                    ]
                ),
                rounds=2,
            )
        )
    return fronts


def dupatta(pose: Pose, rng: np.random.Generator) -> list[Points]:
    """Returns a long scarf: a loop over both shoulders and the chest, and at random an end down each side."""
    u = pose.unit
    (sl, sr), wide = pose.shoulders, rng.uniform(0.028, 0.045)
    sag = rng.uniform(0.10, 0.2)
    loop = [
        _offset(sl, -0.02, -0.004, u),
        _offset(pose.neck, -0.05, 0.005 + sag * 0.5, u),
        _offset(pose.neck, 0, sag, u),
        _offset(pose.neck, 0.05, 0.005 + sag * 0.5, u),
        _offset(sr, 0.02, -0.004, u),
    ]
    thick = np.array([0.6, 0.9, 1.2, 0.9, 0.6]) * wide * u
    lower = [point + [0, extra] for point, extra in zip(loop, thick, strict=True)]
    upper = [point - [0, extra] for point, extra in zip(loop, thick, strict=True)]
    outlines = [smooth(np.array([*upper, *lower[::-1]]))]
    for shoulder, side in ((sl, -1), (sr, 1)):
        long = rng.uniform(0.25, 0.5)
        if rng.random() < 0.75:
            outlines.append(
                smooth(
                    np.array(
                        [
                            _offset(shoulder, side * -0.035, 0.0, u),
                            _offset(shoulder, side * 0.03, 0.0, u),
                            _offset(shoulder, side * (0.035 + wide), long * 0.6, u),
                            _offset(shoulder, side * (0.03 + wide), long, u),
                            _offset(shoulder, side * (0.03 - wide), long + 0.01, u),
                            _offset(shoulder, side * -0.03, long * 0.5, u),
                        ]
                    )
                )
            )
    return outlines


def shawl(pose: Pose, rng: np.random.Generator) -> Points:
    """Returns a broad cloth around shoulders and upper arms, one corner longer than the other, with a V at the neck."""
    u = pose.unit
    (sl, sr) = pose.shoulders
    short, long = rng.uniform(0.18, 0.3), rng.uniform(0.3, 0.5)
    left, right = (short, long) if rng.random() < 0.5 else (long, short)
    vee = rng.uniform(0.05, 0.14)
    corner_l, corner_r = _offset(sl, -0.035, left, u), _offset(sr, 0.035, right, u)
    hem = _mix(corner_l, corner_r, 0.5) + [0, rng.uniform(-0.06, 0.03) * u]
    outline = [
        _offset(pose.neck, -0.05, -0.004, u),
        _offset(sl, -0.02, -0.012, u),
        _offset(sl, -0.062, 0.05, u),
        _mix(_offset(sl, -0.062, 0.05, u), corner_l, 0.7),
        corner_l,
        corner_l,
        hem,
        corner_r,
        corner_r,
        _mix(_offset(sr, 0.062, 0.05, u), corner_r, 0.7),
        _offset(sr, 0.062, 0.05, u),
        _offset(sr, 0.02, -0.012, u),
        _offset(pose.neck, 0.05, -0.004, u),
        _offset(pose.neck, 0.0, vee, u),
        _offset(pose.neck, 0.0, vee, u),
    ]
    return smooth(np.array(outline), rounds=2)
