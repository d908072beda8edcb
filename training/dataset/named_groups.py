"""What the setting `SPLIT_BY` names: which images belong together, by their files' names, folders or tasks' data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from backend.label_studio.data_keys import image_in
from backend.label_studio.data_url import is_data_url
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.uploads import DIGEST_LENGTH, UPLOAD_URL, image_name

UPLOAD_DIGEST = re.compile(rf"[0-9a-f]{{{DIGEST_LENGTH}}}__")


def named_group(data: Mapping[str, Any], config: LabelConfig, *, split_by: str) -> str | None:
    """Returns the group of a task's image, with the setting before it, such as `prefix:_=look12`; None if it has none.

    Args:
        data: the task's data.
        split_by: the setting `SPLIT_BY`, in one of its valid forms.
    """
    kind, _, argument = split_by.partition(":")
    match kind:
        case "field":
            value = data.get(argument)
            name = "" if value is None else str(value)
        case "folder":
            name = _folder_and_file(data, config)[0]
        case "prefix":
            stem = PurePosixPath(_folder_and_file(data, config)[1]).stem
            name = stem[: int(argument)] if argument.isdecimal() else stem.rpartition(argument)[0]
        case _:
            name = ""
    return f"{split_by}={name}" if name else None


def _folder_and_file(data: Mapping[str, Any], config: LabelConfig) -> tuple[str, str]:
    """Returns the folder and the file's name of a task's image; each '' where the address does not say it."""
    url = image_in(data, config.image_key)
    if not isinstance(url, str) or is_data_url(url):
        return "", ""
    name = image_name(url)
    if UPLOAD_URL.search(unquote(url)):
        # Label Studio keeps no folders of uploads; `drape import` writes them into the name, see `upload_name`.
        folder, _, file = UPLOAD_DIGEST.sub("", name, count=1).rpartition("__")
        return folder, file
    if name == url:
        # An address elsewhere: its host is part of the folder, its signature is not.
        parts = urlsplit(url)
        name = parts.netloc + unquote(parts.path)
    folder, _, file = name.rpartition("/")
    return folder, file
