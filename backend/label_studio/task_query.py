"""Queries of Label Studio's data manager: filters over the tasks of a project, as its API reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

Filter = dict[str, Any]
BY_ID, NEWEST_FIRST = "tasks:id", "-tasks:updated_at"


def task_query(
    filters: Sequence[Filter], *, among: Sequence[int] | None = None, ordering: str = BY_ID
) -> dict[str, Any]:
    """Returns the query of the tasks that meet all filters; of those in `among` alone, if it is given."""
    query = {"filters": {"conjunction": "and", "items": list(filters)}, "ordering": [ordering]}
    return query if among is None else {**query, "selectedItems": {"all": False, "included": list(among)}}


def task_filter(name: str, operator: str, value: Any, *, kind: str = "Number") -> Filter:
    """Returns a filter by a column of the data manager."""
    return {"filter": f"filter:tasks:{name}", "operator": operator, "type": kind, "value": value}


def is_annotated() -> Filter:
    """Tasks with an annotation other than a skip."""
    # `total_annotations` does not count skips.
    return task_filter("total_annotations", "greater", 0)


def not_predicted_by(version: str) -> Filter:
    """Tasks without a prediction of a model version."""
    # A list, since Label Studio would look for each letter of a string.
    return task_filter("predictions_model_versions", "not_contains", [version], kind="List")


def changed_since(moment: datetime) -> Filter:
    """Tasks that changed at a moment, in UTC, or later."""
    return task_filter("updated_at", "greater_or_equal", moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), kind="Datetime")
