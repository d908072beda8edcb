"""Where commands print: what labels, projects and files are called is text there, and commands nothing."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from backend.telemetry.printable import lines


class Terminal(Console):
    """Rich's own, which takes some of a terminal's sequences out of a text, but not those that begin with escape."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Its pieces; those that are Rich's own commands stay as they are."""
        for one in super().render(renderable, options):
            yield one if one.control else Segment(lines(one.text), one.style)
