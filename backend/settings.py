"""Every setting, defined once: name, type, default, unit. Nothing else in Drape reads the environment.

`installation_settings` holds the first part, the settings of the installation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator

from backend.domain import Outlining
from backend.errors import SettingsError
from backend.installation_settings import InstallationSettings
from backend.project_settings import describe_project, read_projects


class Settings(InstallationSettings):
    """All settings, from the environment (in capitals), else `.env` in the working directory, else `/run/secrets`."""

    prewarm_tasks: int = Field(
        2, ge=0, description="Tasks after the opened one whose images are encoded ahead, in the background."
    )
    example_tag: str = Field(
        "example", description="Name of the rectangle tag (or label) whose boxes mean 'find everything like this'."
    )
    sticky_words: bool = Field(
        False, description="A phrase that found something is looked for in each next image of the project as it opens."
    )
    refine_with_sam: bool = Field(
        False, description="SAM's masks replace the detector's in pre-annotation; class and score stay the detector's."
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
        description="Detections below this confidence are dropped, unless the label config says otherwise.",
    )
    polygon_tolerance_px: float = Field(
        1.2, ge=0, description="How far, in pixels, a polygon may run from its mask's border: more gives fewer points."
    )
    polygon_parts: Literal["each", "largest", "joined"] = Field(
        "each",
        description="A mask in several parts becomes a polygon for `each`, for the `largest` alone, "
        "or one around all, `joined` by bridges one pixel wide.",
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
        description="Prompts that are answered, or wait for it, at once; `/predict` answers 503 to more. Beyond half "
        "as many, whole images are refused.",
    )
    predict_batches: int = Field(
        16, ge=1, description="Requests for whole images that are answered, or wait for it, at once, likewise."
    )

    request_max_bytes: int = Field(
        50_000_000,
        gt=0,
        description="Largest body of a request that is read, in bytes; `413` to more. Label Studio's event of an "
        "import holds every task: 50 MB are some 50,000 of them.",
    )
    image_max_bytes: int = Field(50_000_000, gt=0, description="Largest encoded image that is read, in bytes.")
    image_max_pixels: int = Field(100_000_000, gt=0, description="Largest decoded image that is read, in pixels.")
    image_timeout_s: float = Field(60.0, gt=0, description="Seconds that fetching one image may take.")
    image_cache_bytes: int = Field(512_000_000, ge=0, description="Memory for decoded images, in bytes.")
    local_files_root: Path | None = Field(
        None,
        description="Folder that Label Studio serves local files from, where this machine has it too: its images are "
        "then read without asking Label Studio.",
    )
    image_hosts: str = Field(
        "", description="Hosts besides Label Studio that images may be fetched from, separated by commas."
    )
    image_hosts_private: bool = Field(
        False,
        description="Listed hosts, and buckets that Label Studio signs addresses of, may lie in a private network.",
    )

    approval: Literal["submitted", "ground_truth", "reviewed", "choice"] = Field(
        "submitted",
        description="When an annotation counts as approved: a person `submitted` it and did not skip; it is starred as "
        "`ground_truth`; a reviewer accepted it (`reviewed`, Label Studio Enterprise); or a `choice` says so.",
    )
    approval_choice: str = Field(
        "",
        description="`name=choice` of the `<Choices>` that approves, for `APPROVAL=choice`: `verdict=approved`.",
    )
    retrain_after: int = Field(50, ge=1, description="New approved annotations that start a training.")
    retrain_min_images: int = Field(
        20, ge=1, description="Approved images, new or not, below which no training starts by itself."
    )
    check_every_s: int = Field(
        600,
        ge=10,
        description="Seconds between two counts of approved labels, and two looks for images without a prediction, "
        "that no event asked for: what a lost webhook would have told.",
    )
    hard_example_weight: float = Field(
        3.0,
        ge=1,
        description="How often an image is drawn in training whose prediction was all wrong; 1 draws all alike.",
    )
    rare_label_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Labels in a smaller share of the images than this are drawn more often (repeat factors, as LVIS "
        "has them); 0 draws all alike.",
    )
    train_epochs: int = Field(60, ge=1, description="Epochs of one fine-tuning, at most.")
    train_patience: int = Field(
        20, ge=1, description="Epochs without a better result on the held-out images after which a training ends."
    )
    train_max_minutes: float = Field(
        0.0, ge=0, description="Minutes after which a training ends with its current epoch; 0 for no limit."
    )
    train_args: str = Field(
        "",
        description="Any of Ultralytics' other training arguments, such as `lr0=0.001 mosaic=0.5 cos_lr=True`; "
        "they overrule what Drape chooses.",
    )
    train_image_size_px: int = Field(640, ge=32, description="Image size in training, in pixels.")
    train_batch: int = Field(8, ge=1, description="Images in one training step; halved where memory is too small.")
    train_timeout_s: int = Field(86_400, gt=0, description="Seconds after which a training is given up.")
    promote_margin: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="By more than this a new model's mask mAP50-95 (0 to 1) on the held-out images must be above the "
        "current one's to take its place; -1 promotes whatever was trained.",
    )
    promote_class_drop: float = Field(
        0.05,
        ge=0,
        le=1,
        description="What a new model may lose at most on any label with at least 10 held-out garments, in average "
        "precision (0 to 1), to take the current one's place.",
    )
    auto_accept: Literal["off", "calibrated"] | Annotated[float, Field(ge=0, le=1)] = Field(
        "off",
        description="`off`: all predictions wait for a person. A score such as `0.85`: an image whose every region "
        "reaches it is accepted. `calibrated`: the score is found for each label from held-out approved labels; "
        "nothing is accepted with `REFINE_WITH_SAM`, of whose masks that says nothing.",
    )
    auto_accept_precision: float = Field(
        0.98,
        gt=0,
        lt=1,
        description="Least share of accepted regions that are right: what `calibrated` promises and audits check.",
    )
    auto_accept_iou: float = Field(
        0.8, gt=0, le=1, description="Least IoU with what a person approved that makes an accepted region right."
    )
    audit_share: float = Field(
        0.05, ge=0, le=1, description="Share of the images that would be accepted which is left to people, by chance."
    )
    train_on_auto_accepted: bool = Field(
        False, description="Count auto-accepted annotations as approved: for trainings, and for judging models."
    )
    max_regions: int = Field(100, ge=1, description="Garments that are written for one image; the most certain stay.")
    prelabel_chunk: int = Field(64, ge=1, description="Tasks in one pre-labelling job.")

    @field_validator("auto_accept", mode="before")
    @classmethod
    def _read_switch(cls, value: Any) -> Any:
        # YAML reads a bare `off` as False, which would count as a score of 0 and accept everything.
        if value is True:
            raise ValueError("Give a score, `calibrated` or `off`.")
        return "off" if value is False else value

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
