"""Proof that a bundle runs where nothing but the consumer's own libraries is installed.

`python -m model_export.clean_run BUNDLE` is the process that proves it: there torch and its kin cannot be imported.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

from model_export.texts import HOSTILE

_FORBIDDEN: Final = ("torch", "transformers", "optimum", "onnx", "safetensors", "sklearn", "sentence_transformers")
_TIMEOUT_S: Final = 120


class CleanRunError(Exception):
    """The bundle does not run on its own; the message holds what the process said."""


def clean_run(bundle: Path) -> float:
    """Load, warm and use a bundle with the consumer's classifier in a process of its own, hostile texts included.

    Returns:
        The largest distance of a probe's probability from the manifest's.

    Raises:
        CleanRunError: the process failed.
    """
    command = (sys.executable, "-m", "model_export.clean_run", str(bundle.resolve()))
    root = Path(__file__).parent.parent
    finished = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, cwd=root, check=False)
    if finished.returncode != 0:
        raise CleanRunError(f"{bundle}: does not run without torch: {finished.stderr.strip()[-2000:]}")
    return float(finished.stdout)


def _largest_deviation(bundle: Path) -> float:
    for name in _FORBIDDEN:
        sys.modules[name] = None  # type: ignore[assignment] # this is how an import is made to fail
    from consumer.inference.bundle import load_bundle  # noqa: PLC0415 - after the ban
    from consumer.inference.classifier import Classifier  # noqa: PLC0415

    loaded = load_bundle(bundle)
    classifier = Classifier(loaded)
    classifier.warm_up()
    probes = loaded.manifest.probes
    verdicts = classifier.classify([probe.text for probe in probes])
    classifier.classify(HOSTILE)
    classifier.close()
    return max(
        abs(score - expected)
        for probe, verdict in zip(probes, verdicts, strict=True)
        for head, probabilities in probe.probabilities.items()
        for score, expected in zip(verdict.heads[head].scores.values(), probabilities, strict=True)
    )


if __name__ == "__main__":
    sys.stdout.write(str(_largest_deviation(Path(sys.argv[1]))))
