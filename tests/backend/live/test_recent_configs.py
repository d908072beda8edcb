"""Label configs that are kept for a moment, from a real Label Studio."""

from __future__ import annotations

import pytest

from backend.errors import LabelStudioError
from backend.label_studio.client import LabelStudio
from backend.live.recent_configs import RecentConfigs
from backend.settings import Settings
from label_studio_config.palette_xml import palette
from tests.projects import Predicted

pytestmark = pytest.mark.services


def test_a_config_is_asked_for_once(tried: Predicted, live_settings: Settings) -> None:
    configs = RecentConfigs(LabelStudio(live_settings))
    first = configs.get(tried.number)
    tried.studio.sdk.projects.update(tried.number, label_config=palette(("saree",)))
    # The same for a minute, unless that minute ends just now.
    assert configs.get(tried.number) is first or configs.get(tried.number).label_values == ("saree",)
    assert RecentConfigs(LabelStudio(live_settings)).get(tried.number).label_values == ("saree",)


def test_a_project_that_is_not_there_is_asked_for_again(live_settings: Settings) -> None:
    configs = RecentConfigs(LabelStudio(live_settings))
    for _ in range(2):
        with pytest.raises(LabelStudioError, match="404"):
            configs.get(4711)
