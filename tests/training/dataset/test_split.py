from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter
from dataclasses import replace
from typing import Any

import cv2
import imagehash
import numpy as np
import pytest
from PIL import Image

from label_studio_config.demo.figures import draw_figure
from training.dataset.perceptual_hashes import perceptual_hashes
from training.dataset.split import VAL_SHARE, KnownSide, Photograph, Side, as_integers, split

rng = np.random.default_rng(5)
# Far from each other: two random hashes of 64 bits differ in about 32.
HASHES = [int(value) for value in rng.integers(0, 2**63, 4000)]
LABELS = ("saree", "kurta", "belt")


def photograph(number: int, *labels: str, phash: int | None = None) -> Photograph:
    key = hashlib.sha256(str(number).encode()).hexdigest()
    return Photograph(key, (HASHES[number] if phash is None else phash,), frozenset(labels))


def wardrobe(count: int) -> list[Photograph]:
    """Of 20 images all show a saree, five a kurta, one a belt."""
    return [
        photograph(n, "saree", *(["kurta"] if n % 4 == 0 else []), *(["belt"] if n % 20 == 7 else []))
        for n in range(count)
    ]


def test_a_fifth_is_held_out_of_every_label() -> None:
    images = wardrobe(400)
    sides = split(images, {})
    assert len(sides) == 400
    for label in LABELS:
        shown = [sides[one.key] for one in images if label in one.labels]
        assert shown.count("val") == pytest.approx(VAL_SHARE * len(shown), abs=2), label


@pytest.mark.parametrize("count", [2, 3, 5, 8, 13, 21, 34])
def test_each_label_of_two_images_is_on_both_sides(count: int) -> None:
    images = wardrobe(count)
    sides = split(images, {})
    for label, images_of_it in Counter(label for one in images for label in one.labels).items():
        found = {sides[one.key] for one in images if label in one.labels}
        assert found == ({"train", "val"} if images_of_it > 1 else {"train"}), (label, sides)


def test_no_image_ever_changes_sides() -> None:
    placed: dict[str, KnownSide] = {}
    for count in (1, 2, 7, 40, 41, 200):
        images = wardrobe(count)
        sides = split(images, placed)
        assert all(sides[key] == one.side for key, one in placed.items())
        placed = {one.key: KnownSide(one.hashes, sides[one.key]) for one in images}
    shares = Counter(one.side for one in placed.values())
    assert shares["val"] == pytest.approx(VAL_SHARE * 200, abs=4)


def test_order_and_repetition_of_tasks_change_nothing() -> None:
    images = wardrobe(60)
    assert split([*images[::-1], *images[:9]], {}) == split(images, {})


def test_what_looks_alike_is_on_one_side() -> None:
    images = wardrobe(100)
    # Of each image two more that differ by few bits, and by a few from each other.
    alike = [
        photograph(1000 + 2 * n + turn, *one.labels, phash=one.hashes[0] ^ (0b11 << 3 * turn))
        for n, one in enumerate(images)
        for turn in (0, 1)
    ]
    sides = split([*images, *alike], {})
    for n, one in enumerate(images):
        assert {sides[one.key], sides[alike[2 * n].key], sides[alike[2 * n + 1].key]} == {sides[one.key]}
    assert Counter(sides.values())["val"] == pytest.approx(60, abs=6)


def test_a_burst_does_not_decide_the_split() -> None:
    """100 images of which 60 look alike: whatever their keys are, about a fifth is held out, and none of the burst."""
    for seed in range(200):
        names = np.random.default_rng(seed).permutation(4000)[:100]
        images = [
            photograph(int(name), "saree", phash=HASHES[0] if number < 60 else HASHES[int(name)])
            for number, name in enumerate(names)
        ]
        sides = split(images, {})
        assert Counter(sides.values())["val"] == 20, seed


@pytest.mark.parametrize(
    ("burst", "singles", "held_out"),
    [
        # Of 30 it may be a third: nearer to a fifth than none.
        ((10, 20), 0, 10),
        # Of two halves neither is nearer to a fifth than none, but something must be held out.
        ((20, 20), 0, 20),
        ((26, 24), 0, 24),
        # Of a single burst something must be trained on.
        ((20,), 0, 0),
        # A burst of few images is held out like others.
        ((3, 3, 3, 3, 3), 0, 3),
        ((60,), 1, 1),
    ],
)
def test_a_group_is_held_out_only_if_the_share_comes_nearer_to_a_fifth(
    burst: tuple[int, ...], singles: int, held_out: int
) -> None:
    hashes = [HASHES[number] for number, size in enumerate(burst) for _ in range(size)]
    hashes += HASHES[100 : 100 + singles]
    images = [photograph(number, "saree", phash=phash) for number, phash in enumerate(hashes)]
    assert Counter(split(images, {}).values())["val"] == held_out


def test_nothing_is_held_out_whose_label_would_not_be_trained() -> None:
    """Two bursts of one label each: without its images, the label would never be learnt."""
    images = [photograph(n, ("saree", "kurta")[n % 2], phash=HASHES[n % 2]) for n in range(20)]
    assert set(split(images, {}).values()) == {"train"}
    # Of bursts that are each far more than a fifth, the smaller one is held out; a group with the only belts is not.
    belts = [photograph(n, "saree", "belt", phash=HASHES[2]) for n in range(20, 25)]
    smaller, larger = (
        [photograph(n, "saree", phash=HASHES[first]) for n in range(first, last)]
        for first, last in ((25, 45), (45, 67))
    )
    sides = split([*belts, *smaller, *larger], {})
    assert {key for key, side in sides.items() if side == "val"} == {one.key for one in smaller}


