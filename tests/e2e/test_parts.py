"""A garment in parts, as Drape predicts it: submitted in Label Studio's page it is still one garment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.domain import LabelledMask, Outlining, Prediction
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.regions.encode import encode
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.conftest import ARTEFACTS, Studio
from tests.e2e.annotator import Annotator, browser_page
from tests.projects import project_of_figures
from tests.support import iou
from training.annotations.approvals import approved_annotations
from training.annotations.corrections import Correction, compared
from training.annotations.truth import truth_of

pytestmark = [pytest.mark.services, pytest.mark.browser]

SEED = 2


def test_parts_stay_one_garment(label_studio: Studio, tmp_path: Path, chromium: str) -> None:
    studio = LabelStudio(Settings(label_studio_url=label_studio.url, label_studio_api_key=label_studio.api_key))
    config = parse_label_config(palette(GARMENTS))
    project_id = project_of_figures(studio, label_studio.files / tmp_path.name, (SEED,), title="Parts")
    (task_id,) = studio.task_ids(project_id)
    height, width = draw_figure(SEED).pixels.shape[:2]
    saree, blouse = np.zeros((height, width), bool), np.zeros((height, width), bool)
    saree[height // 2 : -20, 20 : width // 3] = saree[height // 2 : -20, width // 2 : -20] = True
    blouse[20 : height // 3, width // 4 : width // 2] = True
    predicted = [
        region
        for one in (LabelledMask(saree, "saree", 0.8), LabelledMask(blouse, "blouse", 0.9))
        for region in encode(one, config, outlining=Outlining(), model_version="v1")
    ]
    assert sum(region["type"] == "polygon" for region in predicted) == 3
    studio.write_predictions(project_id, [(task_id, Prediction(predicted, 0.8, "v1"))])
    studio.show_model_version(project_id, "v1")
    shots = ARTEFACTS / "screenshots" / "parts"
    shots.mkdir(parents=True, exist_ok=True)
    with browser_page(chromium) as page:
        annotator = Annotator(page, label_studio.url, shots)
        annotator.log_in(label_studio.email, label_studio.password)
        page.goto(f"{label_studio.url}/projects/{project_id}/data?task={task_id}")
        page.locator("canvas").first.wait_for()
        page.wait_for_timeout(1000)
        annotator.screenshot("opened")
        annotator.submit()
    (task,) = studio.annotated_tasks(project_id)
    (annotation,) = task["annotations"]
    garments = truth_of(annotation["result"], config).garments
    assert [garment.label for garment in garments] == ["saree", "blouse"]
    assert iou(garments[0].mask, saree) > 0.98
    # What was shown is kept beside what was submitted: so it can be told what the model got wrong.
    assert len(truth_of(annotation["prediction"]["result"], config).garments) == 2
    # And that nothing was: the page has changed no region.
    (approved,) = approved_annotations([task])
    assert approved.from_prediction and approved.shown is not None and 0 < (approved.lead_time_s or 0) < 300
    assert compared(approved.shown, approved.result, config) == Correction(True, (1.0, 1.0))
