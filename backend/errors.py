"""Every named failure: its HTTP status, and the one sentence a person may read."""

from __future__ import annotations


class DrapeError(Exception):
    """Base of all failures that Drape names.

    `str(error)` is a plain sentence that may be shown to an annotator: it holds no secret, no traceback, no path
    outside the data directory, and says what to do where something can be done.
    """

    http_status = 500


class LabelConfigError(DrapeError):
    """A label config that cannot be served; the message names the missing tag."""

    http_status = 400


class PromptError(DrapeError):
    """A prompt that cannot be answered as it stands: no label chosen, words without a model that reads them."""

    http_status = 400


class ImageError(DrapeError):
    """An image that is missing, refused, over a limit, or not an image; the message names it."""

    http_status = 422


class RegionError(DrapeError):
    """A region whose value does not decode to a mask."""

    http_status = 422


class ModelError(DrapeError):
    """Weights that are missing or do not load, or a model that failed; the message names the file or version."""

    http_status = 503


class NotFoundError(ModelError):
    """There is no such model version, or nothing of that name is kept with it."""

    http_status = 404


class ModelLoadingError(ModelError):
    """The model is being loaded; asking again in a few seconds succeeds."""


class LabelStudioError(DrapeError):
    """Label Studio is away, refuses the credentials, or answered with an error; the message says which."""

    http_status = 503


class LabelStudioAwayError(LabelStudioError):
    """Label Studio does not answer, or fails by itself: the same request may succeed later."""


class StorageError(DrapeError):
    """What several machines share cannot be read or written; the message says where that is, and why."""

    http_status = 503


class StorageAwayError(StorageError):
    """The shared storage does not answer, or fails by itself: the same may succeed later."""


class QueueError(DrapeError):
    """Redis is away or refused the command."""

    http_status = 503


class OverloadedError(DrapeError):
    """More is asked at once than can be answered in time; asking again after `retry_after_s` seconds may succeed."""

    http_status = 503

    def __init__(self, reason: str, *, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class DatasetError(DrapeError):
    """The approved labels do not make a data set that can be trained on; the message says what is missing."""

    http_status = 422


class ReportError(DrapeError):
    """A version's report that could not be made or stored; the version itself is whole."""


class ForbiddenError(DrapeError):
    """A request that another site's page made in the name of somebody who is logged in here."""

    http_status = 403


class SettingsError(DrapeError):
    """What a project is to have of its own settings cannot be; the message names the file, the project, the field."""


def first_line(error: BaseException) -> str:
    """What a library's error says, without the lines of detail that follow; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
