"""Where which work is done. No GPU is needed: what torch is told of one is written down, and not done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from backend.compute import devices
from backend.compute.devices import parse_devices, pick_device, prepare_device
from backend.settings import Settings

# DEVICE, as torch names it
NAMED = [("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("1", "cuda:1"), ("mps", "mps"), ("0,1", "cuda:0")]


@pytest.mark.parametrize(("given", "named"), NAMED)
def test_devices_are_named_as_torch_does_it(given: str, named: str) -> None:
    assert pick_device(given) == named
    assert torch.device(named).type in ("cpu", "cuda", "mps")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such files")
def test_without_a_gpus_driver_torch_is_not_even_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "GPU_FILES", ("/dev/no-such-driver",))
    # Importing it raises.
    monkeypatch.setitem(sys.modules, "torch", None)
    assert pick_device("auto") == "cpu"


def test_with_a_driver_torch_says_what_is_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "driver").touch()
    monkeypatch.setattr(devices, "GPU_FILES", (str(tmp_path / "driver"),))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == "cuda:0"


def test_each_of_several_devices_is_named() -> None:
    assert parse_devices("0, 1") == parse_devices("cuda:0,cuda:1") == ("cuda:0", "cuda:1")
    assert parse_devices("") == ("cpu",)


# DEVICE, DEVICE_BATCH, DEVICE_TRAIN → of the backend, of batches, of trainings
PLACES = [
    (("cuda:0", "", ""), ("cuda:0", "cuda:0", "cuda:0")),
    (("cuda:0", "cuda:1", ""), ("cuda:0", "cuda:1", "cuda:0")),
    (("cpu", "", "cuda:2"), ("cpu", "cpu", "cuda:2")),
]


@pytest.mark.parametrize(("given", "wanted"), PLACES)
def test_each_kind_of_work_has_its_device(given: tuple[str, str, str], wanted: tuple[str, str, str]) -> None:
    device, batch, train = given
    settings = Settings(
        device=device,
        device_batch=batch,
        device_train=train,
        gpu_memory_share=0.4,
        gpu_memory_share_batch=0.2,
        gpu_memory_share_train=0.3,
    )
    placed = (settings, settings.for_work("batch"), settings.for_work("train"))
    assert tuple(one.device for one in placed) == wanted
    assert [one.gpu_memory_share for one in placed] == [0.4, 0.2, 0.3]
    # Placed anew, and of a project of its own, it stays where it is.
    assert placed[1].for_work("batch").for_project(7) == placed[1]


@pytest.mark.parametrize("name", ["device", "device_batch"])
def test_a_model_answers_on_one_device(name: str) -> None:
    with pytest.raises(ValidationError, match="one device"):
        Settings.model_validate({name: "0,1"})


def test_a_share_of_a_gpus_memory_is_asked_for_where_one_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, str]] = []
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: told.append((share, device))
    )
    settings = Settings(device="cuda:0", device_batch="1", gpu_memory_share_batch=0.25)
    assert prepare_device(settings) == "cuda:0" and told == []
    assert prepare_device(settings.for_work("batch")) == "cuda:1" and told == [(0.25, "cuda:1")]
    assert prepare_device(Settings(device="cpu", gpu_memory_share=0.5)) == "cpu" and len(told) == 1
