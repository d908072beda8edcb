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
        "refine_with_sam",
        "retrain_after",
        "retrain_min_images",
        "speck_percent",
        "sticky_words",
        "train_args",
        "train_batch",
        "train_epochs",
        "train_image_size_px",
        "train_max_minutes",
        "train_on_auto_accepted",
        "train_patience",
        "train_timeout_s",
        "yolo11_base",
    }
)

# A few aliases of aliases may expand to billions of values.
MAX_YAML_CHARACTERS, MAX_YAML_VALUES = 200_000, 100_000


@lru_cache(maxsize=4)
def read_projects(path: Path, stamp: tuple[int, int], *, known: frozenset[str]) -> Mapping[int, Mapping[str, Any]]:
    """The file's content: project number → setting name in lower case → value.

    Args:
        stamp: the file's modification time and size: a changed file is read again instead of taken from the cache.
        known: names of all settings that exist.

    Raises:
        SettingsError: the file is malformed, or names a setting that projects cannot override.
    """
    try:
        said = _read_yaml(path)
    except (OSError, UnicodeDecodeError, YAMLError, ValueError, TypeError, AttributeError, RecursionError) as e:
        raise SettingsError(f"PROJECT_SETTINGS={path} cannot be read as YAML: {first_line(e)}.") from e
    projects = said.get("projects") if isinstance(said, dict) else None
    if not isinstance(projects, dict) or len(said) != 1:
        raise SettingsError(f"PROJECT_SETTINGS={path} must hold `projects:`, and below it a table for each project.")
    found: dict[int, dict[str, Any]] = {}
    for number, own in projects.items():
        if not str(number).isdecimal() or not isinstance(own or {}, dict):
            raise SettingsError(f"PROJECT_SETTINGS={path}: '{number}' is no project's number with settings below it.")
        named = {str(name).lower(): value for name, value in (own or {}).items()}
        for name in named.keys() - PROJECT_SETTING_NAMES:
            reason = "is a setting of the whole installation" if name in known else "is no setting"
            where = describe_project(path, int(number))
            raise SettingsError(f"{where}: {name.upper()} {reason}; docs/reference/settings.md lists them.")
        found[int(number)] = named
    return found


def _read_yaml(path: Path) -> Any:
    """The file's YAML content.

    Raises:
        ValueError: the file is larger than a settings file can be; its values are not constructed then.
    """
    text = path.read_text()
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"It is longer than {MAX_YAML_CHARACTERS:,} characters")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is not None and _values_of(node, {}) > MAX_YAML_VALUES:
        raise ValueError(f"With what its aliases stand for it holds more than {MAX_YAML_VALUES:,} values")
    return yaml.safe_load(text) or {}


def _values_of(node: yaml.Node, known: dict[int, int]) -> int:
    """The number of values in a node, with an alias counted as what it stands for."""
    if id(node) not in known:
        # A node that contains itself has no end: it counts as too many values.
        known[id(node)] = MAX_YAML_VALUES
        held: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            held = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            held = node.value
        known[id(node)] = 1 + sum(_values_of(one, known) for one in held)
    return known[id(node)]


def describe_project(path: Path, project_id: int | None) -> str:
    """Names the file and the project in it, for messages."""
    return f"PROJECT_SETTINGS={path}, project {project_id}"
