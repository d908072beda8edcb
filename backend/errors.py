"""Every named failure, with its HTTP status and the sentence that a person may read."""

from __future__ import annotations


class DrapeError(Exception):
    """Base class of all failures that Drape names.

    `str(error)` is a plain sentence that may be shown to an annotator: it holds no secret, no traceback and no path
    outside the data directory, and says what to do if something can be done.
    """

    http_status = 500


class LabelConfigError(DrapeError):
    """A label config that Drape cannot serve; the message says why, such as which tag is missing."""

    http_status = 400


class PromptError(DrapeError):
    """A prompt that cannot be answered as it is: no label is chosen, or no model that reads words is installed."""

    http_status = 400


class ImageError(DrapeError):
    """An image that is missing, refused, over a limit, or not an image; the message names it."""

    http_status = 422


class ImageUnavailableError(ImageError):
    """An image whose server does not answer: the same request may succeed later."""


class TooLargeError(DrapeError):
    """A body that is larger than its route allows; the message names the limit."""

    http_status = 413


class RegionError(DrapeError):
    """A region whose value does not decode to a mask."""

    http_status = 422


class ModelError(DrapeError):
    """Weights that are missing or do not load, or a model that failed; the message names the file or version."""

    http_status = 503


class NotFoundError(ModelError):
    """A model version that does not exist, or a file that is not stored with it."""

    http_status = 404


class WeightsMissingError(ModelError):
    """Weights are not downloaded yet."""


class ModelLoadingError(ModelError):
    """The model is still being loaded; a retry in a few seconds succeeds."""


class LabelStudioError(DrapeError):
    """Label Studio is unreachable, refuses the credentials, or answered with an error; the message says which."""

    http_status = 503


class LabelStudioUnavailableError(LabelStudioError):
    """Label Studio does not answer, or has an internal failure: the same request may succeed later."""


class StorageError(DrapeError):
    """The shared storage cannot be read or written; the message says where it is, and why."""

    http_status = 503


class StorageUnavailableError(StorageError):
    """The shared storage does not answer, or has an internal failure: the same operation may succeed later."""


class QueueError(DrapeError):
    """Redis does not answer, or refused the command."""

    http_status = 503


class OverloadedError(DrapeError):
    """More requests at once than can be answered in time; a retry after `retry_after_s` seconds may succeed."""

    http_status = 503

    def __init__(self, reason: str, *, retry_after_s: int) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class DatasetError(DrapeError):
    """The approved labels do not suffice for a training data set; the message says what is missing."""

    http_status = 422


class ReportError(DrapeError):
    """A version's report that could not be made or stored; the version itself is complete."""


class ForbiddenError(DrapeError):
    """A request that another site's page sent with the credentials of a person who is logged in here."""

    http_status = 403


class ReviewError(DrapeError):
    """Something that the review sheet cannot do in this project, or for this person; the message says why."""

    http_status = 409


class SettingsError(DrapeError):
    """The file of project settings, or a value in it, is invalid; the message names file, project and field."""


def first_line(error: BaseException) -> str:
    """The first line of a library's error message; the exception's class name if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
