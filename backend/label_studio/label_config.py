"""A label config read for what a model needs: what may be drawn, by which tag, under which name, above which score.

Attributes of the label config that Label Studio's own YOLO backend defined mean the same here: `predicted_values` on a
`<Label>` (model classes that count as this label, separated by commas), `model_score_threshold` and `model_skip` on a
control tag. Two are Drape's own, both on a `<Label>`: `prompt`, the words that SAM 3 looks for, and `exclusive="true"`,
by which a new region takes no pixel of those that are there already.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal

from lxml import etree

from backend.errors import LabelConfigError

Kind = Literal["polygon", "brush", "bitmask", "rectangle"]
# The best first: polygons can be edited, rectangles hold no shape.
KINDS: tuple[Kind, ...] = ("polygon", "brush", "bitmask", "rectangle")
MAX_CHARACTERS = 1_000_000
MAX_LABELS = 1_000
# The same labels may stand in several tags.
MAX_LABELS_IN_ALL = 10_000
MAX_CONTROLS = 200
# Images times control tags: each control may belong to each image.
MAX_TAGS = 2_000
MESSAGE_NAME = "message"


@dataclass(frozen=True)
class Label:
    """One label: `value` as the config spells it; `predicted_values` in lower case; `prompt` the words for it.

    Attributes:
        exclusive: a new region of this label takes no pixel of the regions that are there already.
    """

    value: str
    alias: str = ""
    prompt: str = ""
    predicted_values: frozenset[str] = frozenset()
    exclusive: bool = False

    @property
    def phrase(self) -> str:
        """What a model that reads words is asked for."""
        return self.prompt or self.value


@dataclass(frozen=True)
class OutputTag:
    """A control tag that regions go into.

    Attributes:
        labels_tag: name of the `<Labels>` palette that names the regions of a bare tag; None for a `…Labels` tag.
    """

    name: str
    to_name: str
    kind: Kind
    labels: tuple[str, ...]
    labels_tag: str | None = None
    score_threshold: float | None = None
    skip: bool = False


@dataclass(frozen=True)
class _Control:
    """A control tag as it stands in the config.

    Attributes:
        targets: names of the images that it belongs to.
        kind: what it draws; None where it draws nothing.
        labels: what it holds; `values` as the config spells them.
    """

    tag: str
    name: str
    targets: frozenset[str]
    kind: Kind | None
    labels: tuple[Label, ...]
    values: tuple[str, ...]
    smart_only: bool
    score_threshold: float | None
    skip: bool

    @property
    def is_bare(self) -> bool:
        """A tool whose regions a palette names."""
        return not self.tag.endswith("Labels")


@dataclass(frozen=True)
class TextTag:
    """A `<TextArea>`: of the message control, or of the annotator's words."""

    name: str
    to_name: str


@dataclass(frozen=True)
class LabelConfig:
    """What a label config allows in one of its images."""

    image_tag: str
    image_key: str
    labels: tuple[Label, ...]
    outputs: tuple[OutputTag, ...]
    message_tag: TextTag | None = None

    @property
    def label_values(self) -> tuple[str, ...]:
        """Every label that can be drawn, in the config's order."""
        return tuple(label.value for label in self.labels)

    def output_for(self, label: str) -> OutputTag:
        """The best tag that holds `label`.

        Raises:
            LabelConfigError: none does.
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

    def label_for(self, class_name: str) -> str | None:
        """The label that a model's class counts as, regardless of case; None where it counts as none.

        `predicted_values` come first, then a label's own value, then its alias.
        """
        wanted = _folded(class_name)
        for label in self.labels:
            if wanted in label.predicted_values:
                return label.value
        for label in self.labels:
            if wanted in (_folded(label.value), _folded(label.alias)):
                return label.value
        return None

    def label_named(self, phrase: str) -> str | None:
        """The label that the annotator's words name, regardless of case; None where they name none.

        Its value, alias or prompt as a whole, else as words of the phrase: 'silk saree' names the label 'saree'. Of
        several the last, which an English phrase is about, and of those that end there the longest.
        """
        wanted = _folded(phrase).split()
        best: tuple[int, int, str] | None = None
        for label in self.labels:
            for name in (label.value, label.alias, label.prompt):
                words = _folded(name).split()
                for end in range(len(words), len(wanted) + 1) if words else ():
                    if wanted[end - len(words) : end] == words and (best is None or (end, len(words)) > best[:2]):
                        best = (end, len(words), label.value)
        return best[2] if best else None

    def is_exclusive(self, label: str) -> bool:
        """True where a new region of `label` takes no pixel of those that are there already."""
        return any(one.exclusive for one in self.labels if one.value == label)

    def threshold_for(self, label: str, default: float) -> float:
        """Confidence below which detections of `label` are dropped: its tag's own, else `default`."""
        threshold = self.output_for(label).score_threshold
        return default if threshold is None else threshold

    def skips(self, label: str) -> bool:
        """True where the label's tag says `model_skip`: the model leaves it to people."""
        return self.output_for(label).skip


def parse_label_config(xml: str) -> LabelConfig:
    """Reads a label config, for its first image.

    Raises:
        LabelConfigError: as `parse_label_configs`.
    """
    return parse_label_configs(xml)[0]


