from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.errors import DatasetError
from backend.label_studio.label_config import parse_label_config
from label_studio_config.palette_xml import palette as palette_of
from label_studio_config.palettes import PALETTES, file_of
from launcher.cli import app
from launcher.commands.options import label_config_for
from launcher.errors import LauncherError


def test_a_label_config_is_chosen_in_one_of_three_ways(tmp_path: Path) -> None:
    assert label_config_for(palette="", labels="", config=None) is None
    assert label_config_for(palette="saree", labels="", config=None) == file_of("saree").read_text()
    listed = label_config_for(palette="", labels=" saree, blouse ,saree,", config=None)
    assert listed is not None and parse_label_config(listed).label_values == ("saree", "blouse")
    in_lists = label_config_for(palette="", labels="saree,blouse", config=None, style="lists")
    assert in_lists == palette_of(("saree", "blouse"), "lists")
    own = tmp_path / "own.xml"
    own.write_text("<View/>")
    assert label_config_for(palette="", labels="", config=own) == "<View/>"


@pytest.mark.parametrize(
    ("palette", "labels", "config", "said"),
    [
        ("saree", "a,b", None, "Give only one of"),
        ("sari", "", None, r"no palette 'sari'. The palettes are: saree, indo_western"),
        ("", "", Path("missing.xml"), r"missing\.xml cannot be read"),
    ],
)
def test_what_cannot_be_chosen_is_said(palette: str, labels: str, config: Path | None, said: str) -> None:
    with pytest.raises((LauncherError, DatasetError), match=said):
        label_config_for(palette=palette, labels=labels, config=config)


@pytest.mark.parametrize("config", [None, Path("own.xml")])
def test_a_style_needs_labels(config: Path | None) -> None:
    with pytest.raises(LauncherError, match="--style needs the labels"):
        label_config_for(palette="", labels="", config=config, style="lists")


def test_the_palettes_are_listed() -> None:
    listed = CliRunner().invoke(app, ["palettes"], env={"COLUMNS": "200"}).output
    assert all(name in listed for name in PALETTES)
    assert "pallu" in listed
