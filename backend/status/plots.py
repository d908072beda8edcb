"""Plots as SVG that stands in a page and takes its text colour."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
from lxml import etree
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from backend.registry.verdict import Generation

# Stands for the page's own text colour, light or dark.
INK = "#0a0b0c"
# Legible on white and on near-black, and apart for colour-blind people.
BLUE, ORANGE, GREEN = "#2e8bc9", "#d55e00", "#009e73"
SVG = "{http://www.w3.org/2000/svg}"
UNNEEDED = (f"{SVG}metadata", f"{SVG}style")
# More figures beside their dots would cover each other.
MOST_FIGURES = 12


def generations_plot(generations: Sequence[Generation], *, current: int) -> str:
    """Mask mAP by version number: dots were taken, crosses were not; a ring is the `current` one."""
    with drawing("generations", size_in=(4.8, 2.4)) as figure:
        axes = figure.add_subplot()
        taken = [one for one in generations if one.promoted]
        kept = [one for one in generations if not one.promoted]
        axes.plot([one.number for one in taken], [one.mask_map for one in taken], "-o", color=BLUE)
        axes.plot([one.number for one in kept], [one.mask_map for one in kept], "x", color=ORANGE, markersize=8, mew=2)
        for one in generations:
            if one.number == current or len(generations) <= MOST_FIGURES:
                axes.annotate(
                    f"{one.mask_map:.3f}",
                    (one.number, one.mask_map),
                    (0, 10 if one.promoted else -18),
                    textcoords="offset points",
                    ha="center",
                )
            if one.number == current:
                axes.plot(one.number, one.mask_map, "o", markersize=15, mfc="none", mec=INK)
        numbers = [one.number for one in generations] or [current]
        beside = 0.5 + 0.05 * (max(numbers) - min(numbers))
        axes.set(
            xlabel="version",
            ylabel="mask mAP50-95",
            ylim=(0, 1.05),
            xlim=(min(numbers) - beside, max(numbers) + beside),
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        return svg(figure)


@dataclass(frozen=True)
class Series:
    """One line of a plot: its name, and y at each of x; its marker tells it from others where colours do not."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def lines_plot(series: Sequence[Series], *, name: str, xlabel: str, ylabel: str, ticks: Sequence[str] = ()) -> str:
    """Lines over whole numbers from 0 up, or over `ticks`, their names; `name` tells the page's plots apart."""
    with drawing(name, size_in=(4.8, 2.2)) as figure:
        axes = figure.add_subplot()
        for one, colour, marker in zip(series, (BLUE, ORANGE, GREEN), "os^", strict=False):
            axes.plot(one.x, one.y, f"-{marker}", color=colour, label=one.name, markersize=5)
        # Room for the highest marker.
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.1 * max(max(one.y) for one in series) or 1))
        if ticks:
            every = max(1, len(ticks) // 6)
            axes.set_xticks(range(0, len(ticks), every), list(ticks)[::every], parse_math=False)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(series) > 1:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return svg(figure)


@contextmanager
def drawing(name: str, *, size_in: tuple[float, float]) -> Iterator[Figure]:
    """A figure of its own; `name` salts the ids in it, which must differ from plot to plot of one page."""
    # Text stays text: it can be searched, and is set in fonts that have the label's script.
    style = mpl.rc_context(
        {
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.size": 9.0,
            "svg.fonttype": "none",
            "svg.hashsalt": name,
        }
    )
    with style, warnings.catch_warnings():
        # Matplotlib's own font is without many scripts; the page's has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield Figure(figsize=size_in, layout="constrained")


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element without what is of no use in a page, hidden from readers: words stand beside."""
    written = io.BytesIO()
    figure.savefig(
        written, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    root = etree.fromstring(written.getvalue())
    etree.strip_elements(root, *UNNEEDED, with_tail=False)
    used = set(re.findall(r"#([\w-]+)", etree.tostring(root, encoding="unicode")))
    for element in root.iter():
        # Its names of parts are the same in every plot.
        if element.get("id") not in used:
            element.attrib.pop("id", "")
    for attribute in ("width", "height"):
        del root.attrib[attribute]
    root.set("aria-hidden", "true")
    etree.cleanup_namespaces(root)
    return etree.tostring(root, encoding="unicode").replace(INK, "currentColor")
