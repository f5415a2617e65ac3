"""A consumer that follows a topic of announcements, and a hand that writes to it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from consumer.settings import ConsumerSettings
from schemas.connection import KafkaConnection
from tests.inference.tiny_bundle import build_tiny_bundle
from tests.integration.conftest import bench, tiny_bundle
from tests.integration.conftest import make_settings as make_settings_of_a_consumer
from tests.integration.harness import wait_until
from tests.models.announcing import Announcer

__all__ = ["bench", "make_settings_of_a_consumer", "tiny_bundle"]


@dataclass(frozen=True)
class Bundles:
    """Tiny bundles of versions 1 to 3; the first two decide otherwise about every text."""

    first: Path
    second: Path
    third: Path


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    home = tmp_path_factory.mktemp("announced")
    return Bundles(*(build_tiny_bundle(home / f"v{n}", version=str(n), seed=n - 1) for n in (1, 2, 3)))


@pytest.fixture
def announcer(kafka: KafkaConnection, admin: AdminClient, make_topic: Callable[..., str]) -> Announcer:
    made = Announcer(kafka, make_topic("models", 1, {"cleanup.policy": "compact"}), make_topic("model-reports"))
    wait_until(lambda: {made.topic, made.reports_topic} <= admin.list_topics().topics.keys(), "the new topics")
    return made


@pytest.fixture(name="make_settings")
def make_following_settings(
    make_settings_of_a_consumer: Callable[..., ConsumerSettings], announcer: Announcer, bundles: Bundles, tmp_path: Path
) -> Callable[..., ConsumerSettings]:
    """As for other tests, and it follows: the first bundle is the configured one, its neighbours are allowed."""

    def make(**changes: object) -> ConsumerSettings:
        following: dict[str, object] = {
            "bundle_url": str(bundles.first),
            "bundle_allowed_prefixes": [str(bundles.first.parent), str(tmp_path), "memory://"],
            "models_topic": announcer.topic,
            "model_reports_topic": announcer.reports_topic,
        }
        return make_settings_of_a_consumer(**{**following, **changes})

    return make
