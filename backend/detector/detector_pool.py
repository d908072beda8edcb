"""The loaded detectors: each project's current version, and versions that a caller asks for by name."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass

from backend.compute.devices import prepare_device
from backend.compute.malloc import trim_heap
from backend.detector.clusters import Clusters, load_clusters
from backend.detector.exported.answers import OutputKind
from backend.detector.preparation import CLUSTERS_FILE, OPENVINO_FILE, RUNTIMES, preparation_folder, read_preparation
from backend.detector.runtimes.base import Precision, Runtime
from backend.detector.yolo11 import Detector, SizedDetector
from backend.errors import ModelError, StorageError
from backend.registry.files import NETWORK
from backend.registry.registry import Registry, Version, check_weights
from backend.settings import Settings

logger = logging.getLogger(__name__)

# Each takes some 50 MB of memory on a CPU.
MAX_LOADED = 4


@dataclass(frozen=True)
class LoadedDetector:
    """A version that is ready to detect.

    Attributes:
        runtime: such as `openvino-bf16` or `torch-float32`.
        clusters: None until the version is prepared, and for a network of another architecture than YOLO.
    """

    version: Version
    detector: SizedDetector
    runtime: str
    clusters: Clusters | None
    is_prepared: bool


def load_detector(version: Version, *, device: str) -> LoadedDetector:
    """Loads a version in the runtime that was chosen when it was prepared, or in PyTorch if it is not prepared yet.

    A network of another architecture than YOLO computes in OpenVINO on the CPU, whatever the device is.

    Raises:
        ModelError: the weights are missing, were changed, or do not load.
    """
    check_weights(version)
    kind = version.network
    loaded = _load_yolo(version, device) if kind == "yolo" else _load_exported(version, kind)
    logger.info("Loaded model version %s, runtime %s", version.name, loaded.runtime)
    return loaded


def _load_yolo(version: Version, device: str) -> LoadedDetector:
    preparation = read_preparation(version)
    runtime: Runtime | None = None
    if device == "cpu" and preparation is not None and preparation.runtime != "torch":
        runtime = _load_openvino(version, "bf16" if preparation.runtime == RUNTIMES["bf16"] else "f32")
    clusters = load_clusters(preparation_folder(version) / CLUSTERS_FILE) if preparation else None
    runtime = runtime or _load_torch(version, device)
    detector = Detector(runtime, classes=version.classes, image_size_px=version.image_size_px)
    return LoadedDetector(version, detector, runtime.name, clusters, preparation is not None)


def _load_exported(version: Version, kind: OutputKind) -> LoadedDetector:
    from backend.detector.exported.detector import ExportedDetector

    detector = ExportedDetector(
        version.files.fetch(NETWORK),
        version.weights,
        kind=kind,
        classes=version.classes,
        image_size_px=version.image_size_px,
    )
    return LoadedDetector(version, detector, RUNTIMES["f32"], None, read_preparation(version) is not None)


def _load_torch(version: Version, device: str) -> Runtime:
    from backend.detector.runtimes.network import load_network
    from backend.detector.runtimes.torch_runtime import TorchRuntime

    return TorchRuntime(load_network(version.weights)[0], device=device)


def _load_openvino(version: Version, precision: Precision) -> Runtime | None:
    from backend.detector.runtimes.openvino_runtime import OpenVinoRuntime

    try:
        return OpenVinoRuntime(preparation_folder(version) / OPENVINO_FILE, precision=precision)
    except ModelError as e:
        logger.warning("Model version %s falls back to PyTorch: %s", version.name, e)
        return None


class DetectorPool:
    """The loaded versions: each project's current version, and versions that a caller asks for.

    A new current version replaces the previous one, whose memory is freed once no thread computes with it. If too many
    versions are loaded, the least recently used one is dropped.
    """

    def __init__(self, registry: Registry, settings: Settings, *, max_loaded: int = MAX_LOADED) -> None:
        self._registry = registry
        self._settings = settings
        self._max_loaded = max_loaded
        # By project and the name of the requested version, '' for the current version.
        self._loaded: OrderedDict[tuple[int, str], LoadedDetector] = OrderedDict()
        self._lock = threading.Lock()

    def for_project(self, project_id: int, *, version_name: str = "") -> LoadedDetector | None:
        """Returns the project's current detector, loaded; None if the project has no model yet.

        While the weights of a new version cannot be fetched, the previous version stays in use.

        Args:
            version_name: a version of the project to use instead of the current version.

        Raises:
            ModelError: the version does not exist, or its weights are missing, were changed, or do not load.
            StorageError: the weights are not on this machine, and the storage is unreachable.
        """
        version = self._registry.champion(project_id)
        if version_name and (version is None or version.name != version_name):
            version = self._registry.version(project_id, version_name)
        else:
            version_name = ""
        if version is None:
            return None
        key, is_prepared = (project_id, version_name), read_preparation(version) is not None
        with self._lock:
            loaded = self._loaded.get(key)
            # A version is loaded again once it is prepared.
            if loaded is None or (loaded.version.name, loaded.is_prepared) != (version.name, is_prepared):
                try:
                    loaded = load_detector(version, device=prepare_device(self._settings))
                except StorageError as e:
                    if loaded is None:
                        raise
                    logger.warning("Project %s keeps its previous model: %s", project_id, e)
            is_new = loaded is not self._loaded.get(key)
            self._loaded[key] = loaded
            self._loaded.move_to_end(key)
            while len(self._loaded) > self._max_loaded:
                self._loaded.popitem(last=False)
            if is_new:
                # Frees the memory of the previous version, and the memory that only loading needed.
                trim_heap()
            return loaded
