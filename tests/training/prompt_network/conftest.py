from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.prompt_network.learner import Plan
from training.prompt_network.pictures import Pictures, Source, decode_pictures

HEIGHT, WIDTH = 120, 80
PICTURES, HELD_OUT = 5, 2


@pytest.fixture(scope="session")
def masks_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """People of three rectangles, as index masks: a shirt, trousers, and skin, which no label config asks for."""
    folder = tmp_path_factory.mktemp("people")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    (folder / "labels.txt").write_text("background\nshirt\ntrousers\nskin\n")
    for number in range(PICTURES):
        rng = np.random.default_rng(number)
        index = np.zeros((HEIGHT, WIDTH), np.uint8)
        index[5:25, 30:50] = 3
        index[25:60, 20 + number : 60] = 1
        index[60:110, 25:50] = 2
        colours = rng.integers(0, 255, (4, 3))
        noise = rng.integers(-9, 9, (HEIGHT, WIDTH, 3))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.clip(colours[index] + noise, 0, 255).astype(np.uint8))
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), index)
    return folder


@pytest.fixture(scope="session")
def label_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Asks for shirts and trousers."""
    labels = "".join(f'<Label value="{name}"/>' for name in ("shirt", "trousers"))
    file = tmp_path_factory.mktemp("config") / "labels.xml"
    file.write_text(
        f'<View><Image name="image" value="$image"/><PolygonLabels name="label" toName="image">{labels}'
        "</PolygonLabels></View>"
    )
    return file


@pytest.fixture(scope="session")
def pictures(masks_set: Path, label_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """That set, decoded; the last two are held out."""
    source = Source((str(masks_set),), HELD_OUT, str(label_config))
    return decode_pictures(source, tmp_path_factory.mktemp("training") / "pictures")


@pytest.fixture
def plan() -> Plan:
    """Two steps of each phase."""
    return Plan(
        encoder="mobilenetv4_conv_small_035",
        start=None,
        crops=(4, 4),
        batch=2,
        processes=1,
        learning_rate=0.001,
        decay=0.9,
        seed=3,
        bfloat16=False,
        minutes=None,
        checkpoint_every_s=1000.0,
        report_every=2,
        evaluate_every=1000,
        monitored=2,
    )
