"""Devices, shares of a GPU's memory, and what a container may use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backend.settings import Settings
from launcher.doctor import machine
from launcher.doctor.findings import State
from launcher.doctor.machine import check_machine, free_memory


def test_each_kind_of_work_has_its_device_looked_at(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", device_batch="cuda:7", device_train="cpu")
    found = {one.name: one for one in check_machine(settings)}
    assert found["device"].state == found["device of trainings"].state == "ok"
    batches = found["device of batches"]
    assert batches.state == "failed" and "cuda:7" in batches.message and "DEVICE_BATCH" in batches.remedy
    assert not any(name.startswith("GPU memory") for name in found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use the GPU")
@pytest.mark.parametrize(("cuda", "remedy"), [("13.2", "Install a driver"), (None, "Run `make up` again")])
def test_a_gpu_that_torch_cannot_use_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None, remedy: str
) -> None:
    (tmp_path / "driver").touch()
    monkeypatch.setattr(machine, "NVIDIA_FILES", (str(tmp_path / "driver"),))
    monkeypatch.setattr(torch.version, "cuda", cuda)
    (found,) = [one for one in check_machine(Settings(data_dir=tmp_path)) if one.name == "device"]
    assert found.state == "warning" and remedy in found.remedy


SHARES = [
    ((0.5, 0.2, 0.3), "ok", "100 %"),
    ((0.5, 0.5, 0.5), "warning", "150 %"),
    ((0.5, 1.0, 1.0), "warning", "250 %"),
]


@pytest.mark.parametrize(("shares", "state", "said"), SHARES)
def test_shares_of_one_gpu_are_added(
    tmp_path: Path, shares: tuple[float, float, float], state: State, said: str
) -> None:
    names = ("gpu_memory_share", "gpu_memory_share_batch", "gpu_memory_share_train")
    settings = Settings(data_dir=tmp_path, device="cuda:0").model_copy(update=dict(zip(names, shares, strict=True)))
    (found,) = [one for one in check_machine(settings) if one.name == "GPU memory: cuda:0"]
    assert found.state == state and said in found.message


LIMITS = [
    # What a container's files hold, and the bytes that are free by them; None where they limit nothing.
    ({"memory.max": "3000", "memory.current": "2500"}, 1500),
    ({"memory.max": "max", "memory.current": "2500"}, None),
    ({"memory/memory.limit_in_bytes": "3000", "memory/memory.usage_in_bytes": "2000"}, 2000),
    ({"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "2000"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("files", "free"), LIMITS)
def test_a_containers_memory_is_what_it_is_allowed(tmp_path: Path, files: dict[str, str], free: int | None) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")
        (path.parent / "memory.stat").write_text("anon 100\ninactive_file 1000\nactive_file 50\n")
    # More than any test needs, less than any machine has.
    assert (free_memory(tmp_path) == free) if free else (free_memory(tmp_path) > 100_000_000)
