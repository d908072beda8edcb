"""Every setting, once: name, type, default, unit. Nothing else in Drape reads the environment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import yaml
from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, YamlConfigSettingsSource
from yaml import YAMLError

from backend.domain import Outlining
from backend.errors import SettingsError, first_line

# Where containers find their secrets, each in a file of its setting's name.
SECRETS = Path("/run/secrets")
# What `PROJECT_SETTINGS` may set otherwise for a project: what its model finds, accepts, learns and is judged by. All
# else is the installation's: addresses, secrets, devices, limits that protect it.
OF_A_PROJECT = frozenset({
    "approval", "approval_choice", "audit_share", "auto_accept", "auto_accept_iou", "auto_accept_precision",
    "example_tag", "hard_example_weight", "max_regions", "model_score_threshold", "polygon_parts",
    "polygon_tolerance_px", "promote_class_drop", "promote_margin", "rare_label_share", "refine_with_sam",
    "retrain_after", "retrain_min_images", "speck_percent", "sticky_words", "train_args", "train_batch", "train_epochs",
    "train_image_size_px", "train_max_minutes", "train_on_auto_accepted", "train_patience", "train_timeout_s",
    "yolo11_base",
})  # fmt: skip

# A few aliases of aliases may stand for billions of values.
MAX_YAML_CHARACTERS, MAX_YAML_VALUES = 200_000, 100_000


class Settings(BaseSettings):
    """Read from the environment (names in capitals), then from a `.env` file in the working directory, then from files
    of their names in `/run/secrets`."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", populate_by_name=True, frozen=True,
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )  # fmt: skip

    data_dir: Path = Field(Path("var"), description="One directory for everything that is kept: models, logs, secrets.")
    storage_url: str = Field(
        "",
        description="Where several machines share models and embeddings: a folder that all of them have (a path, or "
        "`file://`, such as NFS), or `s3://bucket/prefix` with the usual AWS_* variables. Empty: the data directory.",
    )
    model_dir: Path | None = Field(
        None, description="Where model versions are kept. Default: `models` in the data directory."
    )
    host: str = Field("127.0.0.1", description="Address the backend listens on.")
    port: int = Field(9090, ge=1, le=65535, description="Port the backend listens on.")
    backend_url: str = Field(
        "",
        description="Address at which Label Studio reaches the backend, for `drape connect` and `drape up`. Empty: "
        "`PORT` of this machine, `http://127.0.0.1:9090`.",
    )
    project_settings: str = Field(
        "",
        description="Path of a YAML file of settings that projects have of their own; read anew at each job and "
        "request.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe message that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text` for people, or `json`: an object a line, for collectors of logs."
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
    label_studio_database: str = Field(
        "",
        repr=False,
        description="Label Studio's PostgreSQL, `postgresql://user@host/name`, for `drape backup` and `drape restore`. "
        "Empty: what `drape up` starts.",
    )
    label_studio_files: Path | None = Field(
        None, description="Label Studio's folder of uploads, `media` in its data directory, for the same."
    )
    postgres_password: str = Field(
        "", repr=False, description="Password of that PostgreSQL, where its address holds none."
    )
    redis_url: str = Field(
        "", repr=False, description="Address of Redis. Empty for `drape up`: it starts one of its own."
    )
    redis_password: str = Field("", repr=False, description="Password of Redis, where its address holds none.")

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
    device_batch: str = Field(
        "", description="Where workers pre-annotate and encode ahead, such as `cuda:1`. Empty: as `DEVICE`."
    )
    device_train: str = Field(
        "",
        description="Where trainings run, such as `cuda:1`, or `0,1` for a process on each of two GPUs; new models are "
        "judged on the first. Empty: as `DEVICE`.",
    )
    gpu_memory_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Most of a GPU's memory (0 to 1) that the backend takes: for processes that share one.",
    )
    gpu_memory_share_batch: float = Field(
        1.0, gt=0, le=1, description="Likewise, for each worker that pre-annotates or encodes ahead."
    )
    gpu_memory_share_train: float = Field(1.0, gt=0, le=1, description="Likewise, for a training.")
    segmenter: Literal["auto", "sam3", "sam", "classical"] = Field(
        "auto", description="What answers clicks and boxes; `auto` takes the best whose weights are there."
    )
    sam3_weights: str = Field(
        "",
        description="Path of SAM 3's or SAM 3.1's weights, which Meta gives out at https://huggingface.co/facebook/sam3.",
    )
    sam_half: bool = Field(
        True,
        description="SAM 3 computes in float16 on a GPU, and encodes in bfloat16 on a CPU that is made for it (AMX); "
        "false: in float32.",
    )
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
        2_000_000_000,
        ge=0,
        description="Memory for embeddings of images, in bytes (SAM 3: 138 MB an image, 80 in bfloat16).",
    )
    embedding_disk_bytes: int = Field(
        10_000_000_000,
        ge=0,
        description="Disk space for embeddings, below the data directory, in bytes; 0 keeps them in memory alone.",
    )
    embedding_shared_bytes: int = Field(
        100_000_000_000,
        ge=0,
        description="Space for embeddings in what `STORAGE_URL` names, in bytes: those written longest ago go first; 0 "
        "shares none, which may be quicker where every machine has a GPU.",
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

    @field_validator("device", "device_batch")
    @classmethod
    def _check_one(cls, value: str) -> str:
        if "," in value:
            raise ValueError("One device is meant: a model runs on one. DEVICE_TRAIN takes several.")
        return value

    @model_validator(mode="after")
    def _check_storage(self) -> Settings:
        scheme, slashes, rest = self.storage_url.partition("://")
        if slashes and (scheme not in ("file", "s3") or not rest.strip("/")):
            raise ValueError("STORAGE_URL is a path, `file:///path` or `s3://bucket/prefix`.")
        if self.storage_url and self.model_dir:
            raise ValueError("MODEL_DIR has no meaning with STORAGE_URL, which says where models are.")
        return self

    @model_validator(mode="after")
    def _check_choice(self) -> Settings:
        name, _, wanted = self.approval_choice.partition("=")
        if self.approval == "choice" and not (name.strip() and wanted.strip()):
            raise ValueError("APPROVAL=choice needs APPROVAL_CHOICE, such as `verdict=approved`.")
        return self

    def projects(self) -> Mapping[int, Mapping[str, Any]]:
        """What `PROJECT_SETTINGS` says: number of a project → name of a setting → its value.

        Raises:
            SettingsError: the file is missing, is no such file, or names what is not to be set for one project.
        """
        if not self.project_settings:
            return {}
        path = Path(self.project_settings)
        try:
            about = path.stat()
        except OSError as e:
            raise SettingsError(f"PROJECT_SETTINGS={path} cannot be read: {e.strerror or e}.") from e
        return _read_projects(path, (about.st_mtime_ns, about.st_size))

    def for_project(self, project_id: int | None) -> Settings:
        """These settings, with what the project has of its own; the file is read as it is now.

        Raises:
            SettingsError: as `projects`; or one of its values cannot be.
        """
        own = None if project_id is None else self.projects().get(project_id)
        if not own:
            return self
        try:
            # As given they come before what the environment says.
            return type(self)(**{**dict(self), **own})
        except ValidationError as e:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in e.errors())
            raise SettingsError(f"{_place(Path(self.project_settings), project_id)}: {wrong}.") from e

    def check_projects(self) -> tuple[int, ...]:
        """Numbers of the projects that have settings of their own, all of which were looked at.

        Raises:
            SettingsError: as `for_project`.
        """
        for project_id in self.projects():
            self.for_project(project_id)
        return tuple(sorted(self.projects()))

    def placed(self, work: Literal["batch", "train"]) -> Settings:
        """These settings for a process that does other work than answering annotators: its device and its share."""
        device = self.device_batch if work == "batch" else self.device_train
        share = self.gpu_memory_share_batch if work == "batch" else self.gpu_memory_share_train
        # Of several that trainings run on, all else that they do takes the first.
        return self.model_copy(update={"device": (device or self.device).split(",")[0], "gpu_memory_share": share})

    @property
    def redis_address(self) -> str:
        """`redis_url` with the password in it, wherever that was given; this machine's own Redis where none is set."""
        url = self.redis_url or "redis://127.0.0.1:6379"
        parts = urlsplit(url)
        if not self.redis_password or parts.password:
            return url
        host = parts.netloc.rpartition("@")[2]
        word = quote(self.redis_password, safe="")
        return parts._replace(netloc=f"{parts.username or ''}:{word}@{host}").geturl()

    @property
    def backend_address(self) -> str:
        """Where Label Studio reaches the backend."""
        return self.backend_url.rstrip("/") or f"http://127.0.0.1:{self.port}"

    @property
    def outlining(self) -> Outlining:
        """How masks become regions."""
        return Outlining(
            tolerance_px=self.polygon_tolerance_px, parts=self.polygon_parts, speck_percent=self.speck_percent
        )

    @property
    def models_path(self) -> Path:
        """Directory of the model registry."""
        return self.model_dir or self.data_dir / "models"

    @property
    def cache_path(self) -> Path:
        """Directory of this machine's copies of what `storage_url` holds; another one for another storage."""
        return self.data_dir / "cache" / hashlib.sha256(self.storage_url.encode()).hexdigest()[:12]

    @property
    def may_read_words(self) -> bool:
        """Whether a segmenter that reads words is asked for; only loading it shows whether it is there."""
        return self.segmenter == "sam3" or (self.segmenter == "auto" and bool(self.sam3_weights))

    @property
    def allowed_image_hosts(self) -> frozenset[str]:
        """Lower-case host names, besides Label Studio's own, that images may be fetched from."""
        return frozenset(host.strip().lower() for host in self.image_hosts.split(",") if host.strip())


