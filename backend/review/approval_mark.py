"""What an annotation needs, besides its regions, to count as approved in a project: by its setting `APPROVAL`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from backend.errors import ReviewError
from backend.label_studio.config_xml import parse_xml
from backend.settings import Settings


@dataclass(frozen=True)
class ApprovalMark:
    """What is added to an annotation.

    Attributes:
        starred: whether it is starred as ground truth.
        choice: the choice that approves, as a region without its id; None where none is needed.
    """

    starred: bool = False
    choice: dict[str, Any] | None = None

    def regions(self) -> list[dict[str, Any]]:
        """The regions to add to an annotation."""
        return [] if self.choice is None else [{**self.choice, "id": secrets.token_urlsafe(8)}]


def approval_mark(settings: Settings, label_config: str) -> ApprovalMark:
    """What makes a person's annotation count as approved.

    Raises:
        ReviewError: nothing that the sheet can store does; the message says why.
        LabelConfigError: the label config is not XML.
    """
    match settings.approval:
        case "submitted":
            return ApprovalMark()
        case "ground_truth":
            return ApprovalMark(starred=True)
        case "choice":
            return ApprovalMark(choice=_choice(settings.approval_choice, label_config))
        case "reviewed":
            raise ReviewError(
                "In this project only a reviewer's acceptance in Label Studio Enterprise approves (APPROVAL=reviewed), "
                "which this sheet cannot give. Set APPROVAL=submitted, or review in Label Studio."
            )


def _choice(approval_choice: str, label_config: str) -> dict[str, Any]:
    name, wanted = (part.strip() for part in approval_choice.split("=", 1))
    for tag in parse_xml(label_config).iter("Choices"):
        for choice in tag.iter("Choice") if tag.get("name") == name else ():
            if wanted in (choice.get("value"), choice.get("alias")) and tag.get("perRegion") != "true":
                value = {"choices": [choice.get("alias") or choice.get("value")]}
                return {"from_name": name, "to_name": tag.get("toName"), "type": "choices", "value": value}
    raise ReviewError(
        f"In this project the choice {approval_choice} approves (APPROVAL_CHOICE), and the label config has no such "
        "choice for whole images, so this sheet cannot approve. Add it to the label config, or change APPROVAL."
    )
