"""Prepares a model version that was not prepared at its promotion: the starter, or a version from elsewhere."""

from __future__ import annotations

import sys

from threadpoolctl import threadpool_limits

from backend.compute.devices import prepare_device
from backend.compute.own_process import run_in_own_process
from backend.connections import Connections
from backend.images.fetch import ImageStore
from backend.images.sample import sample_images
from backend.settings import Settings
from backend.telemetry.logs import start_logs
from backend.telemetry.request_ids import job_context, job_id, request_meta


def prepare_version(settings: Settings, project_id: int, name: str) -> None:
    """Prepares the version on images of its project, in a process of its own.

    PyTorch, which nothing else of a worker on a CPU needs, takes 500 MB for as long as its process lasts. Where it is
    there already, no other process is needed.

    Raises:
        ModelError: the version's weights are missing, were changed, or do not load; or memory ran out.
        NotFoundError: the version was removed.
        LabelStudioError, StorageError: Label Studio or the storage is unreachable.
    """
    if "torch" in sys.modules:
        _prepare(settings, project_id, name)
    else:
        run_in_own_process(_prepare_alone, settings, project_id, name, job_id(), request_meta())


def _prepare_alone(settings: Settings, project_id: int, name: str, job: str, meta: dict[str, str]) -> None:
    start_logs(settings.log_level, log_format=settings.log_format)
    # As in the worker: BLAS threads would only spin, and take cores from the network.
    with job_context(job, meta), threadpool_limits(limits=1, user_api="blas"):
        _prepare(settings, project_id, name)


def _prepare(settings: Settings, project_id: int, name: str) -> None:
    # Not at the top: it imports PyTorch.
    from backend.detector.prepare import prepare

    connections = Connections.of(settings)
    version = connections.registry.version(project_id, name)
    images = sample_images(
        connections.label_studio,
        ImageStore(settings, bearer=connections.label_studio.bearer),
        project_id=project_id,
        side_px=version.image_size_px,
    )
    prepare(version, images, device=prepare_device(settings))
