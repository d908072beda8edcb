"""Reads the file that `PROJECT_SETTINGS` names: settings of single projects, within limits on its size."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from yaml import YAMLError

from backend.errors import SettingsError, first_line

# The settings that a project may override: what its model detects, accepts and learns, and how it is evaluated. All
# others belong to the installation: addresses, secrets, devices, and the limits that protect it.
PROJECT_SETTING_NAMES = frozenset(
    {
        "approval",
        "approval_choice",
        "audit_share",
        "auto_accept",
        "auto_accept_iou",
        "auto_accept_precision",
        "example_tag",
        "hard_example_weight",
        "max_regions",
        "model_score_threshold",
        "polygon_parts",
        "polygon_tolerance_px",
        "promote_class_drop",
        "promote_margin",
        "rare_label_share",
        "refine",
        "retrain_after",
        "retrain_min_images",
        "speck_percent",
        "split_by",
        "sticky_words",
        "train_args",
        "train_batch",
        "train_epochs",
        "train_image_size_px",
        "train_max_minutes",
        "train_on_auto_accepted",
        "train_timeout_s",
        "train_updates",
        "yolo11_base",
    }
)

# A few aliases of aliases may expand to billions of values.
MAX_YAML_CHARACTERS, MAX_YAML_VALUES = 200_000, 100_000


@lru_cache(maxsize=4)
def read_projects(path: Path, stamp: tuple[int, int], *, all_names: frozenset[str]) -> Mapping[int, Mapping[str, Any]]:
    """The file's content: project number → setting name in lower case → value.

    Args:
        stamp: the file's modification time and size: a changed file is read again instead of taken from the cache.
        all_names: names of all settings that exist.

    Raises:
        SettingsError: the file is malformed, or names a setting that projects cannot override.
    """
    try:
        content = _read_yaml(path)
    except (OSError, UnicodeDecodeError, YAMLError, ValueError, TypeError, AttributeError, RecursionError) as e:
        raise SettingsError(f"PROJECT_SETTINGS={path} cannot be read as YAML: {first_line(e)}.") from e
    projects = content.get("projects") if isinstance(content, dict) else None
    if not isinstance(projects, dict) or len(content) != 1:
        raise SettingsError(f"PROJECT_SETTINGS={path} must hold `projects:`, and below it a table for each project.")
    settings_by_project: dict[int, dict[str, Any]] = {}
    for number, values in projects.items():
        if not str(number).isdecimal() or not isinstance(values or {}, dict):
            raise SettingsError(f"PROJECT_SETTINGS={path}: '{number}' is not a project number with settings below it.")
        by_name = {str(name).lower(): value for name, value in (values or {}).items()}
        for name in by_name.keys() - PROJECT_SETTING_NAMES:
            reason = "is a setting of the whole installation" if name in all_names else "is not a setting"
            where = describe_project(path, int(number))
            raise SettingsError(f"{where}: {name.upper()} {reason}; docs/reference/settings.md lists them.")
        settings_by_project[int(number)] = by_name
    return settings_by_project


def _read_yaml(path: Path) -> Any:
    """The file's YAML content.

    Raises:
        ValueError: the file is larger than a settings file can be; its values are not constructed then.
    """
    # With or without a byte order mark, whatever the locale.
    text = path.read_text(encoding="utf-8-sig")
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"It is longer than {MAX_YAML_CHARACTERS:,} characters")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is not None and _count_values(node, {}) > MAX_YAML_VALUES:
        raise ValueError(f"With its aliases expanded, it holds more than {MAX_YAML_VALUES:,} values")
    return yaml.safe_load(text) or {}


def _count_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """The number of values in a node, with an alias counted as what it stands for."""
    if id(node) not in counted:
        # A node that contains itself has no end: it counts as too many values.
        counted[id(node)] = MAX_YAML_VALUES
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        counted[id(node)] = 1 + sum(_count_values(child, counted) for child in children)
    return counted[id(node)]


def describe_project(path: Path, project_id: int | None) -> str:
    """Names the file and the project in it, for messages."""
    return f"PROJECT_SETTINGS={path}, project {project_id}"
