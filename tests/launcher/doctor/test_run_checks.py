"""`drape doctor` on real services: when all is sound, and what is away or refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from backend.queues.queues import QUEUES
from launcher.cli import app
from launcher.doctor.run_checks import run_checks
from launcher.stack.supervisor import free_port
from tests.launcher.doctor.conftest import PASSWORD, SECRET, Flywheel


@pytest.mark.services
def test_of_a_sound_flywheel_everything_is_ok(flywheel: Flywheel, monkeypatch: pytest.MonkeyPatch) -> None:
    found = flywheel.found()
    assert {one.state for one in found.values()} == {"ok"}, found
    project = f"project {flywheel.project_id}"
    assert found.keys() == {
        "device",
        "disk",
        "weights",
        "YOLO11_BASE",
        f"model of project {flywheel.project_id}",
        "Redis",
        "Redis' persistence",
        "Redis' memory",
        "Redis' clock",
        *(f"workers: {queue}" for queue in QUEUES),
        "timer",
        "Label Studio",
        "Label Studio's clock",
        "token",
        "backend",
        "ports",
        *(f"{project}: {what}" for what in ("addresses", "backend", "webhook", "labels", "messages", "images")),
    }
    # As a command: every project that carries the secret is looked at, this one among them.
    for name, value in flywheel.settings.model_dump(exclude_none=True).items():
        monkeypatch.setenv(name.upper(), str(value))
    monkeypatch.setattr("launcher.commands.run.console.width", 200)
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.output
    assert f"{project}: webhook" in done.output and "0 failed, 0 with a warning" in done.output
    done = CliRunner().invoke(app, ["doctor", "--project", "987654"])
    assert done.exit_code == 1 and "987654" in done.output and "Traceback" not in done.output


@pytest.mark.services
def test_what_is_away_or_refused_is_named_and_no_secret_is_shown(
    flywheel: Flywheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = flywheel.settings
    short = tmp_path / "sam3.pt"
    short.write_bytes(Path(right.yolo11_base).read_bytes()[:1000])
    closed = f"http://127.0.0.1:{free_port()}"
    cases: list[tuple[dict[str, Any], str, str, str]] = [
        ({"label_studio_api_key": right.label_studio_api_key[:-4] + "beef"}, "token", "personal", "account page"),
        ({"label_studio_api_key": "0123456789abcdef0123456789abcdef01234567"}, "token", "legacy", "legacy tokens"),
        ({"label_studio_api_key": ""}, "token", "not set", "account page"),
        ({"label_studio_url": closed}, "Label Studio", "does not answer", "LABEL_STUDIO_URL"),
        ({"label_studio_url": "nowhere"}, "Label Studio", "", "LABEL_STUDIO_URL"),
        ({"label_studio_url": f"http://127.0.0.1:{right.port}"}, "Label Studio", "answers 40", "LABEL_STUDIO_URL"),
        ({"label_studio_url": ""}, "Label Studio", "not set", "LABEL_STUDIO_URL"),
        ({"redis_url": f"redis://:q7-wrong-q7@127.0.0.1:{free_port()}/0"}, "Redis", "does not answer", "REDIS_URL"),
        (
            {"redis_url": right.redis_url.replace(":test@", ":q7-wrong-q7@")},
            "Redis",
            "refuses the password",
            "REDIS_URL",
        ),
        ({"redis_url": ""}, "Redis", "not set", "REDIS_URL"),
        ({"basic_auth_pass": "q7-wrong-q7"}, "backend", "refuses the credentials", "BASIC_AUTH_PASS"),
        ({"sam3_weights": str(tmp_path / "none.pt")}, "SAM3_WEIGHTS", "no file", "SAM3_WEIGHTS"),
        ({"sam3_weights": str(short)}, "SAM3_WEIGHTS", "cut short", "again"),
        ({"device": "cuda:7"}, "device", "cuda:7", "DEVICE"),
        ({"device": "gpu"}, "device", "gpu", "DEVICE"),
        ({"data_dir": Path("/proc/none"), "model_dir": right.models_path}, "disk", "/proc", "DATA_DIR"),
    ]
    for name, value in right.model_dump(exclude_none=True).items():
        monkeypatch.setenv(name.upper(), str(value))
    monkeypatch.setattr("launcher.commands.run.console.width", 300)
    for other, what, said, remedy in cases:
        one = flywheel.found(**other)[what]
        assert one.state == "failed" and said in one.message and remedy in one.remedy, (other, one)
    for name, value in {**cases[0][0], **cases[8][0]}.items():
        monkeypatch.setenv(name.upper(), str(value))
    done = CliRunner().invoke(app, ["doctor", "--project", str(flywheel.project_id)])
    assert done.exit_code == 1 and "2 failed" in done.output and "Traceback" not in done.output
    for secret in (right.label_studio_api_key[:-4], "test@", "q7-wrong-q7", SECRET, PASSWORD):
        assert secret not in done.output


@pytest.mark.services
def test_without_a_project_it_says_how_to_connect_one(flywheel: Flywheel, tmp_path: Path) -> None:
    settings = flywheel.settings.model_copy(update={"webhook_secret": "of nobody", "model_dir": tmp_path / "other"})
    found = {one.name: one for one in run_checks(settings, project_id=None)}
    assert found["projects"].state == "warning" and "drape connect" in found["projects"].remedy
    assert not any(name.startswith("project ") for name in found)
