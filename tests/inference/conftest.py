from collections.abc import Iterator
from pathlib import Path

import pytest

from consumer.inference.bundle import Bundle, load_bundle
from consumer.inference.classifier import Classifier
from consumer.inference.manifest import MODEL_FILE
from tests.inference.faults import FaultySession
from tests.inference.tiny_bundle import build_tiny_bundle

DEADLINE_S = 0.5


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(build_tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture
def classifier(bundle: Bundle) -> Iterator[Classifier]:
    classifier = Classifier(bundle, threads=2)
    yield classifier
    classifier.close()


@pytest.fixture
def session(bundle: Bundle) -> Iterator[FaultySession]:
    session = FaultySession(bundle.folder / MODEL_FILE)
    yield session
    session.release()


@pytest.fixture
def fragile(bundle: Bundle, session: FaultySession, monkeypatch: pytest.MonkeyPatch) -> Iterator[Classifier]:
    """A classifier whose session fails on certain words, with short deadlines."""
    monkeypatch.setattr("consumer.inference.classifier._TERMINATE_GRACE_S", DEADLINE_S)
    classifier = Classifier(bundle, threads=2, deadline_s=DEADLINE_S, open_session=lambda _: session)
    yield classifier
    session.release()
    classifier.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle folder that a test may break."""
    return build_tiny_bundle(tmp_path / "tiny")
