"""Reads an annotation's garments: the ground truth that models are trained and evaluated on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.domain import LabelledMask
from backend.label_studio.label_config import LabelConfig
from backend.regions.decode import NOTHING_DRAWN, decode, shapes

# A rectangle that holds this share of a garment of its label is the prompt that asked for it.
PROMPTED_SHARE = 0.9


@dataclass(frozen=True)
class Truth:
    """What an annotation says of one image.

    Attributes:
        garments: the whole garments, in drawing order.
        problems: a sentence for each region that is part of no garment.
        is_partial: garments are missing, because the shape of a region with a label of the config is unknown. To a
            model that is trained or evaluated on the others, they would be background.
    """

    garments: tuple[LabelledMask, ...]
    problems: tuple[str, ...]
    is_partial: bool = False


def truth_of(result: Sequence[Mapping[str, Any]], config: LabelConfig) -> Truth:
    """Reads the garments from the regions of an annotation or a prediction.

    Regions of the same label are parts of one garment if they are in one group (a region below another in Label
    Studio's tree) or joined by a relation. If either label is exclusive, pixels that two regions share belong to the
    later region. A label that is no longer in the config counts as the label that names it as its alias or among its
    `predicted_values`. Prompts, messages, and regions of the task's other images are ignored.
    """
    own_regions = _own_regions(result, config)
    masks, problems = decode(own_regions)
    is_unreadable = _is_any_unreadable(own_regions, masks, config, problems)
    for region_id, shape in shapes(own_regions).items():
        if shape.labels[1:]:
            others = ", ".join(f"'{label}'" for label in shape.labels[1:])
            problems.append(f"Region {region_id}: a garment has one label, so it is '{shape.label}' and not {others}.")
    regions = [named for mask in masks if (named := _named(mask, config, problems)) is not None]
    layered = _layered(regions, config, problems)
    garments = tuple(_joined(layered, own_regions))
    return Truth(garments, tuple(problems), is_unreadable or _is_any_without_outline(masks, garments, config))


def _is_any_unreadable(
    own_regions: Sequence[Mapping[str, Any]],
    masks: Sequence[LabelledMask],
    config: LabelConfig,
    problems: Sequence[str],
) -> bool:
    """Whether a region with a label of the config cannot be read; one that covers nothing can."""
    read = {mask.region_id for mask in masks}
    return any(
        shape.label is not None
        and current_label(shape.label, config) is not None
        and region_id not in read
        and not any(f"Region {region_id}: {reason}" in problems for reason in NOTHING_DRAWN)
        for region_id, shape in shapes(own_regions).items()
    )


def _is_any_without_outline(
    masks: Sequence[LabelledMask], garments: Sequence[LabelledMask], config: LabelConfig
) -> bool:
    """Whether a rectangle stands for a garment whose outline is missing; it may be the prompt of one that is there."""
    return any(
        (label := current_label(box.label, config)) is not None
        and _is_mere_box(box.kind, label, config)
        and not any(
            garment.label == label
            and garment.mask.shape == box.mask.shape
            and np.count_nonzero(garment.mask & box.mask) >= PROMPTED_SHARE * np.count_nonzero(garment.mask)
            for garment in garments
        )
        for box in masks
    )


def garment_labels(result: Sequence[Mapping[str, Any]], config: LabelConfig) -> list[str]:
    """Returns the label of each garment of `truth_of` cheaply, without drawing masks.

    So it also counts garments without a pixel, and those that later exclusive regions cover completely.
    """
    own_regions = _own_regions(result, config)
    named = [
        (identity, label)
        for identity, shape in shapes(own_regions).items()
        if shape.label is not None
        and (label := current_label(shape.label, config)) is not None
        and not _is_mere_box(shape.kind, label, config)
    ]
    return list(
        {garment: label for (_, label), garment in zip(named, _garments(named, own_regions), strict=True)}.values()
    )


def label_facts(config: LabelConfig) -> list[Any]:
    """Returns what `truth_of` reads from a label config, for cache keys: if it changes, so may the garments."""
    labels = [
        [label.value, sorted(label.predicted_values), label.exclusive, config.output_for(label.value).kind]
        for label in config.labels
    ]
    return [labels, sorted(config.names.items()), config.image_tag]


def _own_regions(result: Sequence[Mapping[str, Any]], config: LabelConfig) -> list[dict[str, Any]]:
    """Returns the regions that belong to the config's image."""
    return [
        dict(region)
        for region in result
        if isinstance(region, Mapping) and region.get("to_name") in (None, config.image_tag)
    ]


def current_label(label: str, config: LabelConfig) -> str | None:
    """Returns the config's label with that name, alias or predicted value; None if there is none."""
    label = config.label_of(label)
    return label if label in config.label_values else config.label_for(label)


def _is_mere_box(kind: str, label: str, config: LabelConfig) -> bool:
    """Whether the region is a rectangle although the config offers a tag that draws this label's shape."""
    return kind == "rectangle" and config.output_for(label).kind != "rectangle"


def _named(region: LabelledMask, config: LabelConfig, problems: list[str]) -> LabelledMask | None:
    """Returns the region with its label in the config; None, with a problem added, if it has none or is a mere box."""
    label = current_label(region.label, config)
    if label is None:
        problems.append(f"Region {region.region_id}: its label '{region.label}' is no longer in the label config.")
        return None
    if _is_mere_box(region.kind, label, config):
        problems.append(f"Region {region.region_id}: a rectangle is not an outline of '{label}'. Draw its outline.")
        return None
    return replace(region, label=label)


def _layered(regions: Sequence[LabelledMask], config: LabelConfig, problems: list[str]) -> list[LabelledMask]:
    """Removes from each region the pixels that later regions share with it, if either label is exclusive."""
    layered = []
    for number, region in enumerate(regions):
        mask = region.mask
        for later in regions[number + 1 :]:
            if later.mask.shape == mask.shape and (
                config.is_exclusive(region.label) or config.is_exclusive(later.label)
            ):
                mask = mask & ~later.mask
        if mask.any():
            layered.append(replace(region, mask=mask))
        else:
            problems.append(f"Region {region.region_id}: it is completely covered by later regions.")
    return layered


def _joined(regions: Sequence[LabelledMask], result: Sequence[Mapping[str, Any]]) -> list[LabelledMask]:
    """Unites the parts of each garment in one mask, at the position of its first part."""
    return [
        replace(parts[0], mask=np.logical_or.reduce([part.mask for part in parts])) if len(parts) > 1 else parts[0]
        for parts in parts_of_garments(regions, result)
    ]


def parts_of_garments(regions: Sequence[LabelledMask], result: Sequence[Mapping[str, Any]]) -> list[list[LabelledMask]]:
    """Groups regions by garment: same label, same mask size, and one group or a relation in `result`.

    The garments are in the order of their first parts.
    """
    keys = [(region.region_id, (region.label, region.mask.shape)) for region in regions]
    parts: dict[int, list[LabelledMask]] = {}
    for region, garment in zip(regions, _garments(keys, result), strict=True):
        parts.setdefault(garment, []).append(region)
    return list(parts.values())


def _garments(regions: Sequence[tuple[str | None, Hashable]], result: Sequence[Mapping[str, Any]]) -> list[int]:
    """Returns each region's garment number: linked regions with equal keys are parts of the same garment.

    Args:
        regions: the id of each region, and the key that all parts of a garment share.
    """
    index_of = {identity: number for number, (identity, _) in enumerate(regions)}
    pairs = [
        (index_of[first], index_of[second])
        for first, second in _links(result)
        if first in index_of and second in index_of
    ]
    pairs = [(first, second) for first, second in pairs if regions[first][1] == regions[second][1]]
    if not pairs:
        return list(range(len(regions)))
    ends = tuple(zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(pairs)), ends), shape=(len(regions), len(regions)))
    numbers: list[int] = connected_components(graph)[1].tolist()
    return numbers


def _links(result: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Returns the pairs of region ids that a group or a relation links, whatever their labels."""
    groups = [(str(region["parentID"]), str(region.get("id"))) for region in result if region.get("parentID")]
    relations = [
        (str(region.get("from_id")), str(region.get("to_id"))) for region in result if region.get("type") == "relation"
    ]
    return groups + relations
