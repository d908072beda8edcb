"""Decides which predictions are accepted without a person, which are left for review, and which for audit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

from backend.auto_accept.calibration import conditions, read_calibration
from backend.domain import LabelScore
from backend.errors import StorageError
from backend.registry.records import read_text, write_text
from backend.registry.registry import Version
from backend.settings import Settings

Decision = Literal["accept", "audit", "review"]
OFF_FILE = "auto-accept-off.json"


@dataclass(frozen=True)
class Gate:
    """The rule that decides about the predictions of one version.

    Attributes:
        version: the version's name.
        default: the score for labels that are not in `thresholds`; None where their regions are never accepted.
        thresholds: the score that regions of a label must reach, by label.
        audit_share: share of the images that would be accepted that is left to people for audit, in `[0, 1]`.
    """

    version: str
    default: float | None
    thresholds: Mapping[str, float]
    audit_share: float

    @property
    def is_open(self) -> bool:
        """Whether the gate can accept anything."""
        return self.default is not None or bool(self.thresholds)

    def threshold(self, label: str) -> float | None:
        """The least score at which a region of `label` is accepted; None where no score is enough."""
        return self.thresholds.get(label, self.default)

    def passes(self, label_scores: Sequence[LabelScore]) -> bool:
        """Whether every garment of an image reaches its threshold; False for an image without detections."""
        return bool(label_scores) and all(
            (threshold := self.threshold(garment.label)) is not None and garment.score >= threshold
            for garment in label_scores
        )

    def is_audited(self, task_id: int) -> bool:
        """Whether the task is left to people whatever its scores: a random choice, the same for every version.

        So a version's audits do not end with the next version, which may be sure of other images.
        """
        return _random(f"audit/{task_id}") < self.audit_share

    def audit_score(self, task_id: int, reviewed: Sequence[float]) -> float:
        """The score under which an audited image is stored: a random place among those that people see soon.

        Label Studio serves low scores first. Under its own score an audited image would come last, when other versions
        have long replaced this one.

        Args:
            reviewed: the scores of images that are left for review; the places are those of the lowest quarter.
        """
        place = _random(f"{self.version}/{task_id}")
        front = sorted(reviewed)[: max(len(reviewed) // 4, 1)]
        if front:
            return front[int(place * len(front))]
        lowest = min([*self.thresholds.values(), *([] if self.default is None else [self.default])], default=0.0)
        return place * lowest

    def decide(self, task_id: int, label_scores: Sequence[LabelScore]) -> Decision:
        """Returns the decision about a task's prediction."""
        if not self.passes(label_scores):
            return "review"
        return "audit" if self.is_audited(task_id) else "accept"

    def review_note(self, label_scores: Sequence[LabelScore]) -> str:
        """Tells the annotator what to look at in a prediction; '' where the gate accepts nothing anyway.

        It is the same for review and audit: who knows that an image is audited looks at it in another way.
        """
        if not self.is_open:
            return ""
        if not label_scores:
            return "For review: nothing was found here."
        return f"For review: the model is least sure of '{min(label_scores, key=attrgetter('score')).label}'."


CLOSED_GATE = Gate(version="", default=None, thresholds={}, audit_share=0.0)


def _random(key: str) -> float:
    """Returns a number in `[0, 1)` that is random, and always the same for one key."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def gate_of(version: Version, settings: Settings) -> Gate:
    """The gate for a version under the given settings."""
    if settings.auto_accept == "off" or closed_reason(version, settings) is not None:
        return CLOSED_GATE
    if settings.auto_accept != "calibrated":
        return Gate(version.name, settings.auto_accept, {}, settings.audit_share)
    calibration = read_calibration(version)
    return Gate(version.name, None, calibration.thresholds if calibration else {}, settings.audit_share)


def closed_reason(version: Version, settings: Settings) -> str | None:
    """Why none of a version's predictions is accepted although the settings ask for it; None where some may be."""
    reason = switch_off_reason(version)
    if reason is not None or settings.auto_accept != "calibrated":
        return reason
    # A calibration is valid only for the settings and the masks with which it was computed; a training loads no SAM.
    if settings.refine not in ("off", "builtin"):
        return f"No version is calibrated with the masks of REFINE={settings.refine}. Set REFINE=builtin or REFINE=off."
    calibration = read_calibration(version)
    if calibration is None:
        return "This version is not calibrated. The next training calibrates its model."
    now = conditions(settings).items()
    changed = [name.upper() for name, value in now if calibration.conditions.get(name) != value]
    if changed:
        return (
            f"Changed since this version was calibrated: {', '.join(changed)}. The next training calibrates its model."
        )
    if not calibration.thresholds:
        return calibration.test_result
    return None


def switch_off(version: Version, reason: str) -> None:
    """Shuts the gate for this version, for all processes and for good; other versions have their own.

    Raises:
        OSError, StorageError: the reason cannot be stored.
    """
    # Stored with the version, so that its gate is still shut after a rollback to it.
    write_text(version, OFF_FILE, json.dumps({"reason": reason}))


def switch_off_reason(version: Version) -> str | None:
    """Why `switch_off` shut the gate for this version; None where it did not."""
    try:
        return str(json.loads(read_text(version, OFF_FILE))["reason"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, StorageError) as e:
        # The reason is unknown: the gate stays shut until the file is removed.
        return f"{OFF_FILE} cannot be read ({type(e).__name__})."
