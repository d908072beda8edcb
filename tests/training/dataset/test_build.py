from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.domain import Image, LabelledMask, Outlining
from backend.errors import DatasetError, ImageError
from backend.label_studio.label_config import parse_label_config
from backend.regions.content_hash import content_hash
from backend.regions.encode import encode
from backend.regions.polygons import outline_to_mask
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.conftest import ROOT
from tests.support import iou
from training.annotations.approvals import Approved
from training.dataset.build import Dataset, build_dataset, classes_for
from training.dataset.manifest import read_manifest

CONFIG = parse_label_config(palette(GARMENTS))


def approved(seed: int, *extra: dict[str, Any]) -> Approved:
    """What a person would have submitted for the figure of `seed`."""
    result: list[dict[str, Any]] = list(extra)
    for instance in draw_figure(seed).instances:
        labelled = LabelledMask(instance.mask, instance.label)
        result += encode(labelled, CONFIG, outlining=Outlining(), model_version="person")
    return Approved(seed + 1000, seed, {"image": f"/{seed}.jpg"}, result, content_hash(result))


def load(one: Approved) -> Image:
    return Image(draw_figure(one.task_id).pixels, f"{one.task_id * 40503 % 65536:04x}" * 16, "s")


def build(ones: list[Approved], folder: Path, **options: Any) -> Dataset:
    return build_dataset(ones, CONFIG, folder=folder / "set", **{"load": load, "image_size_px": 256, **options})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_labels_on_disk_are_what_was_approved(tmp_path: Path) -> None:
    prompt = {"id": "k", "type": "keypoint", "from_name": "click", "value": {"x": 1, "y": 1, "labels": ["saree"]}}
    said = {"id": "m", "type": "textarea", "from_name": "message", "value": {"text": ["a message"]}}
    built = build([approved(1, prompt, said), approved(3)], tmp_path)
    assert sorted(entry.side for entry in built.manifest.entries) == ["train", "val"]
    assert built.manifest.left_out == ()
    layout = yaml.safe_load(built.data_yaml.read_text())
    assert tuple(layout["names"].values()) == GARMENTS
    for seed in (1, 3):
        figure = draw_figure(seed)
        height, width = figure.pixels.shape[:2]
        rows = [line.split() for line in (tmp_path / "set" / "labels" / f"task_{seed}.txt").read_text().splitlines()]
        # One line a garment, however many parts it has.
        assert [GARMENTS[int(row[0])] for row in rows] == [instance.label for instance in figure.instances]
        for row, instance in zip(rows, figure.instances, strict=True):
            outline = np.array(row[1:], float).reshape(-1, 2) * (width, height)
            assert iou(outline_to_mask(outline, size_wh=(width, height)), instance.mask) > 0.95


@pytest.mark.slow
def test_the_same_again_gives_the_same_bytes_and_loads_only_what_is_new(tmp_path: Path) -> None:
    loaded: list[int] = []

    def counted(one: Approved) -> Image:
        loaded.append(one.task_id)
        return load(one)

    ones = [approved(seed) for seed in range(4, 8)]
    first = build(ones, tmp_path, load=counted)
    before = contents(tmp_path / "set")
    assert build(ones[::-1], tmp_path, load=counted).manifest == first.manifest
    assert contents(tmp_path / "set") == before
    assert loaded == [4, 5, 6, 7]
    # Another folder, nothing kept: the same but for the folder's own name.
    elsewhere = build(ones, tmp_path / "elsewhere")
    assert elsewhere.manifest.digest == first.manifest.digest
    other = contents(tmp_path / "elsewhere" / "set")
    assert {**other, "data.yaml": b""} == {**before, "data.yaml": b""}
    # One is corrected, one is gone, one is new: two are loaded, and nothing is kept of what is gone.
    corrected = replace(ones[0], result=ones[0].result[:-2], content_hash="another")
    second = build([corrected, ones[1], ones[2], approved(8)], tmp_path, load=counted)
    assert loaded[4:] == [4, 8]
    assert second.manifest.digest != first.manifest.digest
    assert len(list((tmp_path / "set.examples").glob("*.json"))) == 4
    assert len(list((tmp_path / "set.examples").glob("*.jpg"))) == 4


