"""Draws plots as SVG for use inside a page, in the page's text colour."""

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

# Placeholder for the page's text colour, light or dark; `svg` replaces it.
INK = "#0a0b0c"
# Legible on white and on near-black, and distinct for colour-blind people.
BLUE, ORANGE, GREEN = "#2e8bc9", "#d55e00", "#009e73"
SVG = "{http://www.w3.org/2000/svg}"
UNNEEDED = (f"{SVG}metadata", f"{SVG}style")
# With more versions, the numbers beside the dots would overlap.
MAX_VALUE_LABELS = 12


def generations_plot(generations: Sequence[Generation], *, current: int) -> str:
    """Plots mask mAP by version number: dots were promoted, crosses were not; a ring marks version `current`."""
    with styled_figure("generations", size_in=(4.8, 2.4)) as figure:
        axes = figure.add_subplot()
        for promoted, marker, style in (
            (True, "-o", {"color": BLUE}),
            (False, "x", {"color": ORANGE, "ms": 8, "mew": 2}),
        ):
            shown = [generation for generation in generations if generation.promoted == promoted]
            axes.plot([each.number for each in shown], [each.mask_map for each in shown], marker, **style)
        for generation in generations:
            point = generation.number, generation.mask_map
            if generation.number == current or len(generations) <= MAX_VALUE_LABELS:
                offset = (0, 10 if generation.promoted else -18)
                axes.annotate(f"{point[1]:.3f}", point, offset, textcoords="offset points", ha="center")
            if generation.number == current:
                axes.plot(*point, "o", markersize=15, mfc="none", mec=INK)
        numbers = [generation.number for generation in generations] or [current]
        margin = 0.5 + 0.05 * (max(numbers) - min(numbers))
        axes.set(
            xlabel="version",
            ylabel="mask mAP50-95",
            ylim=(0, 1.05),
            xlim=(min(numbers) - margin, max(numbers) + margin),
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        return svg(figure)


@dataclass(frozen=True)
class Series:
    """One line of a plot: its name, and its y values at its x values; a marker tells it apart without colours."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


def lines_plot(series: Sequence[Series], *, name: str, xlabel: str, ylabel: str, ticks: Sequence[str] = ()) -> str:
    """Plots lines, y from 0 up, over whole numbers or the names in `ticks`; `name` must be unique in a page."""
    with styled_figure(name, size_in=(4.8, 2.2)) as figure:
        axes = figure.add_subplot()
        for line, colour, marker in zip(series, (BLUE, ORANGE, GREEN), "os^", strict=False):
            axes.plot(line.x, line.y, f"-{marker}", color=colour, label=line.name, markersize=5)
        # Leaves room for the highest marker.
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.1 * max(max(line.y) for line in series) or 1))
        if ticks:
            step = max(1, len(ticks) // 6)
            axes.set_xticks(range(0, len(ticks), step), list(ticks)[::step], parse_math=False)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(series) > 1:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
        return svg(figure)


@contextmanager
def styled_figure(name: str, *, size_in: tuple[float, float]) -> Iterator[Figure]:
    """Yields a new figure in Drape's style; `name` salts its SVG ids, which must be unique in a page."""
    # `svg.fonttype` none keeps text as text: searchable, and in the page's fonts, which have the labels' scripts.
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
        # Matplotlib's font lacks many scripts, which the page's fonts have.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield Figure(figsize=size_in, layout="constrained")


def svg(figure: Figure) -> str:
    """Returns the figure as a minimal `<svg>` element, hidden from screen readers: the page gives a text as well."""
    buffer = io.BytesIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
    )
    root = etree.fromstring(buffer.getvalue())
    etree.strip_elements(root, *UNNEEDED, with_tail=False)
    used = set(re.findall(r"#([\w-]+)", etree.tostring(root, encoding="unicode")))
    for element in root.iter():
        # Matplotlib uses the same ids in every plot, but ids must be unique in a page.
        if element.get("id") not in used:
            element.attrib.pop("id", "")
    for attribute in ("width", "height"):
        del root.attrib[attribute]
    root.set("aria-hidden", "true")
    etree.cleanup_namespaces(root)
    return etree.tostring(root, encoding="unicode").replace(INK, "currentColor")
