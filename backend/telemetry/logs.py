"""How a log record is written: as text for people or as JSON for collectors, with the ids of its request and job."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any, Literal

from backend.telemetry.printable import lines, one_line
from backend.telemetry.request_ids import job_id, request_id

LogFormat = Literal["text", "json"]


class WithIds(logging.Filter):
    """Gives each record `request_id` and `job_id`; it filters nothing out. For handlers, which see all loggers."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true."""
        record.request_id, record.job_id = request_id(), job_id()
        return True


class TextLines(logging.Formatter):
    """`time LEVEL logger: message [request id, job id]`; a traceback follows on lines of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line of the record."""
        named = {"request": getattr(record, "request_id", ""), "job": getattr(record, "job_id", "")}
        ids = ", ".join(f"{what} {value}" for what, value in named.items() if value)
        # A message may quote what somebody has sent, and must not look like records of its own.
        line = one_line(super().formatMessage(record))
        return f"{line} [{ids}]" if ids else line

    def formatException(self, ei: Any) -> str:
        """The traceback; its last line may quote, too."""
        return lines(super().formatException(ei))


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (ISO 8601, UTC), `level`, `logger`, `message`; where there are any also
    `request_id`, `job_id` and `exception`, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        facts = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", ""),
            "job_id": getattr(record, "job_id", ""),
            "exception": self.formatException(record.exc_info) if record.exc_info else "",
        }
        # JSON lets stand what some collectors end a line at; spelled out it means the same.
        return one_line(json.dumps({name: value for name, value in facts.items() if value}, ensure_ascii=False))


def handler_of(log_format: LogFormat) -> logging.Handler:
    """A handler that writes to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    handler.addFilter(WithIds())
    return handler
