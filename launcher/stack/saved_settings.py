"""The addresses and secrets that `drape up` stores for other commands with the same data directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.settings import Settings
from launcher.errors import LauncherError
from launcher.stack.secret_files import Secrets

NAME = "running"
FIELDS = (
    "label_studio_url",
    "label_studio_api_key",
    "redis_url",
    "storage_url",
    "basic_auth_user",
    "basic_auth_pass",
    "webhook_secret",
    "port",
    "local_files_root",
)


def keep(settings: Settings) -> None:
    """Stores the addresses and secrets in a file that only its owner can read."""
    facts = settings.model_dump(mode="json", include=set(FIELDS))
    Secrets(settings.data_dir / "secrets").put(NAME, json.dumps(facts))


def complete(settings: Settings) -> Settings:
    """Returns `settings`, with the fields that were not set filled in from the last `drape up`."""
    kept = Secrets(settings.data_dir / "secrets").get(NAME)
    if kept is None:
        return settings
    said = settings.model_fields_set
    facts = {name: value for name, value in json.loads(kept).items() if name not in said}
    if facts.get("local_files_root"):
        facts["local_files_root"] = Path(facts["local_files_root"])
    return settings.model_copy(update=facts)


def read_settings(**given: Any) -> Settings:
    """Reads the settings from the environment; values from the command line (`given`) override them.

    Raises:
        LauncherError: a setting has an invalid value; the message names the setting.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in e.errors())
        raise LauncherError(f"A setting is wrong. {wrong}. docs/reference/settings.md lists them.") from e


def kept_settings() -> Settings:
    """Reads the settings, and fills those that were not set from the last `drape up` in the same data directory.

    Raises:
        LauncherError: as in `read_settings`.
    """
    return complete(read_settings())
