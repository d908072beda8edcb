"""Groups the rows of a large file by the image that they belong to."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from training.data_in.annotated_image import id_text


class RowsByImage:
    """Stores rows on disk until their images are read, so that memory does not grow with the number of rows.

    The file is temporary, and disappears with the object.
    """

    def __init__(self) -> None:
        # SQLite's name for a temporary database on disk.
        self._rows = sqlite3.connect("")
        self._rows.execute("CREATE TABLE image (id PRIMARY KEY, body)")
        self._rows.execute("CREATE TABLE row (image, body)")

    def add_image(self, image: object, facts: dict[str, Any]) -> bool:
        """Adds an image, unless its id was added before; images are read in the order in which they were added.

        Returns:
            Whether it was added.
        """
        added = self._rows.execute("INSERT OR IGNORE INTO image VALUES (?, ?)", (id_text(image), json.dumps(facts)))
        return added.rowcount == 1

    def add_row(self, image: object, body: dict[str, Any]) -> None:
        """Adds a row of an image."""
        self._rows.execute("INSERT INTO row VALUES (?, ?)", (id_text(image), json.dumps(body)))

    def without_image(self) -> tuple[int, str]:
        """Returns how many rows belong to no image that was added, and the id of such an image."""
        count, image = self._rows.execute(
            "SELECT count(*), min(image) FROM row WHERE image NOT IN (SELECT id FROM image)"
        ).fetchone()
        return int(count), str(image)

    def __len__(self) -> int:
        return int(self._rows.execute("SELECT count(*) FROM image").fetchone()[0])

    def __iter__(self) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Yields each image's facts, and its rows in the order in which they were added."""
        self._rows.execute("CREATE INDEX IF NOT EXISTS by_image ON row (image)")
        for image, facts in self._rows.execute("SELECT id, body FROM image ORDER BY rowid"):
            rows = self._rows.execute("SELECT body FROM row WHERE image = ? ORDER BY rowid", (image,))
            yield json.loads(facts), [json.loads(body) for (body,) in rows]
