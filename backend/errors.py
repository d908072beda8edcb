"""Every named failure: its HTTP status, and the one sentence a person may read."""

from __future__ import annotations


class DrapeError(Exception):
    """Base of all failures that Drape names.

    `str(error)` is a plain sentence that may be shown to an annotator: it holds no secret, no traceback, no path
    outside the data directory, and says what to do where something can be done.
    """

    http_status = 500


class ProtocolError(DrapeError):
    """A request body that is not Label Studio's protocol; the message names the field."""

    http_status = 422


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


class ModelLoadingError(ModelError):
    """The model is being loaded; asking again in a few seconds succeeds."""


class LabelStudioError(DrapeError):
    """Label Studio is away, refuses the credentials, or answered with an error; the message says which."""

    http_status = 503


class LabelStudioAwayError(LabelStudioError):
    """Label Studio does not answer, or fails by itself: the same request may succeed later."""


class QueueError(DrapeError):
    """Redis is away or refused the command."""

    http_status = 503


class DatasetError(DrapeError):
    """The approved labels do not make a data set that can be trained on; the message says what is missing."""

    http_status = 422


def first_line(error: BaseException) -> str:
    """What a library's error says, without the lines of detail that follow; its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
