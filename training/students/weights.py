"""Pretrained weights: from a folder or, where that is allowed and there is internet, from whoever published them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.storage.atomic_files import replacing

logger = logging.getLogger(__name__)

# So long a server is waited for before it counts as out of reach.
REACH_S = 3.0
# And so long for each piece of a download.
DOWNLOAD_TIMEOUT_S = 60.0
RANDOM = "random weights"


@dataclass(frozen=True)
class Weights:
    """Where pretrained weights lie: `folder`, under the names that they were published by; downloads go there, too."""

    folder: Path
    may_download: bool = True

    def find(self, url: str) -> Path | None:
        """Returns the file that was published under an address, or None where it is not to be had."""
        path = self.folder / url.rpartition("/")[2]
        if path.is_file():
            return path
        if not self.reaches(url):
            return None
        try:
            with replacing(path) as temporary:
                _download(url, temporary)
        except (OSError, httpx.HTTPError) as e:
            logger.warning("%s cannot be downloaded: %s", path.name, e)
            return None
        return path

    def reaches(self, url: str) -> bool:
        """Returns whether downloads are allowed and the server of an address answers; asks for three seconds."""
        if not self.may_download:
            return False
        try:
            httpx.head(url, timeout=REACH_S, follow_redirects=False)
        except httpx.HTTPError as e:
            logger.warning("%s does not answer: %s", url, e)
            return False
        return True

    def missing(self, name: str) -> str:
        """Returns the words for a student that begins at random since the weights `name` are not to be had."""
        return f"{RANDOM} ({name} is not in {self.folder.name}/" + (
            ", and cannot be downloaded)" if self.may_download else ")"
        )


def _download(url: str, path: Path) -> None:
    """Writes what an address has into a file; a connection that ends before all has come raises `httpx.HTTPError`."""
    with (
        httpx.stream("GET", url, follow_redirects=True, timeout=DOWNLOAD_TIMEOUT_S) as answer,
        path.open("wb") as file,
    ):
        answer.raise_for_status()
        for piece in answer.iter_bytes():
            file.write(piece)