def grouped(numbers: range, *groups: str) -> list[Photograph]:
    return [replace(photograph(number, "saree"), groups=groups) for number in numbers]


def test_what_is_of_one_group_by_name_is_on_one_side() -> None:
    images = [one for n in range(20) for one in grouped(range(5 * n, 5 * n + 5), f"look {n}")]
    sides = split(images, {})
    assert all(len({sides[one.key] for one in images[5 * n : 5 * n + 5]}) == 1 for n in range(20))
    assert Counter(sides.values())["val"] == 20
    # An image of two groups joins them, and so does one that looks like another group's.
    more = [*grouped(range(900, 901), "look 1", "look 2"), photograph(901, "saree", phash=images[5].hashes[0] ^ 1)]
    sides = split([*images, *more], {})
    assert len({sides[one.key] for one in [*images[5:15], *more]}) == 1


@pytest.mark.parametrize("side", ["train", "val"])
def test_a_group_has_the_side_that_one_of_it_has_had(side: Side) -> None:
    first, *later = grouped(range(8), "look 1")
    others = grouped(range(100, 120))
    known = {first.key: KnownSide(first.hashes, side, ("look 1",))}
    # The first may have been withdrawn.
    for images in ([first, *later, *others], [*later, *others]):
        sides = split(images, known)
        assert {sides[one.key] for one in later} == {side}
    # It may have got its side before groups were named.
    sides = split([first, *later, *others], {first.key: KnownSide(first.hashes, side)})
    assert {sides[one.key] for one in [first, *later]} == {side}
    # One of each side: nothing of a group that is held out is trained on.
    both = {**known, "a": KnownSide((HASHES[999],), "val", ("look 1",)), "b": KnownSide((HASHES[998],), "train", ())}
    assert {split([*later, *others], both)[one.key] for one in later} == {"val"}


def test_a_later_lookalike_goes_where_the_first_is() -> None:
    images = wardrobe(30)
    sides = split(images, {})
    placed = {one.key: KnownSide(one.hashes, sides[one.key]) for one in images}
    later = [photograph(1000 + n, *one.labels, phash=one.hashes[0] ^ 1) for n, one in enumerate(images)]
    found = split([*images, *later], placed)
    assert [found[one.key] for one in later] == [sides[one.key] for one in images]
    # Like one of each side: nothing that looks like a held-out image is trained on.
    between = {"a": KnownSide((0b0000,), "train"), "b": KnownSide((0b1111,), "val")}
    middle = photograph(5, "saree", phash=0b0011)
    assert split([middle], between) == {middle.key: "val"}


def test_thousands_of_images_are_compared_in_little_memory() -> None:
    """The pairs of ten thousand images' hashes, two thousand millions, would take gigabytes together."""
    hashes = np.random.default_rng(0).integers(0, 2**63, (1500, 11)).tolist()
    images = [Photograph(f"{n:064x}", tuple(own), frozenset({"saree"})) for n, own in enumerate(hashes)]
    tracemalloc.start()
    try:
        sides = split(images, {})
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert Counter(sides.values())["val"] == 300


@pytest.mark.slow
def test_the_limit_tells_figures_apart_and_finds_copies() -> None:
    """MAX_DIFFERENT_BITS, on the images that are there: other figures are others, a copy is found."""
    from training.dataset.split import MAX_DIFFERENT_BITS

    def bits(one: Image.Image, other: Image.Image) -> int:
        return int(imagehash.phash(one) - imagehash.phash(other))

    figures = [Image.fromarray(draw_figure(seed).pixels) for seed in range(20)]
    for n, one in enumerate(figures):
        smaller = one.resize((one.width * 2 // 3, one.height * 2 // 3))
        cut = one.crop((3, 2, one.width - 4, one.height - 2))
        assert max(bits(one, smaller), bits(one, cut)) <= MAX_DIFFERENT_BITS
        assert all(bits(one, other) > MAX_DIFFERENT_BITS for other in figures[n + 1 :])


def changed(pixels: Any, kind: str) -> Any:
    height, width = pixels.shape[:2]
    match kind:
        case "mirrored":
            return pixels[:, ::-1]
        case "cropped":
            return pixels[height // 10 :, width // 10 :]
        case "mirrored and cropped":
            return pixels[: height * 9 // 10, ::-1][:, width // 10 :]
        case _:
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 3, 1)
            return cv2.warpAffine(pixels, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


@pytest.mark.parametrize("kind", ["mirrored", "cropped", "mirrored and cropped", "turned"])
def test_changed_copies_are_on_the_side_of_the_first(kind: str) -> None:
    def figure(seed: int, key: str, pixels: Any) -> Photograph:
        return Photograph(f"{key}{seed:063x}", as_integers(perceptual_hashes(pixels)), frozenset({"saree"}))

    drawn = {seed: draw_figure(seed).pixels for seed in range(8)}
    firsts = [figure(seed, "a", pixels) for seed, pixels in drawn.items()]
    copies = [figure(seed, "b", changed(pixels, kind)) for seed, pixels in drawn.items()]
    sides = split([*firsts, *copies], {})
    assert {sides[one.key] for one in firsts} == {"train", "val"}
    assert [sides[one.key] for one in copies] == [sides[one.key] for one in firsts]
    # Also when the copies come later.
    before = split(firsts, {})
    after = split(copies, {one.key: KnownSide(one.hashes, before[one.key]) for one in firsts})
    assert [after[one.key] for one in copies] == [before[one.key] for one in firsts]
