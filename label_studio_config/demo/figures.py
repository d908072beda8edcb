"""Whole pictures: people in layers of garments, with the exact mask of each garment, visible and whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from backend.regions.polygons import outline_to_mask
from label_studio_config.demo import garments
from label_studio_config.demo.canvas import Canvas, Points, ellipse, smooth
from label_studio_config.demo.fabric import Fabric, draw_fabric, plain
from label_studio_config.demo.pose import Pose, draw_pose
from label_studio_config.demo.scene import draw_background, draw_furniture, draw_prop, light

LABELS = ("saree", "blouse", "kurta", "bottoms", "jacket", "shawl", "dupatta", "top")
# Parts of a saree, which lie on it: labels of their own in `Figure.layers` only.
PARTS = ("pallu", "border")
# The pallu's darker rim, which `Canvas.fill` paints that wide.
BORDER_PX = 8
SIZES_WH = ((480, 640), (540, 720), (512, 704), (600, 640), (720, 540), (640, 560))
SKIN = ((241, 205, 178), (224, 180, 146), (198, 148, 112), (164, 114, 82), (122, 82, 58), (92, 60, 44))
# A person would not label a garment that covers less than this share of the picture.
MIN_SHARE = 0.0012


@dataclass(frozen=True)
class Instance:
    """One garment, or a part of one, and its mask: `bool (H, W)`."""

    label: str
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Figure:
    """One picture.

    Attributes:
        pixels: `uint8 (H, W, 3)`, RGB.
        instances: the visible part of each garment, back to front; no two share a pixel.
        layers: the same garments whole, also where others hide them, and each saree's `PARTS` after it; they overlap.
        seed: what it is drawn from.
    """

    pixels: npt.NDArray[np.uint8]
    instances: tuple[Instance, ...]
    layers: tuple[Instance, ...]
    seed: int


@dataclass
class _Wardrobe:
    """Paints garments on a canvas, and numbers them in that order; `pallus`: number → outline of that saree's pallu."""

    canvas: Canvas
    labels: list[str] = field(default_factory=list)
    pallus: dict[int, Points] = field(default_factory=dict)

    def wear(
        self,
        label: str,
        fabric: Fabric,
        outlines: list[Points],
        limbs: list[tuple[Points, npt.NDArray[np.float64]]] | None = None,
    ) -> None:
        self.labels.append(label)
        owner = len(self.labels)
        for outline in outlines:
            self.canvas.fill(outline, fabric, owner=owner, shade=9.0)
        for joints, widths in limbs or []:
            self.canvas.limb(joints, widths, fabric, owner=owner)


def draw_figure(seed: int) -> Figure:
    """Draws the picture of `seed`, with the same pixels and masks wherever it is drawn."""
    rng = np.random.default_rng(seed)
    width, height = SIZES_WH[int(rng.integers(len(SIZES_WH)))]
    canvas = Canvas(draw_background(rng, width=width, height=height))
    draw_furniture(canvas, rng)
    wardrobe = _Wardrobe(canvas)
    for x_unit, unit in _places(rng, width=width, height=height):
        foot = np.array([x_unit * width, height * rng.uniform(0.93, 0.99)])
        pose = draw_pose(rng, foot=foot, unit=unit * height)
        OUTFITS[int(rng.choice(len(OUTFITS), p=OUTFIT_SHARES))](wardrobe, pose, rng)
    if rng.random() < 0.3:
        draw_prop(canvas, rng)
    least = MIN_SHARE * width * height
    masks = [(label, canvas.owner == number) for number, label in enumerate(wardrobe.labels, start=1)]
    instances = tuple(Instance(label, mask) for label, mask in masks if np.count_nonzero(mask) >= least)
    return Figure(pixels=light(canvas.pixels, rng), instances=instances, layers=_layers(wardrobe), seed=seed)


def _layers(wardrobe: _Wardrobe) -> tuple[Instance, ...]:
    layers = []
    for number, label in enumerate(wardrobe.labels, start=1):
        whole = wardrobe.canvas.whole[number]
        layers.append(Instance(label, whole))
        if number in wardrobe.pallus:
            height, width = whole.shape
            pallu = outline_to_mask(wardrobe.pallus[number], size_wh=(width, height))
            inside = cv2.erode(pallu.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=BORDER_PX) > 0
            layers += [Instance("pallu", pallu), Instance("border", pallu & ~inside)]
    return tuple(layers)


