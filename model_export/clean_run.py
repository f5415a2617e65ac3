"""Proof that a bundle runs where nothing but the consumer's own libraries is installed.

`python -m model_export.clean_run BUNDLE` is the process that proves it: there torch and its kin cannot be imported.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model_export.texts import HOSTILE

_FORBIDDEN: Final = ("torch", "transformers", "optimum", "onnx", "safetensors", "sklearn", "sentence_transformers")
_TIMEOUT_S: Final = 300


class CleanRunError(Exception):
    """The bundle does not run on its own; the message holds what the process said."""


@dataclass(frozen=True)
class CleanRun:
    """The largest distance of a probe's probability from the manifest's, and the process's peak resident memory."""

    probe_deviation: float
    peak_rss_bytes: int


def clean_run(bundle: Path) -> CleanRun:
    """Load, warm and use a bundle with the consumer's classifier in a process of its own, hostile texts included.

    Raises:
        CleanRunError: the process failed.
    """
    command = (sys.executable, "-m", "model_export.clean_run", str(bundle.resolve()))
    root = Path(__file__).parent.parent
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, cwd=root, check=False)
    except subprocess.TimeoutExpired as error:
        raise CleanRunError(f"{bundle}: did not finish without torch within {_TIMEOUT_S} s") from error
    if finished.returncode != 0:
        raise CleanRunError(f"{bundle}: does not run without torch: {finished.stderr.strip()[-2000:]}")
    return CleanRun(**json.loads(finished.stdout))


def _use(bundle: Path) -> dict[str, float]:
    for name in _FORBIDDEN:
        sys.modules[name] = None  # type: ignore[assignment] # this is how an import is made to fail
    from consumer.inference.bundle import load_bundle  # noqa: PLC0415 - after the ban
    from consumer.inference.classifier import Classifier  # noqa: PLC0415

    loaded = load_bundle(bundle)
    classifier = Classifier(loaded)
    deviation = classifier.warm_up()
    classifier.classify(HOSTILE)
    classifier.close()
    return {"probe_deviation": deviation, "peak_rss_bytes": _peak_rss_bytes()}


def _peak_rss_bytes() -> int:
    # getrusage would count the process that this one was forked from.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_use(Path(sys.argv[1]))))
