"""What is approved on a review sheet counts for training as a person's approval, by whatever rule the project has."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.label_studio.label_config import parse_label_config
from backend.review.approval_mark import approval_mark
from backend.review.approve import Approver
from label_studio_config.palette_xml import GARMENTS, palette
from tests.backend.conftest import settings_with_label_studio
from tests.conftest import Studio
from tests.projects import predicted_project
from training.annotations.approvals import accepting_choices, approved_annotations, rule_of
from training.annotations.corrections import compared
from training.annotations.truth import truth_of

pytestmark = pytest.mark.services

CHOICES = '<Choices name="verdict" toName="image"><Choice value="approved" alias="ok"/></Choices>'
CONFIG = f"{palette(GARMENTS).strip().removesuffix('</View>')}{CHOICES}</View>"
RULES = [("submitted", ""), ("ground_truth", ""), ("choice", "verdict=approved")]


@pytest.mark.parametrize(("approval", "choice"), RULES)
def test_it_counts(
    label_studio: Studio, redis_address: str, tmp_path: Path, starter: Path, approval: str, choice: str
) -> None:
    settings = settings_with_label_studio(
        label_studio, redis_address, tmp_path / "data", approval=approval, approval_choice=choice
    )
    folder = label_studio.files / tmp_path.name
    folder.mkdir()
    project = predicted_project(settings, folder, starter, count=1, label_config=CONFIG)
    person = project.add_member("Anna")
    approver = Approver(
        project.studio,
        project.number,
        project.studio.members(),
        person,
        mark=approval_mark(settings, CONFIG),
        seconds=1.5,
    )
    assert [one.state for one in approver.approve(project.predictions)] == ["done"]

    tasks = project.studio.annotated_tasks(project.number)
    rule = rule_of(settings, accepting_choices(settings, lambda: CONFIG))
    (approved,) = approved_annotations(tasks, rule=rule)
    assert approved.by_person and approved.from_prediction and approved.lead_time_s == 1.5
    config = parse_label_config(CONFIG)
    assert approved.shown is not None and compared(approved.shown, approved.result, config).unchanged
    truth = truth_of(approved.result, config)
    assert truth.garments and not truth.problems and not truth.is_partial
    project.studio.sdk.projects.delete(project.number)
