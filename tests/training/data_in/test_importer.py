from __future__ import annotations

from pathlib import Path
from typing import cast

from backend.label_studio.label_config import parse_label_config
from label_studio_config.palette_xml import palette
from tests.training.data_in.drawn import save
from training.data_in.class_mapping import ClassMapping
from training.data_in.formats.detect import ReadOptions, open_set
from training.data_in.formats.labelme import DAMAGED
from training.data_in.importer import Importer, ImportOptions
from training.data_in.picture_folder import SetPicture
from training.data_in.project_tasks import ProjectTasks


class OpenTasks:
    """Each image has a task that nobody has annotated."""

    def find(self, picture: SetPicture) -> int:
        return len(picture.name)

    def is_annotated(self, _: int) -> bool:
        return False


def test_why_an_image_that_is_there_already_gets_nothing_is_said(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", 1)
    (tmp_path / "a.json").write_text("{")
    config = parse_label_config(palette(["dress"]))
    set_format, source = open_set([str(tmp_path)], "labelme", ReadOptions())
    tasks = cast(ProjectTasks, OpenTasks())
    importer = Importer(tasks, config, ClassMapping(config), ImportOptions(set_format=set_format), "set")
    for image in source.images:
        importer.add(image)
    assert (importer.tally.skipped, importer.tally.new) == (1, 0)
    assert importer.tally.reasons == {DAMAGED: 1} and importer.tally.examples == {DAMAGED: ["a.jpg"]}
