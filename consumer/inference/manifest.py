"""What a model bundle says of itself: the types of `manifest.json` and `labels.json`."""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

MANIFEST_FILE: Final = "manifest.json"
MODEL_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"
LABELS_FILE: Final = "labels.json"
MODEL_CARD_FILE: Final = "README.md"
HASHED_FILES: Final = (MODEL_FILE, TOKENIZER_FILE, LABELS_FILE)


# A manifest may come from a remote place: what it lists stays inside its own folder.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
ModelName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._-]+$")]
ModelVersion = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9._+-]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_T = TypeVar("_T", bound=BaseModel)


class BundleError(Exception):
    """A bundle cannot be used; the message names the file and the reason."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Labels(_Strict):
    """`labels.json`: for each head its labels, in the order of the head's output columns."""

    heads: dict[str, tuple[str, ...]]


class HeadSpec(_Strict):
    """How one head's logits become scores and when its verdict wants a second look.

    `temperature` divides the logits before the softmax (Guo et al. 2017, temperature scaling). A verdict whose top
    score is below `review_threshold` is unsure; it sets `needs_review` only where `decides_review` is true.
    """

    output: str
    temperature: float = Field(default=1.0, gt=0)
    review_threshold: float = Field(default=0.0, ge=0, le=1)
    decides_review: bool = False


class Probe(_Strict):
    """A text with the fp32 probabilities (after temperature) that the exporting machine computed, per head."""

    text: str
    probabilities: dict[str, tuple[float, ...]]


class Manifest(_Strict):
    """`manifest.json`: everything that a consumer checks before it trusts a bundle.

    `files` maps `HASHED_FILES`, and maybe more, to their sha256 in hex; the model's is the `sha256` that results carry.
    `max_length` counts tokens, the two special tokens included. `probe_tolerance` bounds how far this machine's
    probabilities may lie from a probe's. `metrics` (figures on labelled rows), `parity` (gates), `measurements` (speed,
    what quantisation costs node by node) and `tools` are reports for people.
    """

    format_version: Literal[1] = 1
    name: ModelName
    version: ModelVersion
    created_at: datetime
    source_checkpoint: str
    opset: int
    quantisation: Literal["int8", "none"]
    max_length: int = Field(ge=8, le=512)
    inputs: tuple[str, ...]
    heads: dict[str, HeadSpec] = Field(min_length=1)
    files: dict[FileName, Sha256]
    probes: tuple[Probe, ...] = Field(min_length=1)
    probe_tolerance: float = Field(gt=0, le=0.5)
    metrics: dict[str, Any] = Field(default_factory=dict)
    parity: dict[str, Any] = Field(default_factory=dict)
    measurements: dict[str, Any] = Field(default_factory=dict)
    tools: dict[str, str] = Field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """The sha256 of `model.onnx`, in hex."""
        return self.files[MODEL_FILE]

    @model_validator(mode="after")
    def _every_hashed_file_is_listed(self) -> Self:
        missing = [name for name in HASHED_FILES if name not in self.files]
        if missing:
            raise ValueError(f"files lists no sha256 for {', '.join(missing)}")
        return self


def _read(path: Path, model: type[_T]) -> _T:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BundleError(f"{path}: {where}: {first['msg']}") from error


def file_sha256(path: Path) -> str:
    """The sha256 of a file in hex, as manifests name their files.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` of a bundle folder.

    Raises:
        BundleError: the file is missing, is no JSON, or does not fit the type.
    """
    return _read(folder / MANIFEST_FILE, Manifest)


def read_labels(folder: Path) -> Labels:
    """Read `labels.json` of a bundle folder.

    Raises:
        BundleError: the file is missing, is no JSON, or does not fit the type.
    """
    return _read(folder / LABELS_FILE, Labels)