def parse_label_configs(xml: str) -> tuple[LabelConfig, ...]:
    """Reads a label config: what it allows in each of its images, of those in which anything may be drawn.

    Raises:
        LabelConfigError: it is not XML, is beyond the limits, or lacks a usable image or label tag; says which.
    """
    if len(xml) > MAX_CHARACTERS:
        raise LabelConfigError(f"The label config is longer than {MAX_CHARACTERS:,} characters.")
    root = _parse_xml(xml)
    images = [(tag.get("name", ""), (tag.get("value") or "").removeprefix("$")) for tag in root.iter("Image")]
    images = [(name, key) for name, key in images if name and key]
    if not images:
        raise LabelConfigError('The label config has no <Image> tag with a name and a value such as value="$image".')
    controls = _controls(root, images=len(images))
    configs = tuple(config for name, key in images if (config := _read(name, key, controls)).labels)
    if not configs:
        raise LabelConfigError(
            "The label config has no labels to draw: it needs <PolygonLabels>, <BrushLabels>, <BitmaskLabels> or "
            "<RectangleLabels>, or a <Labels> palette with a bare <Polygon>, <Brush>, <Bitmask> or <Rectangle>."
        )
    if max(len(config.labels) for config in configs) > MAX_LABELS:
        raise LabelConfigError(f"The label config has more than {MAX_LABELS:,} labels.")
    return configs


def config_of(configs: Sequence[LabelConfig], result: Iterable[Mapping[str, Any]]) -> LabelConfig:
    """The config of the image that regions or prompts belong to; the first image's where they name none."""
    # A list: what stands there may be anything, also what no set holds.
    named = [region.get("to_name") for region in result]
    return next((config for config in configs if config.image_tag in named), configs[0])


def _read(image_tag: str, image_key: str, controls: Sequence[_Control]) -> LabelConfig:
    """What may be drawn in one image, which may be nothing."""
    here = [control for control in controls if image_tag in control.targets]
    drawing = [control for control in here if control.name and control.kind and not control.smart_only]
    labelled = [control for control in drawing if control.labels]
    bare = [control for control in drawing if control.is_bare]
    palettes = {control.name: control for control in here if control.tag == "Labels"}
    named = [palette for palette in palettes.values() if palette.labels]
    outputs = [_output(control, control.values, image_tag) for control in labelled]
    outputs += [_output(control, one.values, image_tag, labels_tag=one.name) for control in bare for one in named]
    drawable = {value for control in labelled + (named if bare else []) for value in control.values}
    by_value: dict[str, Label] = {}
    for label in (label for control in here for label in control.labels):
        if label.value in drawable:
            by_value.setdefault(label.value, label)
    texts = [control for control in here if control.tag == "TextArea"]
    return LabelConfig(
        image_tag=image_tag,
        image_key=image_key,
        labels=tuple(by_value.values()),
        outputs=tuple(outputs),
        message_tag=TextTag(MESSAGE_NAME, image_tag) if any(text.name == MESSAGE_NAME for text in texts) else None,
    )


def _parse_xml(xml: str) -> etree._Element:
    # Entities and DTDs are refused whole: a config needs neither, and both have been used to exhaust parsers.
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(xml.encode(), parser)
    except (etree.XMLSyntaxError, UnicodeEncodeError, LookupError) as e:
        raise LabelConfigError(f"The label config is not valid XML: {e}") from e
    # Asked of the parser, not of the text: the text may be declared in an encoding that spells it another way.
    if root.getroottree().docinfo.internalDTD is not None:
        raise LabelConfigError("The label config holds a document type definition, which is not allowed.")
    return root


def _controls(root: etree._Element, *, images: int) -> list[_Control]:
    """The tags that matter here, in the document's order; refuses, before any is read, more than can be served."""
    palettes = ("Labels", *(f"{kind.capitalize()}Labels" for kind in KINDS))
    tags = list(root.iter(*palettes, *(kind.capitalize() for kind in KINDS), "TextArea"))
    if len(tags) > MAX_CONTROLS or images * len(tags) > MAX_TAGS:
        raise LabelConfigError(f"The label config has too many tags: {images:,} images and {len(tags):,} controls.")
    # A label counts in every tag around it.
    counted = islice((label for tag in tags for label in tag.iter("Label")), MAX_LABELS_IN_ALL + 1)
    if sum(1 for _ in counted) > MAX_LABELS_IN_ALL:
        raise LabelConfigError(f"The label config has more than {MAX_LABELS_IN_ALL:,} labels in all its tags.")
    return [_control(tag, _labels_of(tag) if tag.tag in palettes else ()) for tag in tags]


def _control(tag: etree._Element, labels: tuple[Label, ...]) -> _Control:
    kind = str(tag.tag).removesuffix("Labels").lower()
    return _Control(
        tag=str(tag.tag),
        name=tag.get("name", ""),
        targets=frozenset(name.strip() for name in (tag.get("toName") or "").split(",")),
        kind=kind if kind in KINDS else None,
        labels=labels,
        values=tuple(label.value for label in labels),
        smart_only=_true(tag, "smartOnly"),
        score_threshold=_threshold(tag) if kind in KINDS else None,
        skip=_true(tag, "model_skip"),
    )


def _output(control: _Control, labels: tuple[str, ...], image_tag: str, *, labels_tag: str | None = None) -> OutputTag:
    if control.kind is None:
        raise ValueError(f"Nothing can be drawn with <{control.tag}>.")
    return OutputTag(
        name=control.name,
        to_name=image_tag,
        kind=control.kind,
        labels=labels,
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
            exclusive=_true(label, "exclusive") or _true(tag, "exclusive"),
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


def _true(tag: etree._Element, attribute: str) -> bool:
    return (tag.get(attribute) or "").strip().lower() in {"true", "1", "yes"}


def _folded(text: str) -> str:
    return text.strip().casefold()
