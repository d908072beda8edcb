"""Every setting, defined once: name, type, default, unit. Nothing else in Drape reads the environment.

`installation_settings` holds the first part, the settings of the installation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator

from backend.domain import Outlining
from backend.errors import SettingsError
from backend.installation_settings import InstallationSettings
from backend.project_settings import describe_project, read_projects

# The image size in training where neither a setting nor a champion says another: that of Ultralytics' own weights.
DEFAULT_IMAGE_SIZE_PX = 640


class Settings(InstallationSettings):
    """All settings, from the environment (in capitals), else `.env` in the working directory, else `/run/secrets`."""

    prewarm_tasks: int = Field(
        2, ge=0, description="Number of tasks after the opened one whose images are encoded ahead, in the background."
    )
    example_tag: str = Field(
        "example", description="Name of the rectangle tag (or label) whose boxes mean 'find everything like this'."
    )
    sticky_words: bool = Field(
        False,
        description="When a task is opened, search its image for the phrase that last found something in the project.",
    )
    refine: Literal["off", "auto", "sam3", "sam", "builtin"] = Field(
        "off",
        description="Whose masks replace the detector's in pre-annotation; class and score remain the detector's. "
        "`builtin`: those of Drape's own network. `auto`: of the segmenter that answers clicks. `sam3` or `sam`: of "
        "that one alone; where another is loaded, nothing is pre-annotated.",
    )
    yolo11_base: str = Field(
        "n",
        validation_alias=AliasChoices("YOLO11_BASE", "BASE_WEIGHTS"),
        description="What a project's first detector starts from: `n`, `s`, `m`, `l` or `x`, the sizes of YOLO11-seg "
        "that Ultralytics downloads, or the path of a `.pt` file.",
    )
    model_score_threshold: float = Field(
        0.25,
        ge=0,
        le=1,
        description="Detections with a lower score are dropped, unless the label config sets another threshold.",
    )
    polygon_tolerance_px: float = Field(
        1.2,
        ge=0,
        description="Largest distance, in pixels, of a polygon from its mask's border. A larger value gives fewer "
        "points.",
    )
    polygon_parts: Literal["each", "largest", "joined"] = Field(
        "each",
        description="What a mask in several parts becomes: one polygon for `each`, one for the `largest` only, or "
        "one around all, `joined` by bridges one pixel wide.",
    )
    speck_percent: float = Field(
        0.01,
        ge=0,
        le=100,
        description="Parts and holes of less than this percentage of the image's area, "
        "and of less than 2 % of the mask's largest part, are removed.",
    )
    predict_deadline_s: float = Field(
        60.0,
        gt=0,
        validation_alias=AliasChoices("PREDICT_DEADLINE", "PREDICT_DEADLINE_S"),
        description="Seconds after which `/predict` answers with what is ready and queues the rest (the limit is 100).",
    )

    predict_clicks: int = Field(
        32,
        ge=1,
        description="Largest number of prompts in progress or waiting; further ones get 503. With more than half as "
        "many, whole images are refused.",
    )
    predict_batches: int = Field(
        16,
        ge=1,
        description="Largest number of requests for whole images in progress or waiting; further ones get 503.",
    )

    request_max_bytes: int = Field(
        50_000_000,
        gt=0,
        description="Largest request body, in bytes; larger ones get 413. Label Studio's event about an import "
        "contains every task: 50 MB are about 50,000 tasks.",
    )
    image_max_bytes: int = Field(50_000_000, gt=0, description="Largest encoded image, in bytes.")
    image_max_pixels: int = Field(100_000_000, gt=0, description="Largest decoded image, in pixels.")
    image_timeout_s: float = Field(60.0, gt=0, description="Seconds that fetching an image may take.")
    image_cache_bytes: int = Field(512_000_000, ge=0, description="Memory for decoded images, in bytes.")
    local_files_root: Path | None = Field(
        None,
        description="Folder from which Label Studio serves local files, if this machine has it too. Its images are "
        "then read directly.",
    )
    image_hosts: str = Field(
        "", description="Hosts besides Label Studio from which images may be fetched, separated by commas."
    )
    image_hosts_private: bool = Field(
        False,
        description="Allow the listed hosts, and buckets for which Label Studio signs addresses, to be in a private "
        "network.",
    )

    approval: Literal["submitted", "ground_truth", "reviewed", "choice"] = Field(
        "submitted",
        description="When an annotation counts as approved: when a person `submitted` it without skipping, when it "
        "is starred as `ground_truth`, when a reviewer accepted it (`reviewed`, Label Studio "
        "Enterprise), or when a `choice` says so.",
    )
    approval_choice: str = Field(
        "",
        description="The choice that approves, for `APPROVAL=choice`: `name=choice` of a `<Choices>` tag, such as "
        "`verdict=approved`.",
    )
    retrain_after: int = Field(50, ge=1, description="Number of new approved annotations that starts a training.")
    retrain_min_images: int = Field(
        20, ge=1, description="Least number of approved images, new or not, for a training to start automatically."
    )
    check_every_s: int = Field(
        600,
        ge=10,
        description="Seconds between two counts of approved labels, and between two searches for images without "
        "predictions, in case a webhook was lost.",
    )
    worker_lost_after_s: int = Field(
        30, ge=3, description="Seconds without a sign of life after which another worker runs the job of a worker."
    )
    hard_example_weight: float = Field(
        3.0,
        ge=1,
        description="How often an image whose prediction was entirely wrong is drawn in training. 1: as often as the "
        "others.",
    )
    rare_label_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Images with labels that occur in a smaller share of the images than this are drawn more often "
        "(repeat factors, as for LVIS). 0: all equally often.",
    )
    split_by: str = Field(
        "",
        description="Images that belong together, and are all trained on or all held out, besides those that look "
        "alike. `folder`: those of one folder. `prefix:_`: those whose files have the same name up to the last `_`. "
        "`prefix:8`: up to the 8th character. `field:shoot`: those whose tasks' data have the same `shoot`. Empty: by "
        "looks alone.",
    )
    train_updates: int = Field(
        1000,
        ge=1,
        description="Weight updates of a fine-tuning, each from `TRAIN_BATCH` images: as many for few images as for "
        "many. From about 400 images on there are more: each image is drawn at least 20 times.",
    )
    train_epochs: int = Field(
        1000, ge=1, description="Largest number of epochs of a fine-tuning, whatever `TRAIN_UPDATES` asks for."
    )
    train_max_minutes: float = Field(
        0.0, ge=0, description="Minutes after which a training ends with its current epoch. 0: no limit."
    )
    train_args: str = Field(
        "",
        description="Further training arguments of Ultralytics, such as `lr0=0.001 mosaic=0.5 cos_lr=True`. They "
        "override Drape's choices.",
    )
    train_image_size_px: int | None = Field(
        None,
        ge=32,
        description="Image size in training, in pixels. Empty: that of the current model, or 640 without one.",
    )
    train_batch: int = Field(8, ge=1, description="Images per training step. Halved if the memory is too small.")
    train_timeout_s: int = Field(86_400, gt=0, description="Seconds after which a training is aborted.")
    promote_margin: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="A new model is promoted if its mask mAP50-95 (0 to 1) on the held-out images probably exceeds the "
        "current model's by more than this. -1 promotes every new model.",
    )
    promote_class_drop: float = Field(
        0.05,
        ge=0,
        le=1,
        description="A new model is not promoted if a label with at least 10 held-out garments certainly loses more of "
        "its average precision (0 to 1) than this: if the 95 % interval of its change lies below.",
    )
    auto_accept: Literal["off", "calibrated"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "off",
        description="`off`: all predictions wait for a person. A score such as `0.85`: an image is accepted if each "
        "of its regions reaches it. `calibrated`: the score of each label is computed from held-out "
        "approved labels. Unless `REFINE` is `off`, `calibrated` accepts nothing, since it does "
        "not apply to SAM's masks.",
    )
    auto_accept_precision: float = Field(
        0.98,
        gt=0,
        lt=1,
        description="Least share of accepted regions that must be right: what `calibrated` promises and audits check.",
    )
    auto_accept_iou: float = Field(
        0.8, gt=0, le=1, description="Least IoU with the approved region at which an accepted region is right."
    )
    audit_share: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of the images that would be accepted which is left to people for audit, chosen at random.",
    )
    train_on_auto_accepted: bool = Field(
        False, description="Count auto-accepted annotations as approved, for trainings and for evaluating models."
    )
    max_regions: int = Field(
        100, ge=1, description="Largest number of garments stored for an image. Those with the highest scores are used."
    )
    prelabel_chunk: int = Field(64, ge=1, description="Number of tasks in a pre-annotation job.")

    @field_validator("train_image_size_px", mode="before")
    @classmethod
    def _read_empty(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("refine", mode="before")
    @classmethod
    def _read_refine(cls, value: Any) -> Any:
        # YAML reads a bare `off` as False.
        return "off" if value is False else value

    @field_validator("auto_accept", mode="before")
    @classmethod
    def _read_auto_accept(cls, value: Any) -> Any:
        # YAML reads a bare `off` as False, which would count as a score of 0 and accept everything.
        if value is True:
            raise ValueError("Give a score, `calibrated` or `off`.")
        return "off" if value is False else value

    @field_validator("split_by")
    @classmethod
    def _check_split_by(cls, value: str) -> str:
        if not re.fullmatch(r"(folder|prefix:(?!0+$).+|field:.+)?", value):
            raise ValueError(
                "Give `folder`, `prefix:` with a separator or a number of characters (`prefix:_`, `prefix:8`), or "
                "`field:` with a field of the tasks' data (`field:shoot`), or leave it empty."
            )
        return value

    @model_validator(mode="after")
    def _check_choice(self) -> Settings:
        name, _, wanted = self.approval_choice.partition("=")
        if self.approval == "choice" and not (name.strip() and wanted.strip()):
            raise ValueError("APPROVAL=choice needs APPROVAL_CHOICE, such as `verdict=approved`.")
        return self

    def projects(self) -> Mapping[int, Mapping[str, Any]]:
        """The content of the `PROJECT_SETTINGS` file: project number → setting name → value.

        Raises:
            SettingsError: the file is missing or malformed, or names a setting that projects cannot override.
        """
        if not self.project_settings:
            return {}
        path = Path(self.project_settings)
        try:
            status = path.stat()
        except OSError as e:
            raise SettingsError(f"PROJECT_SETTINGS={path} cannot be read: {e.strerror or e}.") from e
        return read_projects(path, (status.st_mtime_ns, status.st_size), all_names=frozenset(type(self).model_fields))

    def for_project(self, project_id: int | None) -> Settings:
        """These settings, overridden by the project's own, which the file holds at the time of the call.

        Raises:
            SettingsError: as `projects`; or one of the project's values is invalid.
        """
        own = None if project_id is None else self.projects().get(project_id)
        if not own:
            return self
        try:
            # Values that are passed as arguments override the environment.
            return type(self)(**{**dict(self), **own})
        except ValidationError as e:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" for problem in e.errors()
            )
            raise SettingsError(f"{describe_project(Path(self.project_settings), project_id)}: {problems}.") from e

    def check_projects(self) -> tuple[int, ...]:
        """Checks every project's own settings; returns the numbers of the projects that have any.

        Raises:
            SettingsError: as `for_project`.
        """
        for project_id in self.projects():
            self.for_project(project_id)
        return tuple(sorted(self.projects()))

    def for_work(self, work: Literal["batch", "train"]) -> Settings:
        """These settings with the device and the share of GPU memory of a process that pre-annotates or trains."""
        device = self.device_batch if work == "batch" else self.device_train
        share = self.gpu_memory_share_batch if work == "batch" else self.gpu_memory_share_train
        # A training may run on several devices; the rest of its process uses the first.
        return self.model_copy(update={"device": (device or self.device).split(",")[0], "gpu_memory_share": share})

    def image_size_for_training_px(self, champion_px: int | None) -> int:
        """Image size of a training that starts from a champion of this image size, in pixels; None without one."""
        return self.train_image_size_px or champion_px or DEFAULT_IMAGE_SIZE_PX

    @property
    def outlining(self) -> Outlining:
        """The settings for turning masks into regions."""
        return Outlining(
            tolerance_px=self.polygon_tolerance_px, parts=self.polygon_parts, speck_percent=self.speck_percent
        )

    @property
    def allowed_image_hosts(self) -> frozenset[str]:
        """Lower-case names of the hosts, besides Label Studio's own, that images may be fetched from."""
        return frozenset(host.strip().lower() for host in self.image_hosts.split(",") if host.strip())
