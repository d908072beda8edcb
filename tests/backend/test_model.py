"""`GarmentModel` under both of `label-studio-ml`'s runners: 1.0.9, which is installed, and a stand-in of 2.x."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import flask  # type: ignore[import-untyped]
import label_studio_ml
import pytest
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLManager
from PIL import Image as Pillow

import backend.model
from backend.regions.decode import decode
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.backend.test_app import put_image
from tests.support import add_starter, recorded, wait_for

pytestmark = pytest.mark.services


class Base2:
    """What 2.x's base class does with a model's version: it keeps it for each project, and sets one of its own."""

    cache: ClassVar[dict[tuple[str, str], str]]

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        if label_config is not None:
            self.set("label_config", label_config)
        if not self.get("model_version"):
            self.set("model_version", "0.0.1")
        self.setup()

    def setup(self) -> None:
        """Models override it."""

    def get(self, key: str) -> str | None:
        return self.cache.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        self.cache[self.project_id, key] = value


def runner_2(model: Any) -> Any:
    """The routes of 2.x: a model for each request; it is told the project as text, also where there is none."""
    server: Any = flask.Flask(__name__)

    @server.route("/setup", methods=["POST"])  # type: ignore[untyped-decorator]
    def setup() -> Any:
        data = flask.request.json
        built = model(project_id=data["project"].split(".", 1)[0], label_config=data["schema"])
        return flask.jsonify({"model_version": built.get("model_version")})

    @server.route("/predict", methods=["POST"])  # type: ignore[untyped-decorator]
    def predict() -> Any:
        data = flask.request.json
        params = data.get("params", {})
        context = params.pop("context", {})
        project_id = str(data.get("project")).split(".", 1)[0]
        built = model(project_id=project_id, label_config=data.get("label_config"))
        return flask.jsonify({"results": built.predict(data["tasks"], context=context, **params)})

    return server


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """The settings as the runner's process would find them."""
    monkeypatch.setenv("LABEL_STUDIO_URL", settings.label_studio_url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", settings.label_studio_api_key)
    monkeypatch.setenv("REDIS_URL", settings.redis_url)
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))


@pytest.fixture(params=["1.0.9", "2.x"])
def hosted(
    request: pytest.FixtureRequest, environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, ModuleType]]:
    """A client of the runner, and the adapter's module as that runner imports it."""
    if request.param == "2.x":
        library = ModuleType("label_studio_ml.model")
        vars(library)["LabelStudioMLBase"] = type("LabelStudioMLBase", (Base2,), {"cache": {}})
        monkeypatch.setattr(label_studio_ml, "model", library)
        monkeypatch.setitem(sys.modules, "label_studio_ml.model", library)
    else:
        monkeypatch.setattr(LabelStudioMLManager, "_current_model", {})
    spec = importlib.util.find_spec("backend.model")
    assert spec is not None and spec.loader is not None
    adapter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(adapter)
    if request.param == "2.x":
        server = runner_2(adapter.GarmentModel)
    else:
        (tmp_path / "runner").mkdir()
        server = init_app(adapter.GarmentModel, model_dir=str(tmp_path / "runner"))
    yield server.test_client(), adapter
    adapter.service().close()


def promoted(settings: Settings, project_id: int, starter: Path) -> Version:
    registry = Registry.of(settings)
    version = add_starter(registry, project_id, starter)
    registry.promote(project_id, version.name)
    return version


def figure_request(folder: Path, project: int | None, *, config: str = palette(GARMENTS)) -> dict[str, Any]:
    Pillow.fromarray(draw_figure(3).pixels).save(folder / "figure.png")
    named = {} if project is None else {"project": f"{project}.17"}
    return {
        **named,
        "tasks": [{"id": 1, "data": {"image": "/figure.png"}}],
        "label_config": config,
        "params": {"context": None},
    }


def set_up(asking: Any, project: int, *, config: str = palette(GARMENTS)) -> str:
    answer = asking.post("/setup", json={"project": f"{project}.17", "schema": config})
    assert answer.status_code == 200, answer.data
    return str(answer.json["model_version"])


def test_a_recorded_click_is_answered(hosted: tuple[Any, ModuleType], files: tuple[str, Path]) -> None:
    request = recorded("predict_one_click_single_palette")
    put_image(request, files[1])
    assert hosted[0].post("/setup", json=recorded("setup") | {"schema": request["label_config"]}).status_code == 200
    answer = hosted[0].post("/predict", json=request)
    assert answer.status_code == 200, answer.data
    (result,) = answer.json["results"]
    assert [region["type"] for region in result["result"]] == ["polygon", "labels"]
    assert decode(result["result"])[0][0].label == "saree"


def test_setup_names_the_version_that_predictions_bear(
    hosted: tuple[Any, ModuleType], settings: Settings, files: tuple[str, Path], starter: Path
) -> None:
    """Otherwise Label Studio stores the same prediction again, each time that a task is opened."""
    versions = {project: promoted(settings, project, starter).name for project in (1, 2)}
    wait_for(lambda: set_up(hosted[0], 3) == "builtin")
    for project, version in versions.items():
        assert set_up(hosted[0], project) == version
    for project, version in versions.items():
        (result,) = hosted[0].post("/predict", json=figure_request(files[1], project)).json["results"]
        assert result["model_version"] == version
    later = promoted(settings, 1, starter).name
    hosted[1].service().connections.registry.look_anew(1)
    assert set_up(hosted[0], 1) == later
    assert set_up(hosted[0], 2) == versions[2]


def test_each_project_is_answered_by_its_own_label_config(
    hosted: tuple[Any, ModuleType], settings: Settings, files: tuple[str, Path], starter: Path
) -> None:
    """1.0.9 keeps one model, of the project that was set up last."""
    promoted(settings, 1, starter)
    set_up(hosted[0], 1)
    set_up(hosted[0], 2, config=recorded("setup")["schema"])
    (result,) = hosted[0].post("/predict", json=figure_request(files[1], 1)).json["results"]
    assert {region["type"] for region in result["result"]} == {"polygon", "labels"}


def test_without_a_project_nothing_is_predicted(
    hosted: tuple[Any, ModuleType], settings: Settings, files: tuple[str, Path], starter: Path
) -> None:
    """2.x passes the text 'None' then."""
    promoted(settings, 1, starter)
    set_up(hosted[0], 1)
    request = figure_request(files[1], None)
    answer = hosted[0].post("/predict", json=request)
    assert (answer.status_code, answer.json["results"]) == (200, [[]])
    # A task tells its project, too.
    request["tasks"][0]["project"] = 1
    (result,) = hosted[0].post("/predict", json=request).json["results"]
    assert result["result"]


def test_both_calling_conventions_of_fit_queue_the_work(environment: None) -> None:
    event, model = recorded("webhook_START_TRAINING"), backend.model.GarmentModel
    backend.model.service.cache_clear()
    assert model().fit((), event="START_TRAINING", data=event) == {"queued": "train"}
    assert model(project_id="1").fit("ANNOTATION_CREATED", event) == {"queued": "check"}
    backend.model.service().close()
    backend.model.service.cache_clear()
