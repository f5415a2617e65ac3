"""Parts that need no server: pinned bundles, shares, and the priority of threads."""

import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from consumer.inference.bundle import load_bundle
from consumer.inference.classifier import Classifier
from consumer.inference.fetch import BundleUnavailableError
from consumer.inference.manifest import MANIFEST_FILE, BundleError
from consumer.metrics import Metrics
from consumer.models.shadow import Shadow
from consumer.models.shares import is_in_share
from consumer.sinks.shadow_comparisons import ShadowComparisons
from tests.inference.tiny_bundle import build_tiny_bundle
from tests.integration.harness import wait_until

URL = "memory://models/pinned"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A bundle that also lies at URL."""
    made = build_tiny_bundle(tmp_path / "tiny")
    MemoryFileSystem().put(str(made), "/models/pinned", recursive=True)
    yield made
    MemoryFileSystem.store.clear()


def pin(folder: Path) -> str:
    return hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()


def test_a_pinned_copy_serves_without_its_place_and_no_other_one_does(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = load_bundle(URL, cache_dir=cache, manifest_sha256=pin(folder))
    assert first.manifest_sha256 == pin(folder)
    MemoryFileSystem.store.clear()
    assert load_bundle(URL, cache_dir=cache, manifest_sha256=pin(folder)).folder == first.folder
    other = build_tiny_bundle(tmp_path / "other", version="2", seed=1)
    with pytest.raises(BundleUnavailableError, match="cannot be fetched"):
        load_bundle(URL, cache_dir=cache, manifest_sha256=pin(other))


@pytest.mark.parametrize("place", ["remote", "folder"])
def test_a_manifest_with_another_hash_is_refused_before_it_is_read(folder: Path, tmp_path: Path, place: str) -> None:
    wanted = pin(folder)
    (folder / MANIFEST_FILE).write_bytes(b"this would not parse")
    MemoryFileSystem().put(str(folder / MANIFEST_FILE), "/models/pinned/manifest.json")
    url = URL if place == "remote" else str(folder)
    with pytest.raises(BundleError, match=r"manifest\.json: its sha256 is .* was announced") as refused:
        load_bundle(url, cache_dir=tmp_path / "cache", manifest_sha256=wanted)
    assert not isinstance(refused.value, BundleUnavailableError)


def test_a_share_is_stable_and_grows_by_addition() -> None:
    # Fixed for ever: a key must not change sides when the code does.
    chosen = [n for n in range(20) if is_in_share(b"key-%d" % n, 0.3, purpose=b"canary")]
    assert chosen == [0, 8, 15]
    tenth = {n for n in range(10_000) if is_in_share(b"%d" % n, 0.1, purpose=b"canary")}
    half = {n for n in range(10_000) if is_in_share(b"%d" % n, 0.5, purpose=b"canary")}
    assert tenth < half
    assert 900 < len(tenth) < 1_100
    assert {n for n in range(10_000) if is_in_share(b"%d" % n, 0.1, purpose=b"shadow")} != tenth
    assert all(is_in_share(b"%d" % n, 1.0, purpose=b"canary") for n in range(1_000))


@pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to the process there")
def test_a_shadow_works_at_low_priority(folder: Path) -> None:
    classifier = Classifier(load_bundle(folder), threads=2)
    shadow = Shadow(classifier, 1.0, cast("ShadowComparisons", None), Metrics("topic"))
    shadow.start()

    def niceness() -> set[int]:
        return {
            os.getpriority(os.PRIO_PROCESS, thread.native_id or 0)
            for thread in threading.enumerate()
            if thread.name.startswith(("inference", "shadow"))
        }

    low = os.getpriority(os.PRIO_PROCESS, 0) + 10
    wait_until(lambda: niceness() == {low}, "threads of low priority")
    shadow.close()
