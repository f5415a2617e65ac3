"""The real registry, one for the session, beside the broker and the database."""

from collections.abc import Iterator

import pytest

from tests.integration.conftest import bench, make_settings, tiny_bundle
from tests.registry.apicurio import NotToBeHadError, running

__all__ = ["bench", "make_settings", "registry_url", "tiny_bundle"]


@pytest.fixture(scope="session")
def registry_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real registry, or a skip with the reason why there is none."""
    log = tmp_path_factory.mktemp("registry") / "registry.log"
    try:
        with running(log) as url:
            yield url
    except NotToBeHadError as reason:
        pytest.skip(str(reason))
