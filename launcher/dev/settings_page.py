"""The settings page of the documentation, made from the settings class: `python -m launcher.dev.settings_page`."""

from __future__ import annotations

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from backend.project_settings import PROJECT_SETTING_NAMES
from backend.settings import Settings
from launcher.dev.generated_page import DOCS, markdown_table, with_generated_part

PAGE = DOCS / "reference" / "settings.md"


def settings_page() -> str:
    """The page as Markdown: one row a setting, in the order of the class."""
    rows = [
        (_names(name, field), _default(field), "yes" if name in PROJECT_SETTING_NAMES else "", str(field.description))
        for name, field in Settings.model_fields.items()
    ]
    return with_generated_part(PAGE, markdown_table(("setting", "default", "per project", "what it does"), rows))


def _names(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name.upper()]
    return ", ".join(f"`{name}`" for name in names)


def _default(field: FieldInfo) -> str:
    return "" if field.default in (None, "") else f"`{field.default}`"


if __name__ == "__main__":
    PAGE.write_text(settings_page())
