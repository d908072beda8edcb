"""Settings of the installation: addresses, secrets, devices, models, and where data is stored."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from pydantic import AliasChoices, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

# Containers find their secrets here, each in a file named after its setting.
SECRETS = Path("/run/secrets")


class InstallationSettings(BaseSettings):
    """The part of `Settings` that depends on no project, request or image."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        populate_by_name=True,
        frozen=True,
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    data_dir: Path = Field(Path("var"), description="Directory for all data: models, logs, secrets.")
    storage_url: str = Field(
        "",
        description="Storage that several machines share for models and embeddings: a folder that all of them can "
        "reach (a path or `file://`, such as NFS), or `s3://bucket/prefix` with the usual AWS_* "
        "variables. Empty: the data directory.",
    )
    model_dir: Path | None = Field(
        None, description="Directory of the model versions. Default: `models` in the data directory."
    )
    host: str = Field("127.0.0.1", description="Address the backend listens on.")
    port: int = Field(9090, ge=1, le=65535, description="Port the backend listens on.")
    backend_url: str = Field(
        "",
        description="Address at which Label Studio reaches the backend, for `drape connect` and `drape up`. Empty: "
        "`http://127.0.0.1` with `PORT`.",
    )
    project_settings: str = Field(
        "",
        description="Path of a YAML file with settings for single projects. It is read again for each job and request.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severe message that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text` for people, or `json` for log collectors: one object per line."
    )

    label_studio_url: str = Field(
        "",
        validation_alias=AliasChoices("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"),
        description="Address of Label Studio, `http://host:port`. Empty: `drape up` starts its own.",
    )
    label_studio_public_url: str = Field(
        "",
        description="Label Studio's address in browsers, if it differs. Links on Drape's pages lead there; images at "
        "this address are fetched from `LABEL_STUDIO_URL`.",
    )
    label_studio_api_key: str = Field(
        "", repr=False, description="Personal access token (or legacy token) of the account that Drape uses."
    )
    label_studio_timeout_s: float = Field(30.0, gt=0, description="Seconds to wait for an answer from Label Studio.")
    label_studio_database: str = Field(
        "",
        repr=False,
        description="Label Studio's PostgreSQL, `postgresql://user@host/name`, for `drape backup` and `drape restore`. "
        "Empty: what `drape up` starts.",
    )
    label_studio_files: Path | None = Field(
        None,
        description="Label Studio's upload folder, `media` in its data directory, for `drape backup` and `drape "
        "restore`.",
    )
    postgres_password: str = Field(
        "", repr=False, description="Password of that PostgreSQL, if its address contains none."
    )
    redis_url: str = Field("", repr=False, description="Address of Redis. Empty: `drape up` starts its own.")
    redis_password: str = Field("", repr=False, description="Password of Redis, if its address contains none.")

    basic_auth_user: str = Field(
        "",
        description="User name that Label Studio must send (HTTP Basic), set together with `BASIC_AUTH_PASS`. Empty: "
        "no authentication.",
    )
    basic_auth_pass: str = Field("", repr=False, description="Password of `BASIC_AUTH_USER`.")
    webhook_secret: str = Field(
        "",
        repr=False,
        description="Value of the `X-Drape-Secret` header that webhooks must carry. Empty: Basic credentials only.",
    )

    device: str = Field("auto", description="Where models run: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.")
    device_batch: str = Field(
        "", description="Where workers pre-annotate and encode ahead, such as `cuda:1`. Empty: same as `DEVICE`."
    )
    device_train: str = Field(
        "",
        description="Where trainings run, such as `cuda:1`, or `0,1` for one process on each of two GPUs. New models "
        "are evaluated on the first. Empty: same as `DEVICE`.",
    )
    gpu_memory_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Largest share of a GPU's memory (0 to 1) that the backend uses, if several processes share the "
        "GPU.",
    )
    gpu_memory_share_batch: float = Field(
        1.0, gt=0, le=1, description="The same for each worker that pre-annotates or encodes ahead."
    )
    gpu_memory_share_train: float = Field(1.0, gt=0, le=1, description="The same for a training.")
    segmenter: Literal["auto", "sam3", "sam", "builtin"] = Field(
        "auto",
        description="The model that answers clicks and boxes. `auto`: the best one whose weights are present. "
        "`builtin`: Drape's own small network, which is always there.",
    )
    sam3_weights: str = Field(
        "",
        description="Path of the weights of SAM 3 or SAM 3.1, which Meta provides at "
        "https://huggingface.co/facebook/sam3.",
    )
    sam_half: bool = Field(
        True,
        description="SAM 3 computes in float16 on a GPU, and encodes in bfloat16 on a CPU with AMX. False: float32.",
    )
    sam_compile: bool = Field(
        False, description="Compile SAM 3's image encoder: takes minutes at the start, then encodes faster on a GPU."
    )
    sam_weights: str = Field(
        "auto",
        description="SAM 2.1 or MobileSAM weights: a path, or a name that Ultralytics downloads (`sam2.1_b.pt`). "
        "`auto`: where SAM 3 does not answer, the backend downloads `sam2.1_b.pt` for a GPU or `mobile_sam.pt` for a "
        "CPU into `weights` in the data directory, in the background. Empty: none, and nothing is downloaded.",
    )
    embedding_device_bytes: int = Field(
        4_000_000_000,
        ge=0,
        description="GPU memory for image embeddings, in bytes (SAM 3: 69 MB per image).",
    )
    embedding_host_bytes: int = Field(
        2_000_000_000,
        ge=0,
        description="Memory for image embeddings, in bytes (SAM 3: 138 MB per image, 80 MB in bfloat16).",
    )
    embedding_disk_bytes: int = Field(
        10_000_000_000,
        ge=0,
        description="Disk space for image embeddings in the data directory, in bytes. 0: memory only.",
    )
    embedding_shared_bytes: int = Field(
        100_000_000_000,
        ge=0,
        description="Space for image embeddings in `STORAGE_URL`, in bytes; the oldest are removed first. 0 shares "
        "none, which may be faster if every machine has a GPU.",
    )

    @field_validator("device", "device_batch")
    @classmethod
    def _check_single_device(cls, value: str) -> str:
        if "," in value:
            raise ValueError("Name one device. Only DEVICE_TRAIN takes several.")
        return value

    @model_validator(mode="after")
    def _check_credentials(self) -> InstallationSettings:
        if bool(self.basic_auth_user) != bool(self.basic_auth_pass):
            raise ValueError("Set BASIC_AUTH_USER and BASIC_AUTH_PASS together: one of them alone protects nothing.")
        if ":" in self.basic_auth_user:
            raise ValueError("BASIC_AUTH_USER must not contain a colon: the user name ends at the first one.")
        for name in ("basic_auth_user", "basic_auth_pass"):
            try:
                str(getattr(self, name)).encode("latin-1")
            except UnicodeEncodeError:
                raise ValueError(
                    f"Label Studio cannot send all characters of {name.upper()}: use those of Latin-1, such as é."
                ) from None
        return self

    @model_validator(mode="after")
    def _check_storage(self) -> InstallationSettings:
        scheme, slashes, rest = self.storage_url.partition("://")
        if slashes and (scheme not in ("file", "s3") or not rest.strip("/")):
            raise ValueError("STORAGE_URL must be a path, `file:///path` or `s3://bucket/prefix`.")
        if self.storage_url and self.model_dir:
            raise ValueError("Do not set MODEL_DIR together with STORAGE_URL, which says where models are.")
        return self

    def tasks_url(self, project_id: int) -> str:
        """The address in browsers of a project's tasks in Label Studio; '' where Label Studio's address is not set.

        `?task=` and a task's number lead to that task.
        """
        studio = (self.label_studio_public_url or self.label_studio_url).rstrip("/")
        return f"{studio}/projects/{project_id}/data" if studio.startswith("http") else ""

    @property
    def backend_address(self) -> str:
        """The address at which Label Studio reaches the backend."""
        return self.backend_url.rstrip("/") or f"http://127.0.0.1:{self.port}"

    @property
    def redis_address(self) -> str:
        """`redis_url` (by default this machine's own Redis), with `redis_password` added if it holds no password."""
        url = self.redis_url or "redis://127.0.0.1:6379"
        parts = urlsplit(url)
        if not self.redis_password or parts.password:
            return url
        host = parts.netloc.rpartition("@")[2]
        password = quote(self.redis_password, safe="")
        return parts._replace(netloc=f"{parts.username or ''}:{password}@{host}").geturl()

    @property
    def models_path(self) -> Path:
        """Directory of the model registry."""
        return self.model_dir or self.data_dir / "models"

    @property
    def cache_path(self) -> Path:
        """Directory of this machine's copies from `storage_url`; each storage has a directory of its own."""
        return self.data_dir / "cache" / hashlib.sha256(self.storage_url.encode()).hexdigest()[:12]

    @property
    def may_read_words(self) -> bool:
        """Whether the settings ask for a segmenter that reads words; only loading it shows whether it is installed."""
        return self.segmenter == "sam3" or (self.segmenter == "auto" and bool(self.sam3_weights))
