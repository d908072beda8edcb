from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from backend.templates import template


def test_what_people_wrote_stays_text(tmp_path: Path) -> None:
    page = tmp_path / "page.html.jinja"
    page.write_text("<p>{{ name | loud }}</p>\n{% if name %}\nyes\n{% endif %}\n")
    assert template(page, filters={"loud": str.upper}).render(name="<b>") == "<p>&lt;B&gt;</p>\nyes\n"


def test_a_name_that_is_not_given_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.html.jinja"
    page.write_text("{{ name }}")
    with pytest.raises(jinja2.UndefinedError):
        template(page).render()


def test_a_template_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(jinja2.TemplateError):
        template(tmp_path / "gone.html.jinja")
