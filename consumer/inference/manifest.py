"""What a model bundle says of itself: the types of `manifest.json` and `labels.json`."""

import hashlib
import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from consumer.inference import limits
from schemas import announcement

MANIFEST_FILE: Final = "manifest.json"
MODEL_FILE: Final = "model.onnx"
TOKENIZER_FILE: Final = "tokenizer.json"
LABELS_FILE: Final = "labels.json"
MODEL_CARD_FILE: Final = "README.md"
HASHED_FILES: Final = (MODEL_FILE, TOKENIZER_FILE, LABELS_FILE)

# Where a folder is copied to Windows, these open a device whatever follows the dot.
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def _refuse_device(name: str) -> str:
    if _DEVICES.fullmatch(name):
        raise ValueError("the name of a device is no name for a file")
    return name


# A manifest may come from a remote place: what it lists stays inside its own folder.
FileName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100), AfterValidator(_refuse_device)
]
# Labels and names of heads are shown to operators: nothing in them may speak to a terminal.
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]+$")]
ModelName = announcement.ModelName
ModelVersion = announcement.ModelVersion
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleError(Exception):
    """A bundle cannot be used; the message names the file and the reason."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Labels(_Strict):
    """`labels.json`: for each head its labels, in the order of the head's output columns."""

    heads: dict[Label, Annotated[tuple[Label, ...], Field(max_length=limits.MAX_LABELS)]] = Field(
        max_length=limits.MAX_HEADS
    )


class HeadSpec(_Strict):
    """How one head's logits become scores and when its verdict wants a second look.

    `temperature` divides the logits before the softmax (Guo et al. 2017, temperature scaling). A verdict whose top
    score is below `review_threshold` is unsure; it sets `needs_review` only where `decides_review` is true.
    """

    output: str = Field(max_length=200)
    temperature: float = Field(default=1.0, gt=0)
    review_threshold: float = Field(default=0.0, ge=0, le=1)
    decides_review: bool = False


class Probe(_Strict):
    """A text with the fp32 probabilities (after temperature) that the exporting machine computed, per head."""

    text: str = Field(max_length=limits.MAX_PROBE_CHARACTERS)
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
    heads: dict[str, HeadSpec] = Field(min_length=1, max_length=limits.MAX_HEADS)
    files: dict[FileName, Sha256] = Field(max_length=limits.MAX_FILES)
    probes: tuple[Probe, ...] = Field(min_length=1, max_length=limits.MAX_PROBES)
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


def file_sha256(path: Path) -> str:
    """The sha256 of a file in hex, as manifests name their files.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
