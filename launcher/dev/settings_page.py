"""The settings page of the documentation, made from the settings class: `python -m launcher.dev.settings_page`."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from backend.project_settings import PROJECT_SETTING_NAMES
from backend.settings import Settings

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "settings.md"
HEAD = """\
# Settings

This page lists every setting. It is made by `python -m launcher.dev.settings_page` from `backend/settings.py` and
`backend/installation_settings.py`; do not edit by hand.

Drape reads each setting from an environment variable, else from a `.env` file in the working directory, else from a
file of its name in `/run/secrets`. Every setting has a default that works.

A setting marked `yes` may have another value in one project. The YAML file that `PROJECT_SETTINGS` names holds these
values. Drape reads that file again at each job and request:

```yaml
projects:
  7: {retrain_after: 200, auto_accept: calibrated}
  8: {model_score_threshold: 0.4, train_image_size_px: 1024}
```

With a mistake in the file the processes do not start; a later mistake stops only the project that it is in. The status
page, `GET /status` and `drape doctor` show it. A project's `MODEL_SCORE_THRESHOLD` applies to pre-annotation; words
that an annotator asks SAM 3 for use the installation's value.

| setting | default | per project | what it does |
| --- | --- | --- | --- |
"""


def settings_table() -> str:
    """The page as Markdown: one row a setting, in the order of the class."""
    rows = [
        f"| {_names(name, field)} | {_default(field)} | {'yes' if name in PROJECT_SETTING_NAMES else ''} "
        f"| {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def _names(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]
    return ", ".join(f"`{name}`" for name in names)


def _default(field: FieldInfo) -> str:
    return "" if field.default in (None, "") else f"`{field.default}`"


if __name__ == "__main__":
    PAGE.write_text(settings_table())
