"""Label Studio's brush: converts masks to its run-length code and back.

The code is a bit stream, most significant bit first (thi.ng's `rle-pack`). This module must agree bit for bit with the
reference implementation, `label_studio_sdk.converter.brush`:

    32 bits   number of decoded values (4 per pixel: RGBA, row by row)
     5 bits   bits per value, minus 1
    4 x 4     the four widths, in bits, in which a run's length may be written, each minus 1
    then runs: 1 bit 'repeated', 2 bits that select the width, the length minus 1 in that width, and
               the value once if the run is repeated, else as many values as the length says.

Label Studio reads only the alpha of each pixel; the SDK, and so this module, writes the mask into all four channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backend.domain import Mask
from backend.errors import RegionError

CHANNELS = 4
VALUE_BITS = 8
LENGTH_BITS = np.array([3, 4, 8, 16])
LONGEST_RUN = 1 << 16
HEAD_BITS = 32 + 5 + 4 * 4

Bits = npt.NDArray[np.uint8]


def mask_to_rle(mask: Mask) -> list[int]:
    """Encodes a mask `bool (H, W)` as brush code, bytes as integers; equals the SDK's `mask2rle(mask * 255)`.

    Raises:
        RegionError: the mask has no pixels, or more than 2**30 - 1, because the code counts its values in 32 bits.
    """
    if not 0 < mask.size < 1 << 30:
        raise RegionError(f"a brush cannot hold {mask.size} pixels.")
    head = f"{mask.size * CHANNELS:032b}{VALUE_BITS - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in LENGTH_BITS)
    bits = np.concatenate([np.frombuffer(head.encode(), np.uint8) - ord("0"), _run_bits(mask)])
    # The reference appends a zero byte to a stream that ends on a byte boundary.
    return [*np.packbits(bits).tolist(), *([0] if bits.size % 8 == 0 else [])]


def rle_to_mask(rle: Sequence[int], *, size_wh: tuple[int, int]) -> Mask:
    """Decodes brush code to a mask `bool (H, W)`, True where the alpha is not 0.

    The mask is allocated only after the code has proved long enough for the number of pixels that it claims.

    Raises:
        RegionError: the code is not a list of bytes, claims another number of pixels than `size_wh`, or is damaged.
    """
    width, height = size_wh
    code = _bytes(rle)
    bits = f"{int.from_bytes(code, 'big'):0{len(code) * 8}b}"
    values, value_bits = int(bits[:32], 2), int(bits[32:37], 2) + 1
    length_bits = [int(bits[offset : offset + 4], 2) + 1 for offset in range(37, HEAD_BITS, 4)]
    if values != width * height * CHANNELS:
        raise RegionError(f"its brush has {values // CHANNELS} pixels, but its image {width * height}.")
    longest = max(length_bits)
    # Repeated runs of the widest length hold the most values per bit: they bound the values that the code can hold.
    if values * (3 + longest + value_bits) > (len(bits) - HEAD_BITS) << longest:
        raise RegionError(f"its brush of {len(code)} bytes is too short for {width * height} pixels.")
    return _decode_runs(bits, values, value_bits, length_bits).reshape(height, width)


def _run_bits(mask: Mask) -> Bits:
    """Returns the bits of the mask's runs, a byte per bit: flag 1 (repeated), width, length minus 1, value 0 or 255."""
    flat = np.ascontiguousarray(mask).ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    length, inside = np.diff(edges) * CHANNELS, flat[edges[:-1]]
    width_index = np.searchsorted([8, 16, 256], length)
    # A run longer than `LONGEST_RUN` is split; its last piece, however short, uses the same width as the others.
    pieces = -(-length // LONGEST_RUN)
    last = np.cumsum(pieces) - 1
    rest = length - (pieces - 1) * LONGEST_RUN
    length = np.full(int(last[-1]) + 1, LONGEST_RUN)
    length[last] = rest
    width_index, inside = np.repeat(width_index, pieces), np.repeat(inside, pieces)
    width = LENGTH_BITS[width_index]
    words = (((0b100 | width_index) << width | (length - 1)) << VALUE_BITS) | np.where(inside, 255, 0)
    size = 3 + width + VALUE_BITS
    longest = 3 + int(LENGTH_BITS[-1]) + VALUE_BITS
    # Each word is aligned to the left of 32 bits, and its first `size` bits are used.
    left = (words << (32 - size)).astype(">u4")
    word_bits = np.unpackbits(left.view(np.uint8).reshape(-1, 4), axis=1)[:, :longest]
    return word_bits[np.arange(longest) < size[:, None]]


def _bytes(rle: Sequence[int]) -> bytes:
    try:
        # `bytes` would take a single number for a length and allocate that many bytes; `list` rejects it.
        code = bytes(list(rle))
    except (TypeError, ValueError) as e:
        raise RegionError("its brush is not a list of bytes.") from e
    if len(code) * 8 < HEAD_BITS:
        raise RegionError("its brush is truncated.")
    return code


def _decode_runs(bits: str, values: int, value_bits: int, length_bits: list[int]) -> npt.NDArray[np.bool_]:
    """Decodes the runs to `bool (values / 4,)`, True where the last of a pixel's four values, its alpha, is not 0."""
    alpha = np.zeros(values // CHANNELS, bool)
    offset, value = HEAD_BITS, 0
    while value < values:
        repeated = bits[offset : offset + 1] == "1"
        width = length_bits[int(bits[offset + 1 : offset + 3] or "0", 2)]
        length = int(bits[offset + 3 : offset + 3 + width] or "0", 2) + 1
        offset += 3 + width
        end = offset + (1 if repeated else length) * value_bits
        if end > len(bits):
            raise RegionError("its brush is truncated.")
        if value + length > values:
            raise RegionError("its brush runs past the end of its image.")
        # Value `v` is the alpha of pixel `v // 4` where `v % 4 == 3`.
        first, last = value // CHANNELS, (value + length) // CHANNELS
        if not repeated:
            literal = np.frombuffer(bits[offset:end].encode(), np.uint8).reshape(length, value_bits) == ord("1")
            alpha[first:last] = literal.any(axis=1)[CHANNELS - 1 - value % CHANNELS :: CHANNELS]
        elif "1" in bits[offset:end]:
            alpha[first:last] = True
        offset, value = end, value + length
    return alpha
