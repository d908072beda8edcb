"""Every setting, once: name, type, default, unit. Nothing else in Drape reads the environment."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from backend.domain import Outlining


class Settings(BaseSettings):
    """Read from the environment (names in capitals), then from a `.env` file in the working directory."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", populate_by_name=True, frozen=True)

    data_dir: Path = Field(Path("var"), description="One directory for everything that is kept: models, logs, secrets.")
    model_dir: Path | None = Field(
        None, description="Where model versions are kept. Default: `models` in the data directory."
    )
    host: str = Field("127.0.0.1", description="Address the backend listens on.")
    port: int = Field(9090, ge=1, le=65535, description="Port the backend listens on.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe message that is logged."
    )

    label_studio_url: str = Field(
        "",
        validation_alias=AliasChoices("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
        description="Address of Label Studio, `http://host:port`. Empty for `drape up`: it starts one of its own.",
    )
    label_studio_api_key: str = Field(
        "", repr=False, description="Personal access token (or legacy token) of the account that the service works as."
    )
    label_studio_timeout_s: float = Field(30.0, gt=0, description="Seconds to wait for one answer of Label Studio.")
    redis_url: str = Field(
        "", repr=False, description="Address of Redis. Empty for `drape up`: it starts one of its own."
    )

    basic_auth_user: str = Field(
        "", description="User that Label Studio must present (HTTP Basic). Empty: no authentication."
    )
    basic_auth_pass: str = Field("", repr=False, description="Password that goes with it.")
    webhook_secret: str = Field(
        "",
        repr=False,
        description="Value of the `X-Drape-Secret` header that webhooks must carry. Empty: Basic credentials only.",
    )

    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, `mps`: where models run.")
    segmenter: Literal["auto", "sam3", "sam", "classical"] = Field(
        "auto", description="What answers clicks and boxes; `auto` takes the best whose weights are there."
    )
    sam3_weights: str = Field(
        "",
        description="Path of SAM 3's or SAM 3.1's weights, which Meta gives out at https://huggingface.co/facebook/sam3.",
    )
    sam_half: bool = Field(True, description="SAM 3 computes in float16 on a GPU; a CPU always takes float32.")
    sam_compile: bool = Field(
        False, description="Compile SAM 3's image encoder: minutes at the start, faster encoding on a GPU afterwards."
    )
    sam_weights: str = Field(
        "",
        description="SAM 2.1 or MobileSAM weights: a path, or a name that Ultralytics downloads (`sam2.1_b.pt`).",
    )
    embedding_device_bytes: int = Field(
        4_000_000_000,
        ge=0,
        description="GPU memory for embeddings of images, in bytes (SAM 3: 69 MB an image).",
    )
    embedding_host_bytes: int = Field(
        2_000_000_000, ge=0, description="Memory for embeddings of images, in bytes (SAM 3: 138 MB an image)."
    )
    embedding_disk_bytes: int = Field(
        10_000_000_000,
        ge=0,
        description="Disk space for embeddings, below the data directory, in bytes; 0 keeps them in memory alone.",
    )
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
    base_weights: str = Field(
        "yolo11n-seg.pt",
        description="What a project's first detector starts from: a path, or a name that Ultralytics downloads.",
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

    image_max_bytes: int = Field(50_000_000, gt=0, description="Largest encoded image that is read, in bytes.")
    image_max_pixels: int = Field(100_000_000, gt=0, description="Largest decoded image that is read, in pixels.")
    image_cache_bytes: int = Field(512_000_000, ge=0, description="Memory for decoded images, in bytes.")
    local_files_root: Path | None = Field(
        None,
        description="Folder that Label Studio serves local files from, where this machine has it too: its images are "
        "then read without asking Label Studio.",
    )
    image_hosts: str = Field(
        "", description="Hosts besides Label Studio that images may be fetched from, separated by commas."
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
    train_epochs: int = Field(60, ge=1, description="Epochs of one fine-tuning.")
    train_image_size_px: int = Field(640, ge=32, description="Image size in training, in pixels.")
    train_batch: int = Field(8, ge=1, description="Images in one training step.")
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

    @model_validator(mode="after")
    def _check_choice(self) -> Settings:
        name, _, wanted = self.approval_choice.partition("=")
        if self.approval == "choice" and not (name.strip() and wanted.strip()):
            raise ValueError("APPROVAL=choice needs APPROVAL_CHOICE, such as `verdict=approved`.")
        return self

    @cached_property
    def outlining(self) -> Outlining:
        """How masks become regions."""
        return Outlining(
            tolerance_px=self.polygon_tolerance_px, parts=self.polygon_parts, speck_percent=self.speck_percent
        )

    @cached_property
    def models_path(self) -> Path:
        """Directory of the model registry."""
        return self.model_dir or self.data_dir / "models"

    @property
    def may_read_words(self) -> bool:
        """Whether a segmenter that reads words is asked for; only loading it shows whether it is there."""
        return self.segmenter == "sam3" or (self.segmenter == "auto" and bool(self.sam3_weights))

    @cached_property
    def allowed_image_hosts(self) -> frozenset[str]:
        """Lower-case host names, besides Label Studio's own, that images may be fetched from."""
        return frozenset(host.strip().lower() for host in self.image_hosts.split(",") if host.strip())
