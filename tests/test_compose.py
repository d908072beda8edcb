"""docker-compose.yml is read by docker-compose itself; no engine is needed for that."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def compose() -> list[str]:
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if os.environ.get("CI") == "true":
        pytest.fail("There is no docker-compose, and under CI this must run.")
    pytest.skip("There is no docker-compose on this machine (Debian: apt install docker-compose).")


def config(compose: list[str], env_file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*compose, "--env-file", str(env_file), "config"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_is_valid_once_the_secrets_are_set(compose: list[str], tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    assert config(compose, ROOT / ".env.example").returncode != 0
    filled = tmp_path / "env"
    filled.write_text("\n".join(f"{line}secret" if line.endswith("=") else line for line in example.splitlines()))
    done = config(compose, filled)
    assert done.returncode == 0, done.stderr
    for service in ("label-studio", "redis", "backend", "worker-prelabel", "worker-train"):
        assert f"  {service}:" in done.stdout
