"""The topics that the project needs, and how to bring a cluster in line with them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from pydantic import BaseModel, ConfigDict, Field

EVENTS: Final = "feedback.events"
RESULTS: Final = "feedback.classified"
DEAD_LETTERS: Final = "feedback.deadletter"
MODELS: Final = "feedback.models"
MODEL_REPORTS: Final = "feedback.models.status"

_REQUEST_TIMEOUT_S: Final = 30.0


class TopicSpec(BaseModel):
    """What one topic must look like. `config` holds topic-level Kafka settings as strings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    partitions: int = Field(ge=1)
    replication_factor: int = Field(ge=1)
    config: dict[str, str]


class TopicsFile(BaseModel):
    """`topics.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topics: dict[str, TopicSpec]


@dataclass(frozen=True, slots=True)
class TopicDifference:
    """One way in which the cluster departs from the file. `wanted` and `found` are written for people."""

    topic: str
    setting: str
    wanted: str
    found: str


def load_topics() -> dict[str, TopicSpec]:
    """The topics of `topics.toml`, by name."""
    return TopicsFile.model_validate(tomllib.loads((files("schemas") / "topics.toml").read_text("utf-8"))).topics


def effective_config(spec: TopicSpec, broker_count: int) -> tuple[int, dict[str, str]]:
    """The replication factor and settings that a cluster of `broker_count` brokers can hold."""
    replication = min(spec.replication_factor, broker_count)
    return replication, {**spec.config, "min.insync.replicas": str(max(1, replication - 1))}


def diff_topics(admin: AdminClient, topics: Mapping[str, TopicSpec]) -> list[TopicDifference]:
    """Compare the cluster with `topics`; an empty list means that they agree.

    Raises:
        KafkaException: the cluster did not answer.
    """
    cluster = admin.list_topics(timeout=_REQUEST_TIMEOUT_S)
    present = {name: topic for name, topic in cluster.topics.items() if name in topics}
    differences = [TopicDifference(name, "topic", "present", "absent") for name in topics if name not in present]
    configs = _describe_configs(admin, list(present))
    for name, found in present.items():
        spec = topics[name]
        replication, wanted = effective_config(spec, len(cluster.brokers))
        # More partitions than asked for is an operator's decision to scale; fewer is a fault.
        if len(found.partitions) < spec.partitions:
            differences.append(TopicDifference(name, "partitions", str(spec.partitions), str(len(found.partitions))))
        replicas = min((len(partition.replicas) for partition in found.partitions.values()), default=0)
        if replicas < replication:
            differences.append(TopicDifference(name, "replication factor", str(replication), str(replicas)))
        differences.extend(
            TopicDifference(name, key, value, configs[name].get(key, "unset"))
            for key, value in wanted.items()
            if configs[name].get(key) != value
        )
    return differences


def apply_topics(admin: AdminClient, topics: Mapping[str, TopicSpec]) -> list[TopicDifference]:
    """Create missing topics, add missing partitions, correct settings. Never deletes or shrinks anything.

    Returns:
        What was changed, as `diff_topics` described it before. A replication factor cannot be changed this way:
        it stays in the list that `diff_topics` gives afterwards.

    Raises:
        KafkaException: the cluster did not answer, or refused a change.
    """
    differences = diff_topics(admin, topics)
    broker_count = len(admin.list_topics(timeout=_REQUEST_TIMEOUT_S).brokers)
    missing = {difference.topic for difference in differences if difference.setting == "topic"}
    if missing:
        created = admin.create_topics(
            [_new_topic(name, topics[name], broker_count) for name in sorted(missing)],
            operation_timeout=_REQUEST_TIMEOUT_S,
        )
        for future in created.values():
            future.result()
    grown = [d for d in differences if d.setting == "partitions"]
    if grown:
        for future in admin.create_partitions([NewPartitions(d.topic, int(d.wanted)) for d in grown]).values():
            future.result()
    _alter_configs(admin, [d for d in differences if d.setting not in {"topic", "partitions", "replication factor"}])
    return differences


def _new_topic(name: str, spec: TopicSpec, broker_count: int) -> NewTopic:
    replication, config = effective_config(spec, broker_count)
    return NewTopic(name, num_partitions=spec.partitions, replication_factor=replication, config=config)


def _describe_configs(admin: AdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    described = admin.describe_configs(resources, request_timeout=_REQUEST_TIMEOUT_S)
    return {
        resource.name: {key: entry.value for key, entry in future.result().items()}
        for resource, future in described.items()
    }


def _alter_configs(admin: AdminClient, differences: list[TopicDifference]) -> None:
    by_topic: dict[str, list[ConfigEntry]] = {}
    for difference in differences:
        entry = ConfigEntry(difference.setting, difference.wanted, incremental_operation=AlterConfigOpType.SET)
        by_topic.setdefault(difference.topic, []).append(entry)
    if not by_topic:
        return
    resources = [
        ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries) for name, entries in by_topic.items()
    ]
    for future in admin.incremental_alter_configs(resources).values():
        future.result()
