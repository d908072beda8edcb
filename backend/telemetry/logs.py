"""Formats log records, as text for people or as JSON for collectors, with the ids of request and job."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any, Literal

from backend.telemetry.printable import lines, one_line
from backend.telemetry.request_ids import job_id, request_id

LogFormat = Literal["text", "json"]
# These libraries log every request; at DEBUG, those for S3 also log its headers, which hold a session token.
VERBOSE_LOGGERS = ("httpx", "botocore", "aiobotocore", "s3fs")


class TextLines(logging.Formatter):
    """Formats a record as `time LEVEL logger: message [request id, job id]`; a traceback follows on its own lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        id_values = {"request": request_id(), "job": job_id()}
        ids = ", ".join(f"{what} {value}" for what, value in id_values.items() if value)
        # A message may quote text that somebody has sent: a line break in it could fake a further record.
        line = one_line(super().formatMessage(record))
        return f"{line} [{ids}]" if ids else line

    def formatException(self, ei: Any) -> str:
        """The traceback with control characters escaped, as its last line may quote text that somebody has sent."""
        return lines(super().formatException(ei))


class JsonLines(logging.Formatter):
    """One JSON object per line. `time` is ISO 8601 in UTC, `exception` a traceback; empty values are left out."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id(),
            "job_id": job_id(),
            "exception": self.formatException(record.exc_info) if record.exc_info else "",
        }
        # JSON allows characters at which some collectors end a line; as escapes they mean the same.
        return one_line(json.dumps({name: value for name, value in fields.items() if value}, ensure_ascii=False))


def make_log_handler(log_format: LogFormat) -> logging.Handler:
    """A handler that writes to standard error in that format."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    return handler


def start_logs(level: str, *, log_format: LogFormat = "text") -> None:
    """Writes log records and Python's warnings to standard error, without the libraries' records of each request."""
    logging.basicConfig(level=level, handlers=[make_log_handler(log_format)])
    # Python's warnings become log records too; else they would be bare lines between the records.
    logging.captureWarnings(True)
    quiet_libraries()


def quiet_libraries() -> None:
    """Keeps the records of each request out of the log."""
    for name in VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
