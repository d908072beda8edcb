"""Maps a data set's classes to labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import DatasetError
from backend.label_studio.label_config import LabelConfig
from training.data_in.text_files import read_yaml


@dataclass(frozen=True)
class ClassMapping:
    """The label of each class: from the user's mapping file where it names the class, else from the label config.

    Attributes:
        entries: of the file: class in the data set, in lower case → label, or None for a class to leave out.
    """

    config: LabelConfig
    entries: dict[str, str | None] = field(default_factory=dict)

    def label_for(self, name: str) -> str | None:
        """Returns the label of a class; None where the class is left out or unknown.

        A class that the file does not name is looked up in the config: as a label's value, its alias, or one of its
        `predicted_values`. Hyphens and underscores also match spaces. If a name lists several classes
        ('shirt, blouse'), those that are known must have the same label.
        """
        key = _folded(name)
        if key in self.entries:
            return self.entries[key]
        label = self.config.label_for(name) or self.config.label_for(name.replace("_", " ").replace("-", " "))
        if label is not None:
            return label
        labels = {label for part in name.split(",") if (label := self.config.label_for(part)) is not None}
        return labels.pop() if len(labels) == 1 else None


def read_mapping(file: Path | None, config: LabelConfig) -> ClassMapping:
    """Reads a YAML or JSON file of `their class: our label`; an empty label leaves the class out.

    Raises:
        DatasetError: the file cannot be read, or names a label that the project lacks.
    """
    if file is None:
        return ClassMapping(config)
    entries = read_yaml(file) or {}
    if not isinstance(entries, dict):
        raise DatasetError(f"The mapping {file} is not a list of `their class: our label`.")
    by_name = {_folded(str(label)): label for label in config.label_values}
    unknown = sorted({str(label) for label in entries.values() if label and _folded(str(label)) not in by_name})
    if unknown:
        raise DatasetError(
            f"The mapping {file} names labels that the project lacks: {', '.join(unknown)}. "
            f"It has: {', '.join(config.label_values)}."
        )
    return ClassMapping(
        config, {_folded(str(name)): by_name[_folded(str(label))] if label else None for name, label in entries.items()}
    )


def _folded(text: str) -> str:
    return text.strip().casefold()
