from tests.integration.conftest import bench, tiny_bundle
from tests.integration.conftest import make_settings as make_settings_of_a_consumer
from tests.models.conftest import announcer, bundles, make_following_settings
from tests.security.bundles.conftest import folder

__all__ = [
    "announcer",
    "bench",
    "bundles",
    "folder",
    "make_following_settings",
    "make_settings_of_a_consumer",
    "tiny_bundle",
]