def sides_of_shoots(built: Dataset, ones: list[Approved]) -> dict[str, set[str]]:
    """Shoot → the sides of its images."""
    sides = {entry.task_id: entry.side for entry in built.manifest.entries}
    shoots: dict[str, set[str]] = {}
    for one in ones:
        shoots.setdefault(one.data["shoot"], set()).add(sides[one.task_id])
    return shoots


@pytest.mark.slow
def test_images_that_the_setting_groups_are_on_one_side(tmp_path: Path) -> None:
    def of_shoot(seed: int, shoot: int) -> Approved:
        one = approved(seed)
        return replace(one, data={**one.data, "shoot": f"shoot {shoot}"})

    ones = [of_shoot(seed, seed // 3) for seed in range(3, 12)]
    built = build(ones, tmp_path, split_by="field:shoot")
    sides = sides_of_shoots(built, ones)
    assert sorted(map(sorted, sides.values())) == [["train"], ["train"], ["val"]]
    by_looks = build(ones, tmp_path / "looks")
    assert {"train", "val"} in sides_of_shoots(by_looks, ones).values()
    # Later images of a shoot go where the first were, as the manifest tells, though none of those is approved now.
    earlier = read_manifest(json.loads((tmp_path / "set" / "manifest.json").read_text()))
    later = [of_shoot(11 + shoot, shoot) for shoot in (1, 2, 3)]
    again = build(later, tmp_path, split_by="field:shoot", earlier=earlier)
    assert sides_of_shoots(again, later) == sides


def test_a_setting_that_groups_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="SPLIT_BY=field:shot finds a group for none of the 2 approved images"):
        build([approved(1), approved(3)], tmp_path, split_by="field:shot")
    assert not (tmp_path / "set").exists()


def test_a_setting_that_puts_all_into_one_group_is_refused(tmp_path: Path) -> None:
    """All would be on one side, and stay there."""
    ones = [replace(approved(seed), data={**approved(seed).data, "shoot": "a"}) for seed in (1, 3)]
    said = "SPLIT_BY=field:shoot puts all 2 approved images into one group, 'field:shoot=a', so that none can be held"
    with pytest.raises(DatasetError, match=said):
        build(ones, tmp_path, split_by="field:shoot")
    assert not (tmp_path / "set").exists()
    # The others go by their looks, and a single image is always one group.
    assert build([*ones, approved(5)], tmp_path, split_by="field:shoot").manifest.entries
    assert build(ones[:1], tmp_path, split_by="field:shoot").manifest.entries


def test_what_is_kept_and_damaged_is_made_again(tmp_path: Path) -> None:
    first = build([approved(4), approved(5)], tmp_path)
    for path in (tmp_path / "set.examples").iterdir():
        path.write_text("{") if path.suffix == ".json" else path.unlink()
    assert build([approved(4), approved(5)], tmp_path).manifest == first.manifest
    # Emptied by a crash of the machine.
    labels = {path.name: path.read_text() for path in (tmp_path / "set" / "labels").iterdir()}
    for path in (tmp_path / "set.examples").glob("*.txt"):
        path.write_text("")
    build([approved(4), approved(5)], tmp_path)
    assert {path.name: path.read_text() for path in (tmp_path / "set" / "labels").iterdir()} == labels


@pytest.mark.slow
def test_an_image_keeps_its_side_as_the_set_grows(tmp_path: Path) -> None:
    few = build([approved(seed) for seed in range(4, 10)], tmp_path)
    many = build([approved(seed) for seed in range(4, 20)], tmp_path, earlier=few.manifest)
    few_held_out, many_held_out = (
        sum(entry.side == "val" for entry in built.manifest.entries) for built in (few, many)
    )
    assert 1 <= few_held_out < many_held_out
    sides = {entry.task_id: entry.side for entry in many.manifest.entries}
    assert all(sides[entry.task_id] == entry.side for entry in few.manifest.entries)
    # One that was taken out keeps its side until it comes back.
    fewer = build([approved(seed) for seed in range(10, 20)], tmp_path, earlier=many.manifest)
    again = build([approved(seed) for seed in range(4, 20)], tmp_path, earlier=fewer.manifest)
    assert {entry.task_id: entry.side for entry in again.manifest.entries} == sides


def test_a_data_set_loads_from_where_it_was_moved_to(tmp_path: Path) -> None:
    build([approved(seed) for seed in range(4, 8)], tmp_path)
    moved = (tmp_path / "set").rename(tmp_path / "unpacked elsewhere")
    quiet_ultralytics()
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    data = check_det_dataset(str(moved / "data.yaml"), autodownload=False)
    assert Path(data["path"]) == moved
    loaded = [YOLODataset(img_path=data[side], data=data, task="segment", imgsz=64) for side in ("train", "val")]
    files = {Path(file) for part in loaded for file in part.im_files}
    assert files == set((moved / "images").iterdir())
    assert all(len(label["cls"]) for part in loaded for label in part.labels)


def test_the_manifest_survives_being_written_down(tmp_path: Path) -> None:
    built = build([approved(seed) for seed in range(4, 8)], tmp_path)
    facts = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert read_manifest(facts) == built.manifest
    assert facts["hash"] == built.manifest.digest
    assert read_manifest(None) is None and read_manifest({"classes": []}) is None


def test_what_cannot_be_used_is_left_out_and_said(tmp_path: Path) -> None:
    unreadable = Approved(2, 502, {}, approved(1).result, "x")
    gone = {
        "id": "g",
        "type": "polygonlabels",
        "original_width": 9,
        "original_height": 9,
        "value": {"points": [[0, 0], [90, 0], [90, 90]], "polygonlabels": ["turban"]},
    }
    only_gone = Approved(1, 501, {}, [gone], content_hash([gone]))

    def partly(one: Approved) -> Image:
        if one.task_id == 502:
            raise ImageError("The image is gone.")
        return load(one)

    built = build([approved(1, gone), only_gone, unreadable], tmp_path, load=partly)
    said = "\n".join(built.manifest.left_out)
    for part in ("annotation 1 of task 501: no usable regions", "The image is gone.", "'turban' is no longer"):
        assert part in said
    # Reviewed all the same: none of them counts as new again.
    assert set(built.annotation_hashes) == {"1001", "1", "2"}


@pytest.mark.slow
def test_a_tenth_of_the_images_may_show_no_garment(tmp_path: Path) -> None:
    empty = [replace(approved(seed), result=[], content_hash=content_hash([])) for seed in (30, 31, 32, 33)]
    built = build([*(approved(seed) for seed in range(4, 20)), *empty], tmp_path)
    negatives = [entry for entry in built.manifest.entries if not entry.labels]
    assert [entry.side for entry in negatives] == ["train"]
    assert (tmp_path / "set" / "labels" / f"task_{negatives[0].task_id}.txt").read_text() == ""
    assert sum("shows no garment" in sentence for sentence in built.manifest.left_out) == 3
    assert len(built.annotation_hashes) == 20


@pytest.mark.slow
def test_of_images_without_garments_those_are_kept_in_which_the_model_saw_some(tmp_path: Path) -> None:
    empty = [replace(approved(seed), result=[], content_hash=content_hash([])) for seed in range(30, 38)]
    shown = [replace(one, shown=approved(one.task_id).result if one.task_id in (32, 37) else []) for one in empty]
    built = build([*(approved(seed) for seed in range(4, 24)), *shown], tmp_path)
    train = {entry.task_id for entry in built.manifest.entries if not entry.labels and entry.side == "train"}
    # By their keys alone it would be 36.
    assert train == {32}


def test_an_image_with_a_garment_of_unknown_shape_is_left_out(tmp_path: Path) -> None:
    value = {"x": 1, "y": 1, "width": 3, "height": 3, "rotation": 0, "rectanglelabels": ["saree"]}
    size = {"original_width": 640, "original_height": 480}
    rectangle = {"id": "r", "type": "rectanglelabels", **size, "value": value}
    built = build([approved(1, rectangle), approved(3), approved(5)], tmp_path)
    assert {entry.task_id for entry in built.manifest.entries} == {3, 5}
    said = "\n".join(built.manifest.left_out)
    assert "Region r: a rectangle is not an outline of 'saree'" in said
    assert "annotation 1001 of task 1: the whole image is left out" in said


@pytest.mark.slow
def test_what_a_person_corrected_is_drawn_more_often(tmp_path: Path) -> None:
    ones = [replace(approved(seed), shown=approved(seed).result) for seed in range(4, 14)]
    # Of one nothing was found, of one the half; one nobody was shown a prediction for.
    ones[2], ones[3], ones[4] = replace(ones[2], shown=[]), approved(7), replace(ones[4], shown=ones[4].result[:2])
    built = build(ones, tmp_path, hard_example_weight=3.0)
    by_task = {entry.task_id: entry for entry in built.manifest.entries}
    disagreed = [by_task[seed].disagreed for seed in (5, 6, 7)]
    assert disagreed == [0.0, 1.0, None] and 0 < (by_task[8].disagreed or 0) < 1
    for entry in built.manifest.entries:
        expected = 1.0 if entry.side == "val" else 1 + 2 * (entry.disagreed or 0)
        assert entry.weight == pytest.approx(expected, abs=1e-3)
    listed = (tmp_path / "set" / "train.txt").read_text().split()
    assert Counter(listed) == {
        f"./images/task_{entry.task_id}.jpg": entry.copies for entry in built.manifest.entries if entry.side == "train"
    }


@pytest.mark.slow
def test_rare_labels_are_drawn_more_often(tmp_path: Path) -> None:
    built = build([approved(seed) for seed in range(4, 24)], tmp_path, rare_label_share=0.5)
    shown = {entry.task_id: set(entry.labels) for entry in built.manifest.entries if entry.side == "train"}
    share = Counter(label for labels in shown.values() for label in labels)
    for entry in built.manifest.entries:
        if entry.side == "train":
            rarest = min(share[label] for label in entry.labels) / len(shown)
            assert entry.weight == pytest.approx(max(1.0, (0.5 / rarest) ** 0.5), abs=1e-3)
    assert max(entry.weight for entry in built.manifest.entries) > 1


CLASSES = [
    # Nothing was known.
    ((), ("saree", "kurta", "belt")),
    # The model's own order stays; what is new comes after.
    (("kurta", "saree"), ("kurta", "saree", "belt")),
    # Renamed labels keep their place, by alias or predicted value; case does not matter.
    (("kurti", "SAREE"), ("kurta", "saree", "belt")),
    # Of two that became one the first stays; one that is gone goes.
    (("kurti", "turban", "kurta"), ("kurta", "saree", "belt")),
]


@pytest.mark.parametrize(("known", "expected"), CLASSES)
def test_classes_keep_their_order(known: tuple[str, ...], expected: tuple[str, ...]) -> None:
    labels = '<Label value="saree"/><Label value="kurta" predicted_values="kurti"/><Label value="belt" alias="sash"/>'
    xml = f'<View><Image name="i" value="$image"/><PolygonLabels name="p" toName="i">{labels}</PolygonLabels></View>'
    assert classes_for(parse_label_config(xml), known) == expected


def test_nothing_to_train_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="None of the 1 approved"):
        build([Approved(1, 1, {}, [], "x")], tmp_path)
    assert not (tmp_path / "set").exists()


@pytest.mark.slow
def test_what_is_kept_is_found_by_another_process(tmp_path: Path) -> None:
    """Sets have another order in each: names of what is kept must not depend on it."""
    script = (
        "import sys; from pathlib import Path; from backend.label_studio.label_config import parse_label_config;"
        "from training.annotations.approvals import Approved; from training.dataset.examples import ExampleCache;"
        "kept = ExampleCache(Path('.'), parse_label_config(sys.argv[1]), image_size_px=64);"
        "print(kept._name(Approved(1, 2, {'image': 'a'}, [], 'hash')))"
    )
    label = '<Label value="saree" predicted_values="sari,shari,lugda,cloth,garment"/>'
    xml = f'<View><Image name="i" value="$image"/><PolygonLabels name="p" toName="i">{label}</PolygonLabels></View>'
    names = [
        subprocess.run(
            [sys.executable, "-c", script, xml],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            text=True,
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert len(names[0]) == 33 and len(set(names)) == 1
