"""Reads templates of HTML pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2


def template(path: Path, *, filters: Mapping[str, Callable[..., str]] | None = None) -> jinja2.Template:
    """Reads a template, in which everything is escaped and every name must be given.

    Raises:
        jinja2.TemplateError: the file is missing, or no template.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters or {}
    return environment.get_template(path.name)
