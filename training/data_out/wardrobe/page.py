"""Collects the contents of the wardrobe's page, and renders them as one self-contained HTML file.

The page is opened as a file, where a browser reads no other files than pictures: data, style and script are in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backend.templates import template
from training.data_out.colour_names import NAMES
from training.data_out.cutouts import Cutout
from training.data_out.wardrobe.neighbours import find_neighbours
from training.data_out.wardrobe.pictures import Photograph, garment_file

TEMPLATE = "wardrobe.html.jinja"


@dataclass(frozen=True)
class ColourPart:
    """One of a garment's colours: its name, `#rrggbb`, and its share in `[0, 1]`."""

    name: str
    hex: str
    share: float


@dataclass(frozen=True)
class Garment:
    """A garment as the page has it.

    Attributes:
        key: its name in the page's address; the same after the next export.
        photograph: number of its photograph, from 0.
        outline: the `d` of an SVG path, in pixels of the small photograph.
        size_wh, area_px: of the cut-out, in pixels of the image at its own size.
        by: `person` or `model`.
        made_at: ISO 8601, or ''.
        file, small: paths of the cut-out and of its small picture, below the folder.
        goes_with: number and distance (CIEDE2000) of each garment of its label and like colours, the nearest first.
    """

    key: str
    label: str
    photograph: int
    outline: str
    size_wh: tuple[int, int]
    area_px: int
    colours: tuple[ColourPart, ...]
    by: str
    score: float | None
    made_at: str
    file: str
    small: str
    goes_with: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Wardrobe:
    """The contents of the page.

    Attributes:
        title: the project's title.
        tasks_url: a task's address in Label Studio without its id; empty if the address is unknown.
        labels: those that garments have, in the order of the label config.
        colours: the named colours that garments have, name → `#rrggbb`.
    """

    title: str
    tasks_url: str
    labels: tuple[str, ...]
    colours: dict[str, str]
    photographs: tuple[Photograph, ...]
    garments: tuple[Garment, ...]


def wardrobe_of(
    cutouts: Sequence[Cutout],
    photographs: Sequence[Photograph],
    labels: Sequence[str],
    *,
    title: str,
    tasks_url: str,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> Wardrobe:
    """Collects the contents of the page.

    Args:
        photographs: those of all cut-outs, and maybe others, which the page leaves out.
        labels: all labels, in the order in which the page names them.
        track: takes the cut-outs' numbers, yields them one at a time, and may show the progress.
    """
    shown = {cutout.image for cutout in cutouts}
    photographs = tuple(photograph for photograph in photographs if photograph.name in shown)
    numbers = {photograph.name: number for number, photograph in enumerate(photographs)}
    used_labels = {cutout.label for cutout in cutouts}
    used_colours = {name for cutout in cutouts for name in cutout.colours.split(",")}
    goes_with = [
        tuple((neighbour.row, neighbour.distance) for neighbour in found)
        for found in find_neighbours(cutouts, track=track)
    ]
    return Wardrobe(
        title=title,
        tasks_url=tasks_url,
        labels=tuple(label for label in labels if label in used_labels),
        colours={name: colour for name, colour in NAMES.items() if name in used_colours},
        photographs=photographs,
        garments=tuple(
            _garment(cutout, numbers[cutout.image], photographs[numbers[cutout.image]], found)
            for cutout, found in zip(cutouts, goes_with, strict=True)
        ),
    )


def render(wardrobe: Wardrobe) -> str:
    """Renders the page as HTML. Names that people chose stay text: the data is no script, and is shown as text."""
    folder = Path(__file__).parent
    style, script = ((folder / name).read_text(encoding="utf-8") for name in ("wardrobe.css", "wardrobe.js"))
    return template(folder / TEMPLATE).render(
        wardrobe=wardrobe,
        data=_json_in_html(asdict(wardrobe)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _garment(cutout: Cutout, number: int, photograph: Photograph, goes_with: tuple[tuple[int, float], ...]) -> Garment:
    return Garment(
        key=f"{cutout.task}-{cutout.garment}",
        label=cutout.label,
        photograph=number,
        outline=photograph.outlines[cutout.garment - 1],
        size_wh=(cutout.width, cutout.height),
        area_px=cutout.area_px,
        colours=_colour_parts(cutout),
        by=cutout.by,
        score=cutout.score,
        made_at=cutout.made_at,
        file=cutout.file,
        small=garment_file(cutout.image, cutout.garment),
        goes_with=goes_with,
    )


def _colour_parts(cutout: Cutout) -> tuple[ColourPart, ...]:
    if not cutout.colours:
        return ()
    columns = (column.split(",") for column in (cutout.colours, cutout.hex_colours, cutout.colour_shares))
    return tuple(ColourPart(name, colour, float(share)) for name, colour, share in zip(*columns, strict=True))


def _json_in_html(data: dict[str, Any]) -> str:
    """Returns JSON that ends no `<script>` element, and begins none, whatever is in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # A lone surrogate cannot be written as UTF-8; as an escape it can.
    text = "".join(f"\\u{ord(sign):04x}" if "\ud800" <= sign <= "\udfff" else sign for sign in text)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hash(text: str) -> str:
    """Returns the source by which a content security policy allows this text alone."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
