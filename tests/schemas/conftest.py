"""The consumer's stage, for the tests that hold the documents against what it really writes."""

from tests.integration.conftest import bench, make_settings, tiny_bundle

__all__ = ["bench", "make_settings", "tiny_bundle"]
