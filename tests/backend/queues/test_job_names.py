"""Jobs are queued by name: a name that leads nowhere would show in a worker alone."""

from __future__ import annotations

from importlib import import_module

import pytest

from backend.queues.queues import Jobs

NAMES = [value for name, value in vars(Jobs).items() if name.isupper()]


@pytest.mark.parametrize("name", NAMES)
def test_a_jobs_name_is_that_of_a_function(name: str) -> None:
    module, _, function = name.rpartition(".")
    assert getattr(import_module(module), function).__module__ == module
