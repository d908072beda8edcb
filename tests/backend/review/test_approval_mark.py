"""What makes an annotation count, by the setting APPROVAL."""

from __future__ import annotations

import pytest

from backend.errors import ReviewError
from backend.review.approval_mark import ApprovalMark, approval_mark
from backend.settings import Settings

CONFIG = """<View><Image name="image" value="$image"/>
<Choices name="verdict" toName="image"><Choice value="approved" alias="ok"/><Choice value="no"/></Choices>
<Choices name="single" toName="image" perRegion="true"><Choice value="fine"/></Choices></View>"""


def settings(approval: str, choice: str = "") -> Settings:
    return Settings(approval=approval, approval_choice=choice)


def test_submitting_and_starring() -> None:
    assert approval_mark(settings("submitted"), CONFIG) == ApprovalMark() and not ApprovalMark().regions()
    assert approval_mark(settings("ground_truth"), CONFIG) == ApprovalMark(starred=True)


@pytest.mark.parametrize("choice", ["verdict=approved", " verdict = ok "])
def test_a_choice_is_set_by_the_name_that_label_studio_writes(choice: str) -> None:
    mark = approval_mark(settings("choice", choice), CONFIG)
    (one,), (other,) = mark.regions(), mark.regions()
    assert one["id"] != other["id"]
    assert {**one, "id": ""} == {
        "id": "",
        "from_name": "verdict",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": ["ok"]},
    }


@pytest.mark.parametrize("choice", ["verdict=perfect", "other=approved", "single=fine"])
def test_a_choice_that_is_not_there_is_said(choice: str) -> None:
    with pytest.raises(ReviewError, match=rf"the choice {choice} approves.*cannot approve"):
        approval_mark(settings("choice", choice), CONFIG)


def test_only_reviewers_of_the_enterprise_edition_review() -> None:
    with pytest.raises(ReviewError, match="APPROVAL=submitted"):
        approval_mark(settings("reviewed"), CONFIG)
