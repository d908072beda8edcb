"""The console that commands print to: a label, project or file name cannot control the terminal through it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from backend.telemetry.printable import lines


class Terminal(Console):
    """Rich's console, made safe: Rich removes some control codes from text, but not sequences that begin with ESC."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Spells out control characters in Rich's segments; the segments that are Rich's own controls do not change."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(lines(segment.text), segment.style)
