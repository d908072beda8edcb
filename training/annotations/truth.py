"""What a person approved in an image: its garments, as models are trained on them and judged by them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from backend.domain import LabelledMask
from backend.label_studio.label_config import LabelConfig
from backend.regions.decode import decode, shapes


@dataclass(frozen=True)
class Truth:
    """The garments of one image, in drawing order, each whole; and a sentence for each region that is in none."""

    garments: tuple[LabelledMask, ...]
    problems: tuple[str, ...]


def truth_of(result: Sequence[Mapping[str, Any]], config: LabelConfig) -> Truth:
    """Reads an annotation's regions, or a prediction's.

    Regions of one label in one group (a region below another in Label Studio's tree) or joined by a relation are parts
    of one garment. Where a label is exclusive, pixels that two regions share belong to the later one. A label that the
    config does not hold any more counts as the one that names it as its alias or among its `predicted_values`.
    Prompts, messages, and regions of the task's other images are passed over.
    """
    here = _here(result, config)
    masks, problems = decode(here)
    regions = [named for mask in masks if (named := _named(mask, config, problems)) is not None]
    layered = _layered(regions, config, problems)
    return Truth(tuple(_joined(layered, here)), tuple(problems))


def garment_labels(result: Sequence[Mapping[str, Any]], config: LabelConfig) -> list[str]:
    """The label of each garment of `truth_of`, at no cost: without drawing any.

    So garments count, too, that cover no pixel, or none that later ones of an exclusive layer leave them.
    """
    here = _here(result, config)
    named = [
        (identity, label)
        for identity, shape in shapes(here).items()
        if shape.label is not None
        and (label := _known(shape.label, config)) is not None
        and not _is_mere_box(shape.kind, label, config)
    ]
    return list({garment: label for (_, label), garment in zip(named, _garments(named, here), strict=True)}.values())


def label_facts(config: LabelConfig) -> list[Any]:
    """What `truth_of` takes from a label config, as JSON: under another one the same regions are other garments."""
    labels = [
        [label.value, label.alias, sorted(label.predicted_values), label.exclusive, config.output_for(label.value).kind]
        for label in config.labels
    ]
    return [labels, config.image_tag]


def _here(result: Sequence[Mapping[str, Any]], config: LabelConfig) -> list[dict[str, Any]]:
    """The regions of the config's image."""
    return [
        dict(region)
        for region in result
        if isinstance(region, Mapping) and region.get("to_name") in (None, config.image_tag)
    ]


def _known(label: str, config: LabelConfig) -> str | None:
    """The config's label of that name, or that names it; None where none does."""
    return label if label in config.label_values else config.label_for(label)


def _is_mere_box(kind: str, label: str, config: LabelConfig) -> bool:
    """Whether it is a rectangle of what can be drawn."""
    return kind == "rectangle" and config.output_for(label).kind != "rectangle"


def _named(region: LabelledMask, config: LabelConfig, problems: list[str]) -> LabelledMask | None:
    """The region under a label of the config; None, with the reason, where it is no shape of any."""
    label = _known(region.label, config)
    if label is None:
        problems.append(f"the label '{region.label}' is no longer in the label config.")
        return None
    if _is_mere_box(region.kind, label, config):
        problems.append(f"Region {region.region_id}: a rectangle is no outline of '{label}', which can be drawn.")
        return None
    return replace(region, label=label)


def _layered(regions: Sequence[LabelledMask], config: LabelConfig, problems: list[str]) -> list[LabelledMask]:
    """The regions without the pixels that later ones have of them, where one of the two is exclusive."""
    layered = []
    for number, one in enumerate(regions):
        mask = one.mask
        for later in regions[number + 1 :]:
            if later.mask.shape == mask.shape and (config.is_exclusive(one.label) or config.is_exclusive(later.label)):
                mask = mask & ~later.mask
        if mask.any():
            layered.append(replace(one, mask=mask))
        else:
            problems.append(f"Region {one.region_id}: later regions cover all of it.")
    return layered


def _joined(regions: Sequence[LabelledMask], result: Sequence[Mapping[str, Any]]) -> list[LabelledMask]:
    """One mask a garment, at the place of its first part."""
    return [
        replace(parts[0], mask=np.logical_or.reduce([part.mask for part in parts])) if len(parts) > 1 else parts[0]
        for parts in parts_of_garments(regions, result)
    ]


def parts_of_garments(regions: Sequence[LabelledMask], result: Sequence[Mapping[str, Any]]) -> list[list[LabelledMask]]:
    """The regions of each garment: those of one label, and one size, in one group or joined by a relation of `result`.

    Garments are in the order of their first parts.
    """
    alike = [(region.region_id, (region.label, region.mask.shape)) for region in regions]
    whole: dict[int, list[LabelledMask]] = {}
    for region, garment in zip(regions, _garments(alike, result), strict=True):
        whole.setdefault(garment, []).append(region)
    return list(whole.values())


def _garments(regions: Sequence[tuple[str | None, Hashable]], result: Sequence[Mapping[str, Any]]) -> list[int]:
    """The number of the garment that each region is of: those that are linked are of one, where they are alike.

    Args:
        regions: their ids, and what those of one garment have in common.
    """
    place = {identity: number for number, (identity, _) in enumerate(regions)}
    pairs = [(place[one], place[other]) for one, other in _links(result) if one in place and other in place]
    pairs = [(one, other) for one, other in pairs if regions[one][1] == regions[other][1]]
    if not pairs:
        return list(range(len(regions)))
    ends = tuple(zip(*pairs, strict=True))
    graph = coo_array((np.ones(len(pairs)), ends), shape=(len(regions), len(regions)))
    numbers: list[int] = connected_components(graph)[1].tolist()
    return numbers


def _links(result: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of region ids that belong together, in any label."""
    groups = [(str(region["parentID"]), str(region.get("id"))) for region in result if region.get("parentID")]
    relations = [(str(one.get("from_id")), str(one.get("to_id"))) for one in result if one.get("type") == "relation"]
    return groups + relations
