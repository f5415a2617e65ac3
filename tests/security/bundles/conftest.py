from pathlib import Path

import pytest

from tests.inference.tiny_bundle import build_tiny_bundle
from tests.integration.conftest import bench, tiny_bundle
from tests.integration.conftest import make_settings as make_settings_of_a_consumer
from tests.models.conftest import announcer, bundles, make_following_settings

__all__ = ["announcer", "bench", "bundles", "make_following_settings", "make_settings_of_a_consumer", "tiny_bundle"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle folder that a test may spoil."""
    return build_tiny_bundle(tmp_path / "tiny", version="2", seed=1)