@lru_cache(maxsize=4)
def _read_projects(path: Path, stamp: tuple[int, int]) -> Mapping[int, Mapping[str, Any]]:
    """The file's tables, names in lower case; `stamp` is that of the file's last change."""
    try:
        _check_yaml(path)
        said = YamlConfigSettingsSource(Settings, path).yaml_data
    except (OSError, UnicodeDecodeError, YAMLError, ValueError, TypeError, AttributeError, RecursionError) as e:
        raise SettingsError(f"PROJECT_SETTINGS={path} cannot be read as YAML: {first_line(e)}.") from e
    projects = said.get("projects")
    if not isinstance(projects, dict) or len(said) != 1:
        raise SettingsError(f"PROJECT_SETTINGS={path} must hold `projects:`, and below it a table for each project.")
    found: dict[int, dict[str, Any]] = {}
    for number, own in projects.items():
        if not str(number).isdecimal() or not isinstance(own or {}, dict):
            raise SettingsError(f"PROJECT_SETTINGS={path}: '{number}' is no project's number with settings below it.")
        named = {str(name).lower(): value for name, value in (own or {}).items()}
        for name in named.keys() - OF_A_PROJECT:
            reason = "is a setting of the whole installation" if name in Settings.model_fields else "is no setting"
            raise SettingsError(f"{_place(path, int(number))}: {name.upper()} {reason}; docs/settings.md lists them.")
        found[int(number)] = named
    return found


def _check_yaml(path: Path) -> None:
    """Raises ValueError for more than a file of settings can be, before any of it is made."""
    text = path.read_text()
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"It is longer than {MAX_YAML_CHARACTERS:,} characters")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is not None and _values_of(node, {}) > MAX_YAML_VALUES:
        raise ValueError(f"With what its aliases stand for it holds more than {MAX_YAML_VALUES:,} values")


def _values_of(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values it holds; what an alias stands for counts wherever it stands."""
    if id(node) not in known:
        # One that holds itself has no end.
        known[id(node)] = MAX_YAML_VALUES
        held: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            held = [one for pair in node.value for one in pair]
        elif isinstance(node, yaml.SequenceNode):
            held = node.value
        known[id(node)] = 1 + sum(_values_of(one, known) for one in held)
    return known[id(node)]


def _place(path: Path, project_id: int | None) -> str:
    return f"PROJECT_SETTINGS={path}, project {project_id}"
