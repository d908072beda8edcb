"""`GarmentModel` under `label-studio-ml`'s own runner."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from label_studio_ml.api import init_app

from backend.model import GarmentModel, service
from backend.regions.decode import decode
from backend.settings import Settings
from tests.backend.test_app import put_image
from tests.support import recorded

pytestmark = pytest.mark.services


@pytest.fixture
def runner_environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[None]:
    """The settings as the runner's process would find them: in the environment."""
    monkeypatch.setenv("LABEL_STUDIO_URL", settings.label_studio_url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", settings.label_studio_api_key)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    service.cache_clear()
    yield
    service.cache_clear()


def test_a_recorded_click_is_answered(runner_environment: None, files: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "runner").mkdir()
    asking = init_app(GarmentModel, model_dir=str(tmp_path / "runner")).test_client()
    request = recorded("predict_one_click_single_palette")
    put_image(request, files[1])
    assert asking.post("/setup", json=recorded("setup") | {"schema": request["label_config"]}).status_code == 200
    answer = asking.post("/predict", json=request)
    assert answer.status_code == 200, answer.data
    (result,) = answer.json["results"]
    assert [region["type"] for region in result["result"]] == ["polygon", "labels"]
    assert decode(result["result"])[0][0].label == "saree"


def test_both_calling_conventions_of_fit_queue_the_work(runner_environment: None) -> None:
    event = recorded("webhook_START_TRAINING")
    assert GarmentModel().fit((), event="START_TRAINING", data=event) == {"queued": "train"}
    assert GarmentModel(project_id="1").fit("ANNOTATION_CREATED", event) == {"queued": "check"}
