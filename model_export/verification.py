"""Everything that a consumer checks before it trusts a bundle, done once more and told."""

import tempfile
from pathlib import Path
from typing import Any

from consumer.inference.bundle import Bundle, load_bundle, require_feedback_heads
from consumer.inference.classifier import Classifier
from consumer.inference.manifest import MANIFEST_FILE, BundleError


def verify_bundle(url: str) -> dict[str, Any]:
    """Check a bundle's hashes, labels, tokenizer, graph and probes.

    Args:
        url: a folder, or a URL that fsspec knows; a remote bundle is fetched anew, never taken from the cache.

    Returns:
        `name`, `version`, `manifest_sha256`, per file of `files` its bytes, `heads` with their labels,
        `probe_deviation` on this CPU with its `probe_tolerance`, and `run_refuses`: why the stream processor would not
        serve it, null where it would.

    Raises:
        BundleError: something is missing, damaged or does not fit; the message names the file.
    """
    with tempfile.TemporaryDirectory() as cache:
        bundle = load_bundle(url, cache_dir=Path(cache))
        manifest = bundle.manifest
        classifier = Classifier(bundle)
        try:
            deviation = classifier.warm_up()
        finally:
            classifier.close()
        return {
            "name": manifest.name,
            "version": manifest.version,
            "manifest_sha256": bundle.manifest_sha256,
            "files": {name: (bundle.folder / name).stat().st_size for name in (MANIFEST_FILE, *manifest.files)},
            "heads": {head: list(labels) for head, labels in bundle.labels.heads.items()},
            "probes": len(manifest.probes),
            "probe_deviation": round(deviation, 6),
            "probe_tolerance": manifest.probe_tolerance,
            "run_refuses": _refusal(bundle),
        }


def _refusal(bundle: Bundle) -> str | None:
    try:
        require_feedback_heads(bundle)
    except BundleError as error:
        return str(error)
    return None
