"""What a `drape up` leaves for the other commands in the same data directory: addresses and secrets."""

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
    """Writes the addresses and secrets down, privately."""
    facts = settings.model_dump(mode="json", include=set(FIELDS))
    Secrets(settings.data_dir / "secrets").put(NAME, json.dumps(facts))


def complete(settings: Settings) -> Settings:
    """`settings`, with what they lack taken from the last `drape up`; what they say themselves stays."""
    kept = Secrets(settings.data_dir / "secrets").get(NAME)
    if kept is None:
        return settings
    said = settings.model_fields_set
    facts = {name: value for name, value in json.loads(kept).items() if name not in said}
    if facts.get("local_files_root"):
        facts["local_files_root"] = Path(facts["local_files_root"])
    return settings.model_copy(update=facts)


def read_settings(**given: Any) -> Settings:
    """Settings from the environment, with what the command line says on top.

    Raises:
        LauncherError: a setting has a value that it cannot have; names it.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as e:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in e.errors())
        raise LauncherError(f"A setting is wrong. {wrong}. docs/reference/settings.md lists them.") from e


def kept_settings() -> Settings:
    """Settings, completed with what a `drape up` in the same data directory keeps.

    Raises:
        LauncherError: as `read_settings`.
    """
    return complete(read_settings())
