"""`drape doctor` on real services, sound and broken in turn."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from typer.testing import CliRunner

from backend.label_studio.client import LabelStudio
from backend.queues.queues import QUEUES, Queues
from backend.queues.timer import timer
from backend.queues.worker import ResidentWorker
from backend.registry.registry import Registry
from backend.settings import Settings
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import (
    Backend,
    connect_backend,
    ensure_local_files,
    ensure_project,
    give_starter_model,
)
from launcher.cli import app
from launcher.doctor.findings import Finding, State, compare_clocks, run_check
from launcher.doctor.label_studio import SUPPORTED, check_label_studio
from launcher.doctor.machine import check_machine, free_memory
from launcher.doctor.projects import check_backend, check_project, check_project_settings
from launcher.doctor.redis import check_redis
from launcher.doctor.run_checks import run_checks
from launcher.doctor.weights import check_weight_files
from launcher.stack.label_studio_server import studio_answers, studio_program
from launcher.stack.supervisor import Supervisor, free_port
from tests.backend.conftest import USER, served
from tests.conftest import ROOT, STUDIO_VENV, Studio

services = pytest.mark.services
PASSWORD, SECRET = "q7-backend-q7", "q7-hook-q7"


@dataclass(frozen=True)
class Flywheel:
    """A project that is connected to a backend which runs; workers and a timer that Redis knows of."""

    settings: Settings
    label_studio: LabelStudio
    project_id: int
    photographs: Path
    redis: Redis

    def found(self, **other: Any) -> dict[str, Finding]:
        """What the doctor finds under these settings, or others."""
        findings = run_checks(self.settings.model_copy(update=other), project_id=self.project_id)
        assert len({one.name for one in findings}) == len(findings)
        return {one.name: one for one in findings}

    @property
    def webhook_id(self) -> int:
        return int(self.label_studio.sdk.webhooks.list(project=self.project_id)[0].id or 0)


@pytest.fixture
def flywheel(label_studio: Studio, redis_address: str, tmp_path: Path, starter: Path) -> Iterator[Flywheel]:
    settings = Settings(
        data_dir=tmp_path / "data",
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.api_key,
        redis_url=redis_address,
        basic_auth_user=USER,
        basic_auth_pass=PASSWORD,
        webhook_secret=SECRET,
        device="cpu",
        yolo11_base=str(starter),
    )
    settings.data_dir.mkdir()
    with ExitStack() as stack:
        url = str(stack.enter_context(served(settings)).client.base_url).rstrip("/")
        settings = settings.model_copy(update={"port": int(url.rsplit(":", 1)[1])})
        studio = LabelStudio(settings)
        project_id = ensure_project(studio, title=tmp_path.name, label_config=palette(GARMENTS))
        photographs = label_studio.files / tmp_path.name
        write_images(photographs, [1])
        ensure_local_files(studio, project_id=project_id, folder=photographs)
        connect_backend(studio, project_id=project_id, backend=Backend(url, USER, PASSWORD, SECRET))
        give_starter_model(project_id, settings)
        redis = Queues(settings).redis
        for worker in (ResidentWorker(QUEUES, connection=redis), timer(redis, every_s=600)):
            worker.register_birth()
        yield Flywheel(settings, studio, project_id, photographs, redis)
        studio.sdk.projects.delete(project_id)


@services
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
        *(f"{project}: {what}" for what in ("addresses", "backend", "webhook", "labels", "images")),
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


def second_webhook(flywheel: Flywheel) -> None:
    sdk = flywheel.label_studio.sdk
    sdk.webhooks.create(project=flywheel.project_id, url=sdk.webhooks.get(flywheel.webhook_id).url)


def webhook_without_secret(flywheel: Flywheel) -> None:
    flywheel.label_studio.sdk.webhooks.update(flywheel.webhook_id, headers={})


def webhook_switched_off(flywheel: Flywheel) -> None:
    flywheel.label_studio.sdk.webhooks.update(flywheel.webhook_id, is_active=False)


def no_webhook(flywheel: Flywheel) -> None:
    flywheel.label_studio.sdk.webhooks.delete(flywheel.webhook_id)


def not_interactive(flywheel: Flywheel) -> None:
    sdk = flywheel.label_studio.sdk
    (one,) = sdk.ml.list(project=flywheel.project_id)
    sdk.ml.update(
        int(one.id or 0),
        project=flywheel.project_id,
        url=one.url,
        is_interactive=False,
        auth_method="BASIC_AUTH",
        basic_auth_user=USER,
        basic_auth_pass=PASSWORD,
    )


def no_connection(flywheel: Flywheel) -> None:
    sdk = flywheel.label_studio.sdk
    (one,) = sdk.ml.list(project=flywheel.project_id)
    sdk.ml.delete(int(one.id or 0))


def labels_that_no_mask_can_have(flywheel: Flywheel) -> None:
    config = '<View><Text name="t" value="$image"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
    flywheel.label_studio.sdk.projects.update(flywheel.project_id, label_config=config)


def photograph_deleted(flywheel: Flywheel) -> None:
    shutil.rmtree(flywheel.photographs)


def no_task(flywheel: Flywheel) -> None:
    flywheel.label_studio.sdk.tasks.delete_all_tasks(flywheel.project_id)


def weights_changed(flywheel: Flywheel) -> None:
    champion = Registry(flywheel.settings.models_path).champion(flywheel.project_id)
    assert champion is not None
    with champion.weights.open("ab") as file:
        file.write(b"\0")


def weights_deleted(flywheel: Flywheel) -> None:
    champion = Registry(flywheel.settings.models_path).champion(flywheel.project_id)
    assert champion is not None
    champion.weights.unlink()


def manifest_damaged(flywheel: Flywheel) -> None:
    registry = Registry(flywheel.settings.models_path)
    champion = registry.champion(flywheel.project_id)
    assert champion is not None
    second = registry.add(
        flywheel.project_id,
        weights=Path(flywheel.settings.yolo11_base),
        classes=("saree",),
        parent=champion.name,
        metrics={},
        annotations={},
        image_size_px=256,
        origin="training",
    )
    registry.promote(flywheel.project_id, second.name)
    second.weights.with_name("manifest.json").write_text("{")


def redis_that_drops_keys(flywheel: Flywheel) -> None:
    flywheel.redis.config_set("maxmemory", 1_000_000_000)
    flywheel.redis.config_set("maxmemory-policy", "allkeys-lru")


def redis_that_keeps_nothing(flywheel: Flywheel) -> None:
    flywheel.redis.config_set("appendonly", "no")


def nobody_works(flywheel: Flywheel) -> None:
    flywheel.redis.flushall()


Case = tuple[Callable[[Flywheel], None], str, State, str, str]


def check(cases: Sequence[Case], flywheel: Flywheel, look: Callable[[], list[Finding]]) -> None:
    """Breaks one thing after the other; each is named, with its remedy."""
    number = str(flywheel.project_id)
    for break_it, what, state, said, remedy in cases:
        break_it(flywheel)
        one = {finding.name: finding for finding in look()}[what.replace("N", number)]
        assert one.state == state, one
        assert said in one.message and remedy.replace("N", number) in one.remedy, one


@services
def test_what_is_wrong_with_a_project_is_named_with_its_remedy(flywheel: Flywheel) -> None:
    backend = Backend(f"http://127.0.0.1:{flywheel.settings.port}", USER, PASSWORD, SECRET)
    connect = "drape connect --project N"
    for case in (
        (second_webhook, "project N: webhook", "failed", "2 webhooks", connect),
        (webhook_without_secret, "project N: webhook", "failed", "is not WEBHOOK_SECRET", connect),
        (webhook_switched_off, "project N: webhook", "failed", "switched off", connect),
        (no_webhook, "project N: webhook", "failed", "no webhook", connect),
        (not_interactive, "project N: backend", "failed", "not interactive", connect),
        (no_connection, "project N: backend", "failed", "no ML backend", connect),
        (photograph_deleted, "project N: images", "failed", "figure_000001.jpg", "storage"),
        (no_task, "project N: images", "warning", "no task", "storage"),
        (labels_that_no_mask_can_have, "project N: labels", "failed", "cannot work with its label config", "--palette"),
    ):
        check([case], flywheel, lambda: check_project(flywheel.settings, flywheel.project_id, {}))
        if connect in case:
            # What the remedy says helps.
            connect_backend(flywheel.label_studio, project_id=flywheel.project_id, backend=backend)
            found = check_project(flywheel.settings, flywheel.project_id, {})
            assert {one.state for one in found} == {"ok"}, found


@services
def test_what_is_wrong_with_a_model_is_named_with_its_remedy(flywheel: Flywheel) -> None:
    check(
        [
            (weights_changed, "model of project N", "failed", "were changed", "rollback"),
            (weights_deleted, "model of project N", "failed", "are missing", "rollback"),
            (manifest_damaged, "model of project N", "warning", "cannot be read", "promote"),
        ],
        flywheel,
        lambda: check_weight_files(flywheel.settings),
    )


@services
def test_what_is_wrong_with_redis_is_named_with_its_remedy(flywheel: Flywheel) -> None:
    before = flywheel.redis.config_get("*")
    try:
        check(
            [
                (redis_that_drops_keys, "Redis' memory", "failed", "allkeys-lru", "noeviction"),
                (redis_that_keeps_nothing, "Redis' persistence", "warning", "may lose", "appendonly yes"),
                (nobody_works, "workers: prelabel", "failed", "No worker", "drape worker --queue prelabel"),
                (nobody_works, "workers: embed", "warning", "No worker", "drape worker --queue embed"),
                (nobody_works, "timer", "warning", "No timer", "drape timer"),
            ],
            flywheel,
            lambda: check_redis(flywheel.settings),
        )
    finally:
        for name in ("maxmemory", "maxmemory-policy", "appendonly"):
            flywheel.redis.config_set(name, str(before[name]))


@services
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


@services
def test_a_backend_that_is_gone_is_said_by_label_studio_and_from_here(flywheel: Flywheel) -> None:
    """And a port that another program has taken is told from one that is free."""
    port = free_port()
    gone = flywheel.found(port=port)
    assert gone["ports"].state == "ok" and "free" in gone["ports"].message
    with closing(socket.create_server(("127.0.0.1", port))):
        taken = flywheel.found(port=port, label_studio_timeout_s=1.0)["ports"]
    assert taken.state == "failed" and "another program" in taken.message
    # Connected under an address where nobody listens: Label Studio keeps what it was told before.
    sdk = flywheel.label_studio.sdk
    with served(flywheel.settings) as other:
        url = str(other.client.base_url).rstrip("/")
        connect_backend(
            flywheel.label_studio, project_id=flywheel.project_id, backend=Backend(url, USER, PASSWORD, SECRET)
        )
        assert flywheel.found()[f"project {flywheel.project_id}: backend"].state == "ok"
    found = flywheel.found()
    assert found["backend"].state == "failed" and url in found["backend"].message
    told = found[f"project {flywheel.project_id}: backend"]
    assert told.state == "failed" and "drape connect" in told.remedy
    assert [one.url for one in sdk.ml.list(project=flywheel.project_id)] == [url]


@services
def test_a_label_studio_that_refuses_private_addresses_is_recognised(
    flywheel: Flywheel, label_studio: Studio, tmp_path: Path
) -> None:
    """The same, started without the two settings that let them through; to ask it stores nothing."""
    known, folder, port = label_studio.files.parent / "data", tmp_path / "studio", free_port()
    folder.mkdir()
    shutil.copy(known / "secret-key", folder)
    # A copy of the database, as a new one takes minutes to make.
    name = "label_studio.sqlite3"
    with closing(sqlite3.connect(known / name)) as source, closing(sqlite3.connect(folder / name)) as target:
        source.backup(target)
    supervisor, url = Supervisor(tmp_path / "logs"), f"http://127.0.0.1:{port}"
    program = studio_program(
        folder, venv=STUDIO_VENV, port=port, password=label_studio.password, files_root=label_studio.files
    )
    kept = {name: value for name, value in program.environment.items() if name not in PRIVATE}
    assert len(kept) == len(program.environment) - len(PRIVATE)
    supervisor.start(replace(program, environment=kept))
    try:
        supervisor.wait_until(lambda: studio_answers(url), what="Label Studio", timeout_s=240)
        found = flywheel.found(label_studio_url=url)
        one = found[f"project {flywheel.project_id}: addresses"]
        assert one.state == "failed" and "ML backends and webhooks" in one.message
        assert all(name in one.remedy for name in PRIVATE)
        sdk = LabelStudio(flywheel.settings.model_copy(update={"label_studio_url": url})).sdk
        for of_project in (sdk.ml.list(project=flywheel.project_id), sdk.webhooks.list(project=flywheel.project_id)):
            assert len(of_project) == 1
    finally:
        supervisor.stop()


PRIVATE = ("ML_BLOCK_LOCAL_IP", "SSRF_PROTECTION_ENABLED")


@services
def test_without_a_project_it_says_how_to_connect_one(flywheel: Flywheel, tmp_path: Path) -> None:
    settings = flywheel.settings.model_copy(update={"webhook_secret": "of nobody", "model_dir": tmp_path / "other"})
    found = {one.name: one for one in run_checks(settings, project_id=None)}
    assert found["projects"].state == "warning" and "drape connect" in found["projects"].remedy
    assert not any(name.startswith("project ") for name in found)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        (json.dumps({"release": "1.19.0"}), "warning", "1.19.0"),
        # Not merely the same beginning.
        (json.dumps({"release": "1.230.0"}), "warning", "1.230.0"),
        (json.dumps({"version": "3"}), "failed", "not Label Studio"),
        ("<html>Welcome</html>", "failed", "not Label Studio"),
    ],
)
def test_another_version_is_a_warning_and_another_program_a_failure(
    tmp_path: Path, answer: str, state: State, said: str
) -> None:
    page = tmp_path / "api" / "version" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        found = check_label_studio(Settings(label_studio_url=f"http://127.0.0.1:{server.server_port}"))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert found[0].name == "Label Studio" and found[0].state == state and said in found[0].message


def test_the_supported_version_is_the_one_that_is_installed() -> None:
    assert f"label-studio=={SUPPORTED}." in (ROOT / "requirements-label-studio.txt").read_text()


@pytest.mark.parametrize(
    ("ahead_s", "state", "said"),
    [
        (0.0, "ok", "agrees"),
        (-4.9, "ok", "agrees"),
        (30.0, "warning", "30 s ahead of"),
        (-30.0, "warning", "30 s behind"),
        (3600.0, "failed", "3,600 s ahead of"),
    ],
)
def test_clocks_are_compared(ahead_s: float, state: State, said: str) -> None:
    found = compare_clocks("a clock", remote_s=1_800_000_000 + ahead_s, local_s=1_800_000_000)
    assert found.state == state and said in found.message


@pytest.mark.parametrize(("reached", "state"), [(True, "warning"), (False, "failed")])
def test_a_backend_that_only_label_studio_reaches_is_no_failure(reached: bool, state: State) -> None:
    """As where both are containers, and the doctor is asked from beside them."""
    url = f"http://127.0.0.1:{free_port()}"
    one = check_backend(Settings(port=free_port()), {url: reached})[0]
    assert (one.name, one.state) == ("backend", state) and url in one.message


@pytest.mark.parametrize(
    ("settings", "name", "state"),
    [
        ({"yolo11_base": "n"}, "YOLO11_BASE", "warning"),
        ({"yolo11_base": "/nowhere/base.pt"}, "YOLO11_BASE", "failed"),
        # A name may be downloaded, a path may not.
        ({"sam_weights": "sam2.1_b.pt"}, "SAM_WEIGHTS", "warning"),
        ({"sam_weights": "/nowhere/sam2.1_b.pt"}, "SAM_WEIGHTS", "failed"),
        ({"segmenter": "sam3"}, "SAM3_WEIGHTS", "failed"),
        ({}, "weights", "ok"),
    ],
)
def test_weights_that_settings_name(
    settings: dict[str, Any], name: str, state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = {one.name: one for one in check_weight_files(Settings(data_dir=tmp_path, **settings))}
    assert found[name].state == state


def test_a_check_that_breaks_is_a_finding_beside_what_it_had_found() -> None:
    def look() -> Iterator[Finding]:
        yield Finding("first", "ok", "Here.")
        raise KeyError("secret")

    first, second = run_check("both", look, remedy="Look.")
    assert first.name == "first"
    assert second == Finding("both", "failed", "The check itself failed (KeyError).", "Look.")


def test_each_kind_of_work_has_its_device_looked_at(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, device="cpu", device_batch="cuda:7", device_train="cpu")
    found = {one.name: one for one in check_machine(settings)}
    assert found["device"].state == found["device of trainings"].state == "ok"
    batches = found["device of batches"]
    assert batches.state == "failed" and "cuda:7" in batches.message and "DEVICE_BATCH" in batches.remedy
    assert not any(name.startswith("GPU memory") for name in found)


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


def test_settings_of_projects_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "projects.yaml"
    settings = Settings(project_settings=str(path))
    assert check_project_settings(Settings()) == []
    path.write_text("projects: {7: {retrain_after: 5}, 9: {max_regions: 3}}")
    (sound,) = check_project_settings(settings)
    assert sound.state == "ok" and "7, 9" in sound.message
    path.write_text("projects: {7: {retrain_after: 0}}")
    (broken,) = check_project_settings(settings)
    assert broken.state == "failed" and "project 7: RETRAIN_AFTER" in broken.message


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
