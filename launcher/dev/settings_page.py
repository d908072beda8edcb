"""The settings page of the documentation, made from the settings class: `python -m launcher.dev.settings_page`."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from backend.project_settings import OF_A_PROJECT
from backend.settings import Settings

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"


def settings_table() -> str:
    """The page as Markdown: one row a setting, in the order of the class."""
    rows = [
        f"| {_names(name, field)} | {_default(field)} | {'yes' if name in OF_A_PROJECT else ''} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    head = [
        "# Settings",
        "",
        "Made from `backend/settings.py` by `python -m launcher.dev.settings_page`; do not edit by hand.",
        "Each is an environment variable, or a line of a `.env` file in the working directory.",
        "",
        "",
        "Those marked `yes` may be set otherwise for a project, in the YAML file that `PROJECT_SETTINGS` names:",
        "",
        "```yaml",
        "projects:",
        "  7: {retrain_after: 200, auto_accept: calibrated}",
        "  8: {model_score_threshold: 0.4, train_image_size_px: 1024}",
        "```",
        "",
        "| setting | default | of a project | what it does |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _names(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]
    return ", ".join(f"`{name}`" for name in names)


def _default(field: FieldInfo) -> str:
    return "" if field.default in (None, "") else f"`{field.default}`"


if __name__ == "__main__":
    sys.exit(0 if PAGE.write_text(settings_table()) else 1)
