"""The image in a task's data: what `value="$…"` of a label config stands for, as Label Studio's page resolves it.

A data key here is that `value` as the config writes it, such as `$image`, `$photo.url`, `$images[0].url` or
`https://example.com/$path`. The rules are those of `parseValue` in Label Studio's editor (`utils/data.js`) and of
lodash's `get`, which it calls.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The key of an image that was uploaded before the project had a label config.
UNDEFINED_KEY = "$undefined$"
VARIABLE = re.compile(r"\$[\w[\].{}]+", re.ASCII)
PLAIN_KEY = re.compile(r"\$(\w+)", re.ASCII)


def image_in(data: Mapping[str, Any], key: str) -> Any:
    """The value in a task's data that should be its image's address; None if there is none.

    A list of one address is that address: Label Studio's page shows it. Longer lists are returned as they are.
    """
    found = resolve(data, key)
    if not found and PLAIN_KEY.fullmatch(key):
        found = data.get(UNDEFINED_KEY)
    return (found[0] if isinstance(found, list) and len(found) == 1 else found) or None


def plain_key(key: str) -> str | None:
    """The name in a task's data of a key such as `$image`; None for a key that names a place inside it, or text."""
    plain = PLAIN_KEY.fullmatch(key)
    return plain[1] if plain else None


def resolve(data: Mapping[str, Any], key: str) -> Any:
    """What a data key stands for: any JSON value, or text around such values; '' if one is missing."""
    if VARIABLE.fullmatch(key):
        found = _get(data, key[1:])
        return "" if found is None else found
    values = {variable: _get(data, variable[1:]) for variable in VARIABLE.findall(key)}
    if any(value is None for value in values.values()):
        return ""
    return VARIABLE.sub(lambda match: str(values[match[0]]), key)


def _get(data: Any, path: str) -> Any:
    """The value at a path such as `photo.url`, `images[0].url`; None where there is none. A whole name comes first."""
    if path in data:
        return data[path]
    for step in re.findall(r"[^.[\]]+", path):
        if isinstance(data, Mapping):
            data = data.get(step)
        elif isinstance(data, list) and len(step) < 9 and step.isdecimal() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data
