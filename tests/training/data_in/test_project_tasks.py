from __future__ import annotations

import pytest

from backend.errors import LabelConfigError
from backend.label_studio.client import LabelStudio
from backend.settings import Settings
from training.data_in.project_tasks import ProjectTasks


@pytest.mark.parametrize("key", ["$photo.url", "$images[0]", "https://example.com/$path"])
def test_a_project_whose_image_has_no_key_of_its_own_gets_no_new_tasks(key: str) -> None:
    # Refused before Label Studio is asked: there is none.
    settings = Settings()
    with pytest.raises(
        LabelConfigError, match='Import into a project whose <Image> has a value such as value="\\$image"'
    ):
        ProjectTasks(LabelStudio(settings), settings, 1, image_key=key, root=None, dry_run=True)
