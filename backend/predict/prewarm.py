"""Encodes images before the first prompt, in the background: those of the opened task and of the next tasks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass

from backend.errors import DrapeError
from backend.images.fetch import ImageStore
from backend.images.task_image import open_image
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import Task
from backend.segmenters.base import ImageEncoder
from backend.segmenters.loader import SegmenterLoader
from backend.settings import Settings
from backend.telemetry.request_ids import request_id, set_request_id

logger = logging.getLogger(__name__)

# At most this many opened tasks wait; beyond it, the task that has waited longest is dropped.
MAX_WAITING = 32


@dataclass(frozen=True)
class _Opened:
    project_id: int
    task: Task
    config: LabelConfig
    request_id: str


class Prewarmer:
    """A background thread, started with the first task; the encoder always serves annotators' prompts first."""

    def __init__(
        self, settings: Settings, *, images: ImageStore, segmenter: SegmenterLoader, label_studio: LabelStudio
    ) -> None:
        self._settings = settings
        self._images = images
        self._segmenter = segmenter
        self._label_studio = label_studio
        self._waiting: deque[_Opened] = deque(maxlen=MAX_WAITING)
        # Every prompt reports its task as opened: the tasks listed here are not encoded ahead again at each click.
        self._recent: deque[tuple[int, int]] = deque(maxlen=MAX_WAITING)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False

    def task_opened(self, project_id: int, task: Task, config: LabelConfig) -> None:
        """Reports that an annotator has the task open. Returns at once; does nothing without an image encoder."""
        if not isinstance(self._segmenter.ready, ImageEncoder):
            return
        with self._changed:
            if (project_id, task.id) in self._recent:
                return
            self._recent.append((project_id, task.id))
            # The newest task first: its annotator is waiting now.
            self._waiting.appendleft(_Opened(project_id, task, config, request_id()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="prewarm", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread, after the image that it encodes now."""
        with self._changed:
            self._closing = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or self._closing)
                if self._closing:
                    return
                opened = self._waiting.popleft()
            set_request_id(opened.request_id)
            try:
                self._encode(opened)
            except DrapeError as e:
                # The annotator gets the reason with the first prompt in the task.
                logger.info("Task %s was not encoded ahead: %s", opened.task.id, e)
            except Exception:
                # The thread must survive: it serves every later task, too.
                logger.exception("Task %s was not encoded ahead", opened.task.id)

    def _encode(self, opened: _Opened) -> None:
        encoder = self._segmenter.ready
        if not isinstance(encoder, ImageEncoder):
            return
        encoder.prepare(open_image(self._images, opened.task, opened.config))
        if not self._settings.prewarm_tasks:
            return
        next_tasks = self._label_studio.tasks_after(
            opened.project_id, opened.task.id, count=self._settings.prewarm_tasks
        )
        for task in next_tasks:
            with self._changed:
                if self._waiting or self._closing:
                    return  # An annotator has opened another task: its image comes first.
            encoder.prepare(open_image(self._images, Task.model_validate(task), opened.config))
