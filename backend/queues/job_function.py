"""What every job does at its start: takes up its request's id, and leaves a job alone that has succeeded already."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from rq import get_current_job
from rq.results import Result

from backend.errors import first_line
from backend.telemetry.request_ids import job_context

logger = logging.getLogger(__name__)

_Arguments = ParamSpec("_Arguments")
_Value = TypeVar("_Value")


def job_function(function: Callable[_Arguments, _Value]) -> Callable[_Arguments, _Value]:
    """Decorates a function that workers run. Called outside of a job, the function is as before.

    Redis may lose its connection while a job's success is recorded; RQ then takes the job for lost, and runs it again.
    """

    @functools.wraps(function)
    def run(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Value:
        job = get_current_job()
        if job is None:
            return function(*args, **kwargs)
        with job_context(job.id, job.get_meta(refresh=False)):
            last = job.latest_result()
            if last is not None and last.type == Result.Type.SUCCESSFUL:
                return cast(_Value, last.return_value)
            try:
                return function(*args, **kwargs)
            except Exception as e:
                # RQ logs the whole of it afterwards, without the request's id.
                logger.error("The job failed: %s: %s", type(e).__name__, first_line(e))
                raise

    return run
