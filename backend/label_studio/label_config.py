"""A label config, read for what a model needs: what can be drawn, with which tag, label and threshold.

Attributes of the label config that Label Studio's own YOLO backend defined mean the same here: `predicted_values` on a
`<Label>` (model classes that count as this label, separated by commas), `model_score_threshold` and `model_skip` on a
control tag. Drape adds two: `prompt` on a `<Label>`, the words that SAM 3 looks for, and `exclusive="true"` on a
`<Label>` or the tag around it, so that its new regions take no pixel of existing ones.

Label Studio writes a label's `alias` in place of its value into regions and prompts, and reads either. Here a label is
known by its value: `LabelConfig.label_of` reads the name in a region, `OutputTag.name_of` is the name to write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Literal

from lxml import etree

from backend.errors import LabelConfigError
from backend.label_studio.config_xml import MESSAGE_NAME, parse_xml

Kind = Literal["polygon", "brush", "bitmask", "rectangle"]
# In order of preference: polygons can be edited, rectangles hold no shape.
KINDS: tuple[Kind, ...] = ("polygon", "brush", "bitmask", "rectangle")
PALETTES = ("Labels", *(f"{kind.capitalize()}Labels" for kind in KINDS))
# Tags whose labels are read for their names only: those of prompts, and of regions that Drape reads but does not draw.
NAMING_TAGS = ("KeyPointLabels", "EllipseLabels")
MAX_CHARACTERS = 1_000_000
MAX_LABELS = 1_000
# Counts a label once per tag that contains it.
MAX_LABELS_OF_ALL_TAGS = 10_000
MAX_CONTROLS = 200
# Limits images times control tags, as each control may belong to each image.
MAX_TAGS = 2_000
# The most characters of a config's own text that a message quotes.
MAX_SHOWN_CHARACTERS = 200
NO_MESSAGE_TAG = (
    f"The label config has no control for messages (<TextArea> named '{MESSAGE_NAME}'): where a click is not answered, "
    "the page shows nothing."
)


@dataclass(frozen=True)
class Label:
    """One label: `value` as the config spells it; `predicted_values` in lower case; `prompt` the words for it.

    Attributes:
        alias: the name that regions of its tag have in place of the value; empty for none.
        exclusive: whether a new region of this label takes no pixel of existing regions.
    """

    value: str
    alias: str = ""
    prompt: str = ""
    predicted_values: frozenset[str] = frozenset()
    exclusive: bool = False

    @property
    def phrase(self) -> str:
        """The words that a model which reads words looks for."""
        return self.prompt or self.value


@dataclass(frozen=True)
class OutputTag:
    """A control tag that regions are written to.

    Attributes:
        labels: the values of its labels.
        aliases: label value → its name in the tag's regions.
        labels_tag: name of the `<Labels>` palette that labels the regions of a bare tag; None for a `…Labels` tag.
    """

    name: str
    to_name: str
    kind: Kind
    labels: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    labels_tag: str | None = None
    score_threshold: float | None = None
    skip: bool = False

    def name_of(self, label: str) -> str:
        """The name of a label in the tag's regions: its alias, as Label Studio writes it, else its value."""
        return self.aliases.get(label, label)


@dataclass(frozen=True)
class _Control:
    """A control tag as in the config.

    Attributes:
        targets: names of the image tags that it belongs to.
        kind: the kind of region that it draws; None if it draws nothing.
        labels: the labels that it contains.
    """

    tag: str
    name: str
    targets: frozenset[str]
    kind: Kind | None
    labels: tuple[Label, ...]
    smart_only: bool
    score_threshold: float | None
    skip: bool

    @property
    def is_bare(self) -> bool:
        """Whether it has no labels of its own, so that a palette labels its regions."""
        return not self.tag.endswith("Labels")


