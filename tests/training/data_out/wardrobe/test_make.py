"""`drape wardrobe` on a real Label Studio, and what it does with a folder that is there."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from backend.connections import Connections
from backend.errors import DatasetError, LabelStudioError
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from launcher.cli import app
from tests.conftest import ARTEFACTS, Studio
from tests.e2e.annotator import PATIENCE_MS, Annotator, fresh_page, running_browser
from tests.full_disk import full_disk
from tests.training.conftest import Workplace
from tests.training.data_out.wardrobe.test_page import data_of
from training.data_out.export_data import Selection
from training.data_out.wardrobe.make import Made, Progress, make_wardrobe

pytestmark = pytest.mark.services
SHOTS = ARTEFACTS / "screenshots" / "wardrobe"


def made(project_id: int, folder: Path) -> Made:
    connections = Connections.of(Settings())
    return make_wardrobe(
        connections, project_id, folder=folder, selection=Selection(), soft_edges=True, progress=Progress()
    )


def told(project_id: int, *options: str | Path) -> Result:
    return CliRunner().invoke(app, ["wardrobe", "--project", str(project_id), *map(str, options)])


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_project_becomes_a_wardrobe_and_is_refreshed(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, into = workplace.project_id, tmp_path / "into"
    with pytest.raises(DatasetError, match="no annotation to export"):
        made(number, into)
    with pytest.raises(LabelStudioError):
        made(10**6, into)
    assert not into.exists()

    workplace.approve(1)
    first = told(number, "--out", into)
    said = " ".join(first.output.split())
    garments = len(draw_figure(1).instances)
    assert first.exit_code == 0, first.output
    assert f": {garments} garments of 1 photograph." in said and "index.html in a browser" in said
    assert "Exporting" in said and "Comparing colours" in said
    data = data_of((into / "index.html").read_text())
    assert data["tasks_url"] == f"{Settings().label_studio_url}/projects/{number}/data?task="
    assert data["title"] == tmp_path.name
    assert {one["task"] for one in data["photographs"]} == {workplace.tasks[1]}
    assert all(one["made_at"].startswith("20") for one in data["garments"])

    # Again, with one more; what was there and is no longer is gone, and an image that cannot be read is named.
    workplace.approve(3)
    workplace.approve(1, task=workplace.tasks[-1])
    (into / "cutouts" / "old.png").write_bytes(b"")
    second = told(number, "--out", into)
    assert second.exit_code == 1, second.output
    assert "Left out: annotation" in second.output and f"task {workplace.tasks[-1]}" in second.output
    data = data_of((into / "index.html").read_text())
    assert len(data["garments"]) == garments + len(draw_figure(3).instances)
    assert "cutouts/old.png" not in files(into) and "left_out.txt" in files(into)

    # What goes wrong leaves what was there.
    before = files(into)
    with full_disk(), pytest.raises(DatasetError, match=r"could not be written into .*File too large"):
        made(number, into)
    monkeypatch.setenv("LABEL_STUDIO_URL", "http://127.0.0.1:1")
    with pytest.raises(LabelStudioError):
        made(number, into)
    assert files(into) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".half-")] == []


def test_images_without_a_garment_are_no_wardrobe(workplace: Workplace, tmp_path: Path) -> None:
    workplace.label_studio.sdk.annotations.create(workplace.tasks[1], result=[])
    with pytest.raises(DatasetError, match="approved images, but no garment"):
        made(workplace.project_id, tmp_path / "into")
    workplace.approve(1, task=workplace.tasks[-1])
    with pytest.raises(DatasetError, match=f"Left out: annotation .* of task {workplace.tasks[-1]}: "):
        made(workplace.project_id, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_folder_with_something_else_stays(workplace: Workplace, tmp_path: Path) -> None:
    workplace.approve(1)
    kept = tmp_path / "kept"
    kept.mkdir()
    # An empty folder is taken, an export of cut-outs gets a page; one with a note of somebody is refused.
    assert made(workplace.project_id, kept).garments
    (kept / "index.html").unlink()
    assert made(workplace.project_id, kept).garments and (kept / "index.html").is_file()
    (kept / "note.txt").write_text("mine")
    before = files(kept)
    with pytest.raises(DatasetError, match=r"has something else in it \(note\.txt\)\. Give a new"):
        made(workplace.project_id, kept)
    assert files(kept) == before
    (kept / "note.txt").unlink()
    (kept / "wardrobe.parquet").unlink()
    with pytest.raises(DatasetError, match="holds no wardrobe"):
        made(workplace.project_id, kept)
    (tmp_path / "file").write_text("mine")
    for taken in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/drape")):
        with pytest.raises(DatasetError, match="could not be written into"):
            made(workplace.project_id, taken)


@pytest.mark.browser
def test_a_garment_leads_to_its_task(workplace: Workplace, label_studio: Studio, chromium: str, tmp_path: Path) -> None:
    task = workplace.tasks[3]
    workplace.approve(3)
    made(workplace.project_id, tmp_path / "into")
    with running_browser(chromium) as browser, fresh_page(browser) as page:
        Annotator(page, label_studio.url, SHOTS).log_in(label_studio.email, label_studio.password)
        page.goto((tmp_path / "into" / "index.html").as_uri())
        page.locator(".tile").first.click()
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="Open in Label Studio").click()
        opened.value.locator("canvas").first.wait_for(timeout=PATIENCE_MS)
        # Label Studio itself adds the number of a tab.
        address = httpx.URL(opened.value.url)
        assert (address.path, address.params["task"]) == (f"/projects/{workplace.project_id}/data", str(task))
