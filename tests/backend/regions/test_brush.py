from __future__ import annotations

import numpy as np
import pytest
from label_studio_sdk.converter import brush as sdk

from backend.domain import Mask
from backend.errors import RegionError
from backend.regions.brush import mask_to_rle, rle_to_mask
from tests.support import shapes


def masks() -> dict[str, Mask]:
    drawn = {f"random {seed}": np.random.default_rng(seed).random((23, 31 + seed)) < 0.1 * seed for seed in range(10)}
    # Runs longer than 2**16 values, of exactly 2**16, and one value more.
    drawn |= {f"long {extra}": np.arange(3 * 16384) < 16384 + extra for extra in (-1, 0, 1)}
    long = {name: mask.reshape(3, -1) if mask.ndim == 1 else mask for name, mask in drawn.items()}
    return {**shapes(), **long, "empty": np.zeros((300, 200), bool), "one pixel": np.ones((1, 1), bool)}


MASKS = sorted(masks().items())


@pytest.mark.parametrize(("name", "mask"), MASKS)
def test_the_code_is_that_of_the_sdk_to_the_byte(name: str, mask: Mask) -> None:
    assert mask_to_rle(mask) == sdk.mask2rle(mask.astype(np.uint8) * 255)


@pytest.mark.parametrize(("name", "mask"), MASKS)
def test_the_sdk_reads_our_code_and_we_that_of_the_sdk(name: str, mask: Mask) -> None:
    theirs = sdk.encode_rle(np.repeat(mask.astype(np.uint8).ravel() * 255, 4))
    height, width = mask.shape
    assert np.array_equal(rle_to_mask(theirs, size_wh=(width, height)), mask)
    alpha = sdk.decode_rle(mask_to_rle(mask)).reshape(*mask.shape, 4)[..., 3]
    assert np.array_equal(alpha, mask * 255)


def literal(values: bytes, *, sizes: tuple[int, ...] = (3, 4, 8, 16)) -> list[int]:
    """A code that repeats nothing, as Label Studio's own encoder writes what does not repeat."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    for first in range(0, len(values), 256):
        run = values[first : first + 256]
        bits += f"010{len(run) - 1:0{sizes[2]}b}" + "".join(f"{value:08b}" for value in run)
    bits += "0" * (-len(bits) % 8)
    return list(int(bits, 2).to_bytes(len(bits) // 8, "big"))


@pytest.mark.parametrize("sizes", [(3, 4, 8, 16), (1, 2, 9, 10)])
def test_values_that_are_not_repeated_are_read_as_the_sdk_reads_them(sizes: tuple[int, ...]) -> None:
    mask = np.random.default_rng(3).random((19, 27)) < 0.4
    values = np.random.default_rng(4).integers(0, 256, (*mask.shape, 4), dtype=np.uint8)
    values[..., 3] = np.where(mask, 128, 0)
    code = literal(values.tobytes(), sizes=sizes)
    assert np.array_equal(sdk.decode_rle(code), values.ravel())
    assert np.array_equal(rle_to_mask(code, size_wh=(27, 19)), mask)


GOOD = mask_to_rle(shapes()["disk"])
# a code, what is said of it
DAMAGED = [
    ([], "is truncated"),
    ([1, 2, 3], "is truncated"),
    (GOOD[:-20], "is truncated"),
    ([300, *GOOD[1:]], "list of bytes"),
    (["a"], "list of bytes"),
    (10**12, "list of bytes"),
    (mask_to_rle(np.zeros((4, 4), bool)), "has 16 pixels, but its image 5820"),
]


@pytest.mark.parametrize(("code", "said"), DAMAGED)
def test_damaged_code_is_refused(code: list[int], said: str) -> None:
    with pytest.raises(RegionError, match=said):
        rle_to_mask(code, size_wh=(97, 60))


def test_a_run_past_the_end_is_refused() -> None:
    bits = f"{16:032b}{7:05b}" + "0010" + "0011" + "0111" + "1111" + "1" + "01" + f"{15:04b}" + f"{0:08b}"
    longer = bits.replace(f"{16:032b}", f"{12:032b}")
    code = [list(int(b + "0" * (-len(b) % 8), 2).to_bytes(-(-len(b) // 8), "big")) for b in (bits, longer)]
    assert not rle_to_mask(code[0], size_wh=(2, 2)).any()
    with pytest.raises(RegionError, match="past the end"):
        rle_to_mask(code[1], size_wh=(3, 1))


def test_a_short_code_that_claims_a_billion_pixels_is_refused_before_it_takes_memory() -> None:
    side = 1 << 15  # 2**30 pixels, 2**32 values: one less fits into 32 bits
    code = list(((side * (side - 1) * 4).to_bytes(4, "big")) + bytes(GOOD[4:]))
    with pytest.raises(RegionError, match="too short"):
        rle_to_mask(code, size_wh=(side, side - 1))


@pytest.mark.parametrize("seed", range(40))
def test_random_damage_is_refused_or_read_but_never_anything_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    code = np.array(GOOD)
    code[rng.integers(4, len(code), 3)] = rng.integers(0, 256, 3)
    try:
        assert rle_to_mask(code.tolist(), size_wh=(97, 60)).shape == (60, 97)
    except RegionError as e:
        assert "brush" in str(e)


def test_a_mask_without_pixels_has_no_code() -> None:
    with pytest.raises(RegionError, match="0 pixels"):
        mask_to_rle(np.zeros((0, 5), bool))
