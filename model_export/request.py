"""What somebody wants exported, and the steps that it takes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Quantisation = Literal["int8", "none"]
DEFAULT_OPSET: Final = 17
STEPS: Final = (
    "load",
    "export",
    "optimise",
    "compare with PyTorch",
    "score with fp32",
    "quantise",
    "calibrate and measure",
    "compare speed",
    "run without torch",
)


@dataclass(frozen=True)
class Request:
    """What to export and how. Without `data` the bundle is marked as unverified.

    `checkpoint` is a folder or a URL that fsspec knows.
    """

    checkpoint: str
    out: Path
    name: str
    version: str
    quantisation: Quantisation
    opset: int
    data: Path | None
