"""The whole consumer, as tests/integration runs it."""

from tests.integration.conftest import bench, make_settings, tiny_bundle

__all__ = ["bench", "make_settings", "tiny_bundle"]
