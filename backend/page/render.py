"""Renders the status page as HTML. Everything is escaped except Drape's own plots, so that names stay text."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup

from backend.page.overview import GOOD_GARMENTS, MIN_GARMENTS, Overview
from backend.registry.verdict import Generation, generations_of
from backend.status.plots import Series, generations_plot, lines_plot
from backend.status.survey import Work
from backend.templates import template

TEMPLATE = "status.html.jinja"
DASH = "\u2013"
# Between a number and its unit, so that no line ends there.
SPACE = "\u00a0"
# Origin → name in the legend, in the legend's order.
ORIGINS = {"scratch": "from scratch", "prediction": "from a prediction"}


class StatusPage:
    """Renders the page, and draws only plots that have changed. Thread-safe."""

    def __init__(self) -> None:
        self._template = template(Path(__file__).parent / TEMPLATE, filters={"seconds": seconds, "share": share})
        # Matplotlib is not thread-safe.
        self._drawing = threading.Lock()
        self._generations = lru_cache(maxsize=8)(_generations)
        self._curve = lru_cache(maxsize=8)(_curve)
        self._work = lru_cache(maxsize=8)(_work)

    def render(self, overview: Overview, *, notice: str = "") -> str:
        """Renders the whole page; `notice` is the message about the button that was pressed."""
        history = [(model.version, model.verdict) for model in reversed(overview.models)]
        current, survey, jobs = overview.current, overview.survey, overview.jobs
        curve = jobs.training.curve if jobs and jobs.training else ()
        with self._drawing:
            plots = {
                "generations": self._generations(generations_of(history), current.version.number if current else 0),
                "curve": self._curve(curve) if len(curve) > 1 else "",
                "work": self._work(survey.work) if survey else "",
            }
        return self._template.render(
            page=overview,
            notice=notice,
            min_garments=MIN_GARMENTS,
            good_garments=GOOD_GARMENTS,
            origins=ORIGINS,
            plots={name: Markup(plot) for name, plot in plots.items()},
        )


def _generations(generations: tuple[Generation, ...], current: int) -> str:
    return generations_plot(generations, current=current) if generations else ""


def _curve(curve: tuple[float, ...]) -> str:
    epochs = tuple(float(number) for number in range(1, len(curve) + 1))
    return lines_plot([Series("mask mAP", epochs, curve)], name="curve", xlabel="epoch", ylabel="mask mAP50-95")


def _work(work: Sequence[Work]) -> str:
    timed = [(entry.origin, entry.day, entry.median_s) for entry in work if entry.day and entry.median_s is not None]
    days = sorted({day for _, day, _ in timed})
    if not days:
        return ""
    series = []
    for origin, name in ORIGINS.items():
        points = [(float(days.index(day)), median_s) for made_from, day, median_s in timed if made_from == origin]
        if points:
            series.append(Series(name, tuple(x for x, _ in points), tuple(y for _, y in points)))
    return lines_plot(series, name="work", xlabel="day", ylabel="seconds an image", ticks=[day[5:] for day in days])


def seconds(value: float | None) -> str:
    """Formats a time in seconds for people: `0.12 s`, `14 s`, `3 min`, `2.1 h`; a dash for None."""
    if value is None:
        return DASH
    if value < 1:
        return f"{value:.2f}{SPACE}s"
    if value < 100:
        return f"{value:.0f}{SPACE}s"
    return f"{value / 60:.0f}{SPACE}min" if value < 6000 else f"{value / 3600:.1f}{SPACE}h"


def share(value: float | None) -> str:
    """Formats a share in `[0, 1]` as percent; a dash for None."""
    return DASH if value is None else f"{100 * value:.0f}{SPACE}%"