def _places(rng: np.random.Generator, *, width: int, height: int) -> list[tuple[float, float]]:
    """Returns where people stand, as a share of the picture's width, and their height, as a share of its height."""
    if rng.random() < (0.55 if width > height else 0.15):
        gap = rng.uniform(0.16, 0.24) * min(height / width * 1.3, 1.4)
        return [(0.5 - gap, rng.uniform(0.78, 0.92)), (0.5 + gap, rng.uniform(0.78, 0.92))]
    return [(rng.uniform(0.4, 0.6), rng.uniform(0.82, 0.95))]


def _body(canvas: Canvas, pose: Pose, rng: np.random.Generator) -> Fabric:
    """Paints the hair behind, legs, trunk, neck and head; returns the skin for the arms, which are painted later."""
    u = pose.unit
    skin = plain(SKIN[int(rng.integers(len(SKIN)))])
    hair = plain(tuple(np.array([38.0, 28.0, 24.0]) * rng.uniform(0.6, 1.7)))
    if rng.random() < 0.6:
        long = rng.uniform(0.05, 0.16)
        canvas.fill(ellipse(pose.head + [0, long * u * 0.6], np.array([0.055 * u, 0.05 * u + long * u])), hair, shade=6)
    for hip, knee, ankle in zip(pose.hips, pose.knees, pose.ankles, strict=True):
        canvas.limb(np.array([hip, knee, ankle]), np.array([0.07, 0.052, 0.036]) * u, skin)
        canvas.fill(ellipse(ankle + [0, 0.025 * u], np.array([0.026, 0.018]) * u), plain((60.0, 42.0, 34.0)), shade=3)
    (sl, sr), (hl, hr) = pose.shoulders, pose.hips
    canvas.fill(
        smooth(np.array([sl, sr, pose.waist + [0.07 * u, 0], hr, hl, pose.waist - [0.07 * u, 0]])), skin, shade=8
    )
    canvas.limb(np.array([pose.head, pose.neck + [0, 0.02 * u]]), np.array([0.045, 0.055]) * u, skin)
    canvas.fill(ellipse(pose.head, np.array([0.045, 0.062]) * u), skin, shade=10)
    canvas.fill(ellipse(pose.head - [0, 0.045 * u], np.array([0.047, 0.028]) * u), hair, shade=6)
    for side in (-1, 1):
        canvas.fill(
            ellipse(pose.head + np.array([side * 0.017, 0.004]) * u, np.array([0.006, 0.004]) * u),
            plain((30.0, 22.0, 20.0)),
        )
    canvas.fill(ellipse(pose.head + np.array([0, 0.034]) * u, np.array([0.012, 0.004]) * u), plain((150.0, 60.0, 60.0)))
    return skin


def _arms(canvas: Canvas, pose: Pose, skin: Fabric, sides: tuple[int, ...] = (0, 1)) -> None:
    for side in sides:
        joints = np.array([pose.shoulders[side] + [0, 0.02 * pose.unit], pose.elbows[side], pose.wrists[side]])
        canvas.limb(joints, np.array([0.05, 0.042, 0.034]) * pose.unit, skin)
        canvas.fill(
            ellipse(pose.wrists[side] + [0, 0.014 * pose.unit], np.array([0.02, 0.028]) * pose.unit), skin, shade=4
        )


def _straight(fabric: Fabric, rng: np.random.Generator) -> Fabric:
    return fabric.draped(fold_angle=rng.normal(0, 0.12), fold_px=rng.uniform(14, 30))


