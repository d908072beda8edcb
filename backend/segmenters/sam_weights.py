"""The weights of `SAM_WEIGHTS=auto`: which file suits the device, where it is stored, and its download."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tenacity import Retrying, retry_if_exception_type, sleep_using_event, stop_after_attempt, wait_exponential

from backend.compute.devices import pick_device
from backend.compute.quiet_ultralytics import LOAD_ERRORS, quiet_ultralytics
from backend.errors import ModelError, first_line
from backend.settings import Settings
from backend.storage.atomic_files import staging_folder

AUTO = "auto"
FOLDER = "weights"
GPU_FILE, CPU_FILE = "sam2.1_b.pt", "mobile_sam.pt"
# The release that the installed Ultralytics takes its weights from.
ADDRESS = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
# Seconds without any byte after which a connection counts as broken.
TIMEOUT_S = 30.0
ATTEMPTS = 3


@dataclass(frozen=True)
class Download:
    """How far a download has come, or why it ended.

    Attributes:
        file: name of the file.
        total_bytes: 0 while the server has not said it.
        failure: why there is no file; '' while it is downloaded.
    """

    file: str
    done_bytes: int = 0
    total_bytes: int = 0
    failure: str = ""

    def __str__(self) -> str:
        """A sentence for people."""
        if self.failure:
            return f"{self.file} was not downloaded: {self.failure}."
        if not self.total_bytes:
            return f"{self.file} is being downloaded."
        return f"{self.file} is being downloaded: {self.done_bytes / 1e6:.0f} of {self.total_bytes / 1e6:.0f} MB."


def auto_weights(settings: Settings) -> Path:
    """Where the file is or will be stored that suits the device: MobileSAM on a CPU, SAM 2.1 elsewhere."""
    name = CPU_FILE if pick_device(settings.device) == "cpu" else GPU_FILE
    return settings.data_dir / FOLDER / name


def stored_weights(settings: Settings) -> Path | None:
    """The file of `SAM_WEIGHTS=auto`; None where it is not stored, or the setting says otherwise."""
    folder = settings.data_dir / FOLDER
    # Most devices are found by torch, which takes long to import: not before there is anything to load.
    if settings.sam_weights != AUTO or not any((folder / name).is_file() for name in (GPU_FILE, CPU_FILE)):
        return None
    path = auto_weights(settings)
    return path if path.is_file() else None


def download_weights(path: Path, *, closing: threading.Event, report: Callable[[Download], object]) -> None:
    """Downloads Ultralytics' file of that name; it appears at `path` once SAM loads from it.

    Continues after a broken connection, at most `ATTEMPTS` times in all.

    Args:
        closing: ends the download.
        report: gets the state after each piece.

    Raises:
        ModelError: there is no connection, the server has no such file, SAM does not load from what it sent, the disk
            is full, or `closing` is set.
    """
    host = urlsplit(ADDRESS).netloc
    retrying = Retrying(
        retry=retry_if_exception_type(httpx.TransportError),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(),
        sleep=sleep_using_event(closing),
        reraise=True,
    )
    try:
        with staging_folder(path, private=False) as folder:
            # Ultralytics derives the architecture from the name, so the incomplete file has the same.
            incomplete = folder / path.name
            retrying(_continue, incomplete, closing, report)
            _check(incomplete)
            incomplete.replace(path)
    except httpx.HTTPStatusError as e:
        raise ModelError(f"{host} answers {e.response.status_code} {e.response.reason_phrase}") from e
    except httpx.HTTPError as e:
        raise ModelError(f"the connection to {host} fails ({first_line(e)})") from e
    except OSError as e:
        raise ModelError(f"it cannot be stored ({e.strerror or e})") from e


def _continue(file: Path, closing: threading.Event, report: Callable[[Download], object]) -> None:
    """Downloads what is missing at the end of the file."""
    _end_if(closing)
    done = file.stat().st_size if file.is_file() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    with httpx.stream(
        "GET", f"{ADDRESS}/{file.name}", headers=headers, timeout=TIMEOUT_S, follow_redirects=True
    ) as answer:
        answer.raise_for_status()
        # A server may send the whole file again.
        done = done if answer.status_code == HTTPStatus.PARTIAL_CONTENT else 0
        total = done + int(answer.headers.get("Content-Length", 0))
        state = Download(file.name, done, total)
        report(state)
        with file.open("ab" if done else "wb") as opened:
            # An answer that is shorter than it says counts as a broken connection.
            for piece in answer.iter_raw():
                _end_if(closing)
                opened.write(piece)
                state = replace(state, done_bytes=state.done_bytes + len(piece))
                report(state)


def _end_if(closing: threading.Event) -> None:
    if closing.is_set():
        raise ModelError("the service ends")


def _check(file: Path) -> None:
    """Builds the model from the file, in memory, whatever the device."""
    quiet_ultralytics()
    from ultralytics.models.sam.build import build_sam

    try:
        build_sam(str(file))
    except LOAD_ERRORS as e:
        raise ModelError(f"SAM does not load from what {urlsplit(ADDRESS).netloc} sent ({first_line(e)})") from e