@dataclass(frozen=True)
class LabelConfig:
    """What a label config allows: Drape serves one image of a task, the one in which something can be drawn.

    Attributes:
        image_key: the `value` of the image's tag, such as `$image`; see `data_keys`.
        names: name in a region or a prompt (value or alias) → label value, of all tags of the image.
        has_message_tag: whether it has a `<TextArea>` for messages to the annotator, named `MESSAGE_NAME`.
    """

    image_tag: str
    image_key: str
    labels: tuple[Label, ...]
    outputs: tuple[OutputTag, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    has_message_tag: bool = False

    @property
    def label_values(self) -> tuple[str, ...]:
        """All labels that can be drawn, in the config's order."""
        return tuple(label.value for label in self.labels)

    def output_for(self, label: str) -> OutputTag:
        """The preferred tag that contains `label`, by the order of `KINDS`.

        Raises:
            LabelConfigError: no tag contains it.
        """
        output = self._best_outputs.get(label)
        if output is None:
            raise LabelConfigError(f"The label config has no polygon, brush, bitmask or rectangle tag for '{label}'.")
        return output

    @cached_property
    def _best_outputs(self) -> dict[str, OutputTag]:
        best: dict[str, OutputTag] = {}
        for output in sorted(self.outputs, key=lambda output: KINDS.index(output.kind)):
            for label in output.labels:
                best.setdefault(label, output)
        return best

    def label_of(self, name: str) -> str:
        """The label that a name in a region or a prompt stands for; the name itself if the config does not have it."""
        return self.names.get(name, name)

    def label_for(self, class_name: str) -> str | None:
        """The label that a model's class counts as, regardless of case; None if there is no such label.

        `predicted_values` of all labels come first, then their own values and aliases.
        """
        folded = _folded(class_name)
        for label in self.labels:
            if folded in label.predicted_values:
                return label.value
        return self._labels_by_folded_name.get(folded)

    @cached_property
    def _labels_by_folded_name(self) -> dict[str, str]:
        by_name = {_folded(value): value for value in reversed(self.label_values)}
        for name, value in self.names.items():
            if value in self.label_values:
                by_name.setdefault(_folded(name), value)
        return by_name

    def label_named(self, phrase: str) -> str | None:
        """The label that the annotator's words name, regardless of case; None if they name none.

        The value, alias or prompt of the label is the phrase or whole words of it: 'silk saree' names 'saree'. Of
        several matches the last counts, which an English phrase is about; of those that end there, the longest.
        """
        folded = _folded(phrase).split()
        best: tuple[int, int, str] | None = None
        for label in self.labels:
            for name in (label.value, *self._aliases.get(label.value, ()), label.prompt):
                words = _folded(name).split()
                for end in range(len(words), len(folded) + 1) if words else ():
                    if folded[end - len(words) : end] == words and (best is None or (end, len(words)) > best[:2]):
                        best = (end, len(words), label.value)
        return best[2] if best else None

    @cached_property
    def _aliases(self) -> dict[str, list[str]]:
        """The names of each label other than its value."""
        aliases: dict[str, list[str]] = {}
        for name, value in self.names.items():
            if name != value:
                aliases.setdefault(value, []).append(name)
        return aliases

    def is_exclusive(self, label: str) -> bool:
        """Whether a new region of `label` takes no pixel of existing regions."""
        return any(each.exclusive for each in self.labels if each.value == label)

    def threshold_for(self, label: str, default: float) -> float:
        """The score below which detections of `label` are dropped: its tag's threshold, else `default`."""
        threshold = self.output_for(label).score_threshold
        return default if threshold is None else threshold

    def skips(self, label: str) -> bool:
        """Whether the label's tag has `model_skip`, so that the model leaves the label to people."""
        return self.output_for(label).skip


def parse_label_config(xml: str) -> LabelConfig:
    """Reads a label config for the image in which something can be drawn; other images are there to be looked at.

    Raises:
        LabelConfigError: it is not XML, exceeds a limit, lacks a usable image or label tag, or draws in several images;
            the message says which.
    """
    if len(xml) > MAX_CHARACTERS:
        raise LabelConfigError(f"The label config is longer than {MAX_CHARACTERS:,} characters.")
    root = parse_xml(xml)
    images = [tag for tag in root.iter("Image") if tag.get("name") and (tag.get("value") or _has_value_list(tag))]
    if not images:
        raise LabelConfigError('The label config has no <Image> tag with a name and a value such as value="$image".')
    controls = _controls(root, images=len(images))
    drawn_in = [(tag, config) for tag in images if (config := _read(tag, controls)).labels]
    for tag, config in drawn_in:
        _check_is_one_image(tag, config.image_tag)
    configs = [config for _, config in drawn_in]
    if not configs:
        raise LabelConfigError(
            "The label config has no labels to draw: it needs <PolygonLabels>, <BrushLabels>, <BitmaskLabels> or "
            "<RectangleLabels>, or a <Labels> palette with a bare <Polygon>, <Brush>, <Bitmask> or <Rectangle>."
        )
    if len(configs) > 1:
        names = ", ".join(f"'{config.image_tag}'" for config in configs)[:MAX_SHOWN_CHARACTERS]
        raise LabelConfigError(
            f"The label config draws in {len(configs)} images of a task ({names}), and Drape serves one. Let "
            "the toName of all drawing tags name one image, or give each image a task of its own."
        )
    if len(configs[0].labels) > MAX_LABELS:
        raise LabelConfigError(f"The label config has more than {MAX_LABELS:,} labels.")
    return configs[0]


def _check_is_one_image(tag: etree._Element, name: str) -> None:
    repeated = any(str(each.tag).lower() == "repeater" for each in tag.iterancestors())
    if repeated or _has_value_list(tag):
        what = "stands in a <Repeater>" if repeated else "has a valueList"
        raise LabelConfigError(
            f"The <Image> '{name[:MAX_SHOWN_CHARACTERS]}' {what}, so that a task has several images, and Drape serves "
            'one. Give each image a task of its own, under a value such as value="$image".'
        )


def _has_value_list(tag: etree._Element) -> bool:
    # Label Studio's page reads the names of attributes in lower case.
    return any(str(name).lower() == "valuelist" for name in tag.keys())


def _read(image: etree._Element, controls: Sequence[_Control]) -> LabelConfig:
    """What can be drawn in one image, which may be nothing."""
    image_tag = image.get("name", "")
    image_controls = [control for control in controls if image_tag in control.targets]
    drawing = [control for control in image_controls if control.name and control.kind and not control.smart_only]
    bare = [control for control in drawing if control.is_bare]
    # Of several palettes of one name, the last counts.
    palettes = [
        palette for palette in {c.name: c for c in image_controls if c.tag == "Labels"}.values() if palette.labels
    ]
    outputs = [_output(control, control.labels, image_tag) for control in drawing if control.labels]
    outputs += [
        _output(control, palette.labels, image_tag, labels_tag=palette.name) for control in bare for palette in palettes
    ]
    drawable = {value for output in outputs for value in output.labels}
    by_value: dict[str, Label] = {}
    for label in (label for control in image_controls if control.tag in PALETTES for label in control.labels):
        if label.value in drawable:
            by_value.setdefault(label.value, label)

    return LabelConfig(
        image_tag=image_tag,
        image_key=image.get("value", ""),
        labels=tuple(by_value.values()),
        outputs=tuple(outputs),
        names=_names([label for control in image_controls for label in control.labels]),
        has_message_tag=any(c.tag == "TextArea" and c.name == MESSAGE_NAME for c in image_controls),
    )


def _names(labels: Sequence[Label]) -> dict[str, str]:
    names: dict[str, str] = {}
    for label in labels:
        for name in filter(None, (label.value, label.alias)):
            if names.setdefault(name, label.value) != label.value:
                raise LabelConfigError(
                    f"In the label config '{name}' names both '{names[name]}' and '{label.value}'. Give each label a "
                    "value and an alias of its own: regions hold nothing else."
                )
    return names


def _controls(root: etree._Element, *, images: int) -> list[_Control]:
    """The control tags, palettes and text areas in the document's order; refuses too many before it reads any."""
    label_tags = (*PALETTES, *NAMING_TAGS)
    tags = list(root.iter(*label_tags, *(kind.capitalize() for kind in KINDS), "TextArea"))
    if len(tags) > MAX_CONTROLS or images * len(tags) > MAX_TAGS:
        raise LabelConfigError(f"The label config has too many tags: {images:,} images and {len(tags):,} controls.")
    # A label counts in every tag that contains it.
    counted = islice((label for tag in tags for label in tag.iter("Label")), MAX_LABELS_OF_ALL_TAGS + 1)
    if sum(1 for _ in counted) > MAX_LABELS_OF_ALL_TAGS:
        raise LabelConfigError(f"The label config has more than {MAX_LABELS_OF_ALL_TAGS:,} labels in all its tags.")
    return [_control(tag, _labels_of(tag) if tag.tag in label_tags else ()) for tag in tags]


def _control(tag: etree._Element, labels: tuple[Label, ...]) -> _Control:
    kind = str(tag.tag).removesuffix("Labels").lower()
    return _Control(
        tag=str(tag.tag),
        name=tag.get("name", ""),
        targets=frozenset(name.strip() for name in (tag.get("toName") or "").split(",")),
        kind=kind if kind in KINDS else None,
        labels=labels,
        smart_only=_flag(tag, "smartOnly"),
        score_threshold=_threshold(tag) if kind in KINDS else None,
        skip=_flag(tag, "model_skip"),
    )


def _output(
    control: _Control, labels: tuple[Label, ...], image_tag: str, *, labels_tag: str | None = None
) -> OutputTag:
    if control.kind is None:
        raise ValueError(f"Nothing can be drawn with <{control.tag}>.")
    return OutputTag(
        name=control.name,
        to_name=image_tag,
        kind=control.kind,
        labels=tuple(label.value for label in labels),
        # Of a label that is listed twice, the first counts: Label Studio looks for it in this order.
        aliases={label.value: label.alias or label.value for label in reversed(labels)},
        labels_tag=labels_tag,
        score_threshold=control.score_threshold,
        skip=control.skip,
    )


def _labels_of(tag: etree._Element) -> tuple[Label, ...]:
    return tuple(
        Label(
            value=label.get("value", ""),
            alias=label.get("alias") or "",
            prompt=label.get("prompt") or "",
            predicted_values=frozenset(
                _folded(value) for value in (label.get("predicted_values") or "").split(",") if value.strip()
            ),
            exclusive=_flag(label, "exclusive") or _flag(tag, "exclusive"),
        )
        for label in tag.iter("Label")
        if label.get("value")
    )


def _threshold(tag: etree._Element) -> float | None:
    text = tag.get("model_score_threshold")
    if text is None or not text.strip():
        return None
    try:
        threshold = float(text)
    except ValueError as e:
        raise LabelConfigError(f"model_score_threshold of <{tag.tag}> is not a number: '{text}'.") from e
    if not math.isfinite(threshold):
        raise LabelConfigError(f"model_score_threshold of <{tag.tag}> is not a number: '{text}'.")
    return threshold


def _flag(tag: etree._Element, attribute: str) -> bool:
    return (tag.get(attribute) or "").strip().lower() in {"true", "1", "yes"}


def _folded(text: str) -> str:
    return text.strip().casefold()
