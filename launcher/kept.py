"""What a `drape up` leaves for the other commands in the same data directory: addresses and secrets."""

from __future__ import annotations

import json

from backend.settings import Settings
from launcher.secrets_store import Secrets

NAME = "running"
FIELDS = (
    "label_studio_url",
    "label_studio_api_key",
    "redis_url",
    "basic_auth_user",
    "basic_auth_pass",
    "webhook_secret",
    "port",
)


def keep(settings: Settings) -> None:
    """Writes the addresses and secrets down, privately."""
    facts = {name: getattr(settings, name) for name in FIELDS}
    Secrets(settings.data_dir / "secrets").put(NAME, json.dumps(facts))


def complete(settings: Settings) -> Settings:
    """`settings`, with what they lack taken from the last `drape up`; what they say themselves stays."""
    kept = Secrets(settings.data_dir / "secrets").get(NAME)
    if kept is None:
        return settings
    said = settings.model_fields_set
    return settings.model_copy(update={name: value for name, value in json.loads(kept).items() if name not in said})