def _saree(wardrobe: _Wardrobe, pose: Pose, rng: np.random.Generator) -> None:
    skin = _body(wardrobe.canvas, pose, rng)
    cloth = draw_fabric(rng)
    side = int(rng.choice([-1, 1]))
    pleats = cloth.draped(fold_angle=rng.normal(0, 0.1), fold_px=rng.uniform(9, 20), folds=rng.uniform(0.1, 0.24))
    sash = cloth.draped(fold_angle=side * rng.uniform(0.6, 1.0), fold_px=rng.uniform(12, 24))
    _arms(wardrobe.canvas, pose, skin)
    blouse = draw_fabric(rng)
    wardrobe.wear(
        "blouse",
        blouse,
        [garments.torso(pose, rng, length=rng.uniform(0.13, 0.17), ease=0.004)],
        garments.sleeves(pose, share=rng.uniform(0.15, 0.5), ease=0.004),
    )
    parts = [garments.skirt(pose, rng, flare=rng.uniform(0.04, 0.09))]
    wardrobe.wear("saree", pleats, parts)
    owner = len(wardrobe.labels)
    outlines = [garments.pallu(pose, rng, side=side)]
    wardrobe.pallus[owner] = outlines[0]
    if rng.random() < 0.7:
        outlines.append(garments.pallu_tail(pose, rng, side=side))
    for outline in outlines:
        wardrobe.canvas.fill(outline, sash, owner=owner, shade=float(BORDER_PX))
    if rng.random() < 0.3:
        _arms(wardrobe.canvas, pose, skin, sides=(0 if side > 0 else 1,))
    if rng.random() < 0.15:
        _wrap(wardrobe, pose, rng)


def _kurta(wardrobe: _Wardrobe, pose: Pose, rng: np.random.Generator) -> None:
    skin = _body(wardrobe.canvas, pose, rng)
    wardrobe.wear("bottoms", _straight(draw_fabric(rng), rng), garments.trousers(pose, rng))
    _arms(wardrobe.canvas, pose, skin)
    length, flare = rng.uniform(0.36, 0.6), rng.uniform(0.0, 0.03)
    body = garments.torso(pose, rng, length=length, ease=rng.uniform(0.008, 0.025), flare=flare)
    sleeves = garments.sleeves(pose, share=rng.uniform(0.3, 1.0), ease=0.006)
    wardrobe.wear("kurta", _straight(draw_fabric(rng), rng), [body], sleeves)
    if rng.random() < 0.4:
        long = rng.uniform(0.2, length)
        arms = garments.sleeves(pose, share=rng.uniform(0.5, 1.0), ease=0.014) if rng.random() < 0.6 else []
        wardrobe.wear("jacket", _straight(draw_fabric(rng), rng), garments.jacket(pose, rng, length=long), arms)
    if rng.random() < 0.45:
        _wrap(wardrobe, pose, rng)


def _co_ord(wardrobe: _Wardrobe, pose: Pose, rng: np.random.Generator) -> None:
    skin = _body(wardrobe.canvas, pose, rng)
    cloth = draw_fabric(rng)
    wardrobe.wear("bottoms", _straight(cloth, rng), garments.trousers(pose, rng))
    _arms(wardrobe.canvas, pose, skin)
    body = garments.torso(
        pose, rng, length=rng.uniform(0.17, 0.27), ease=rng.uniform(0.008, 0.03), flare=rng.uniform(0, 0.03)
    )
    wardrobe.wear("top", _straight(cloth, rng), [body], garments.sleeves(pose, share=rng.uniform(0.1, 1.0), ease=0.01))
    if rng.random() < 0.25:
        long = rng.uniform(0.2, 0.5)
        wardrobe.wear("jacket", _straight(draw_fabric(rng), rng), garments.jacket(pose, rng, length=long))
    if rng.random() < 0.2:
        _wrap(wardrobe, pose, rng)


def _wrap(wardrobe: _Wardrobe, pose: Pose, rng: np.random.Generator) -> None:
    """Adds the front layer: a dupatta or a shawl over the other garments."""
    cloth = draw_fabric(rng).draped(fold_angle=rng.uniform(-0.8, 0.8), fold_px=rng.uniform(10, 22))
    if rng.random() < 0.5:
        wardrobe.wear("dupatta", cloth, garments.dupatta(pose, rng))
    else:
        wardrobe.wear("shawl", cloth, [garments.shawl(pose, rng)])


OUTFITS: tuple[Callable[[_Wardrobe, Pose, np.random.Generator], None], ...] = (_saree, _kurta, _co_ord)
OUTFIT_SHARES = (0.38, 0.40, 0.22)
