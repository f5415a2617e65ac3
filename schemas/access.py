"""Who may do what in Kafka, and how to bring a cluster's rights in line with it."""

import time
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, Literal, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
)
from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.cluster import Cluster

DEFAULT_GROUP: Final = "feedback-classifier"

Operation = Literal["Read", "Write", "Create", "Describe", "Alter", "DescribeConfigs", "AlterConfigs"]
Resource = Literal["topic", "group", "transactional-id"]

_REQUEST_TIMEOUT_S: Final = 10.0
_SEEN_S: Final = 10.0
_LOOK_EVERY_S: Final = 0.1
_ANY_HOST: Final = "*"
_ANY_NAME: Final = "*"
_AUTHORIZER: Final = "authorizer.class.name"
_RESOURCE_NAMES: Final = {
    ResourceType.TOPIC: "topic",
    ResourceType.GROUP: "group",
    ResourceType.TRANSACTIONAL_ID: "transactional-id",
    ResourceType.BROKER: "cluster",
}
_EVERYTHING: Final[tuple[Any, ...]] = (
    ResourceType.ANY,
    None,
    ResourcePatternType.ANY,
    None,
    None,
    AclOperation.ANY,
    AclPermissionType.ANY,
)
_RESOURCE_TYPES: Final = {name: kind for kind, name in _RESOURCE_NAMES.items()}
# As Kafka's own tools write them: DescribeConfigs for DESCRIBE_CONFIGS.
_OPERATION_NAMES: Final = {operation: operation.name.title().replace("_", "") for operation in AclOperation}
_OPERATION_TYPES: Final = {name: operation for operation, name in _OPERATION_NAMES.items()}


class RightSpec(BaseModel):
    """Operations on one resource; exactly one of the three kinds is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic: str | None = None
    group: str | None = None
    transactional_id: str | None = None
    operations: list[Operation] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_one_resource(self) -> Self:
        if sum(name is not None for name in (self.topic, self.group, self.transactional_id)) != 1:
            raise ValueError("a right is on one topic, one group or one transactional_id")
        return self

    @property
    def resource(self) -> tuple[Resource, str]:
        """Its kind and its name, as the file has it."""
        if self.topic is not None:
            return "topic", self.topic
        return ("group", self.group) if self.group is not None else ("transactional-id", self.transactional_id or "")


class RoleSpec(BaseModel):
    """What one kind of program or person may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    rights: list[RightSpec]


class AccessFile(BaseModel):
    """`access.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: dict[str, RoleSpec]


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """One right of one principal, as Kafka holds it: an ACL that allows, from any host unless told otherwise.

    Attributes:
        principal: for example `User:shop`.
        resource: the kind of what it is on.
        name: its name, or, where `prefixed`, how the names begin.
        prefixed: whether it is on every resource whose name begins so.
        operation: as Kafka's own tools write it.
        host: from where; `*` is anywhere.
        denies: whether it takes the right away instead, whatever else gives it; none of ours does.
    """

    principal: str
    resource: str
    name: str
    prefixed: bool
    operation: str
    host: str = _ANY_HOST
    denies: bool = False

    @property
    def target(self) -> str:
        """What it is on, for people."""
        return f"{self.resource} {self.name}{'*' if self.prefixed else ''}"

    def overlaps(self, other: "Right") -> bool:
        """Whether there can be something that both are on."""
        if self.resource != other.resource:
            return False
        if _ANY_NAME in {self.name, other.name}:
            return True
        longer, shorter = sorted((self, other), key=lambda right: len(right.name), reverse=True)
        return longer.name == shorter.name or (shorter.prefixed and longer.name.startswith(shorter.name))


@dataclass(frozen=True, slots=True)
class AccessDifference:
    """One way in which the cluster departs from the file.

    Attributes:
        state: `missing`: a principal lacks a right of its role. `surplus`: it has one that its role does not give.
            `other`: somebody else may do something with the same topics, groups or transactional ids.
    """

    state: Literal["missing", "surplus", "other"]
    right: Right


class NoAuthorizerError(Exception):
    """The cluster checks no rights at all."""


class NotASuperuserError(Exception):
    """Who is logged in may not see, or not give, rights."""


def load_access() -> dict[str, RoleSpec]:
    """The roles of `access.toml`, by name."""
    return AccessFile.model_validate(tomllib.loads((files("schemas") / "access.toml").read_text("utf-8"))).roles


def rights_of(roles: Mapping[str, RoleSpec], principals: Mapping[str, Sequence[str]], group: str) -> list[Right]:
    """The rights that the roles stand for.

    Args:
        roles: by name.
        principals: whom each role is given to, as `User:name`; a role that is not named is given to nobody.
        group: the consumers' group.
    """
    rights = []
    for role, holders in principals.items():
        for principal in holders:
            user = principal.partition(":")[2]
            for spec in roles[role].rights:
                resource, pattern = spec.resource
                name = pattern.replace("{group}", group).replace("{user}", user)
                prefixed = pattern.endswith("*")
                rights += [
                    Right(principal, resource, name.removesuffix("*") if prefixed else name, prefixed, operation)
                    for operation in spec.operations
                ]
    return sorted(set(rights))


def diff_access(cluster: Cluster, wanted: Sequence[Right]) -> list[AccessDifference]:
    """Compare the cluster's rights with `wanted`; an empty list means that they agree.

    Superusers are in the brokers' configuration and need no right: they are not seen here.

    Raises:
        NoAuthorizerError: the cluster keeps no rights.
        NotASuperuserError: see there.
        KafkaException, ClusterUnreachableError, LoginRefusedError: it does not answer, or refuses.
    """
    _require(cluster, AclOperation.DESCRIBE)
    found = _all_rights(cluster)
    ours = {right.principal for right in wanted}
    differences = [AccessDifference("missing", right) for right in wanted if right not in found]
    for right in sorted(found - set(wanted)):
        if right.principal in ours:
            differences.append(AccessDifference("surplus", right))
        elif any(right.overlaps(each) for each in wanted):
            differences.append(AccessDifference("other", right))
    return differences


def apply_access(cluster: Cluster, wanted: Sequence[Right], *, prune: bool) -> list[AccessDifference]:
    """Give the rights that are missing; with `prune`, take the surplus ones of the same principals away.

    What others have stays: it may serve a purpose that nobody told this file of. The controller takes a change at once,
    the brokers a moment later: this waits until the one that it asks has it, for ten seconds at most.

    Returns:
        What was changed.

    Raises:
        As `diff_access`.
    """
    _require(cluster, AclOperation.ALTER)
    states = {"missing", "surplus"} if prune else {"missing"}
    differences = [each for each in diff_access(cluster, wanted) if each.state in states]
    given = [AclBinding(*_acl(each.right)) for each in differences if each.state == "missing"]
    if given:
        cluster.answers(cluster.admin.create_acls(given, request_timeout=_REQUEST_TIMEOUT_S))
    taken = [AclBindingFilter(*_acl(each.right)) for each in differences if each.state == "surplus"]
    if taken:
        cluster.answers(cluster.admin.delete_acls(taken, request_timeout=_REQUEST_TIMEOUT_S))
    _wait_until_seen(cluster, differences)
    return differences


def _wait_until_seen(cluster: Cluster, changes: Sequence[AccessDifference]) -> None:
    deadline_s = time.monotonic() + _SEEN_S
    while changes and time.monotonic() < deadline_s:
        found = _all_rights(cluster)
        if all((change.right in found) == (change.state == "missing") for change in changes):
            return
        time.sleep(_LOOK_EVERY_S)


def kafka_acls_commands(rights: Iterable[Right]) -> list[str]:
    """The same rights as command lines of Kafka's own tool, without the options that say where the cluster is."""
    operations: dict[Right, list[str]] = {}
    for right in rights:
        key = Right(right.principal, right.resource, right.name, right.prefixed, "")
        operations.setdefault(key, []).append(right.operation)
    return [
        f"kafka-acls.sh --add --allow-principal {key.principal} --{key.resource} {key.name} "
        f"--resource-pattern-type {'prefixed' if key.prefixed else 'literal'} "
        + " ".join(f"--operation {operation}" for operation in found)
        for key, found in operations.items()
    ]


def _require(cluster: Cluster, operation: AclOperation) -> None:
    """Ask first: to whom may see no rights, or where there are none, librdkafka shows an empty list (2.16)."""
    asked = cluster.admin.describe_cluster(include_authorized_operations=True, request_timeout=_REQUEST_TIMEOUT_S)
    described = cluster.answers({"cluster": asked})["cluster"]
    if operation not in (described.authorized_operations or ()):
        raise NotASuperuserError
    broker = ConfigResource(ResourceType.BROKER, str(described.nodes[0].id))
    try:
        config = cluster.answers(cluster.admin.describe_configs([broker], request_timeout=_REQUEST_TIMEOUT_S))[broker]
    except KafkaException:
        return  # It tells nobody: a hosted one, as a rule, which has rights.
    if _AUTHORIZER in config and not config[_AUTHORIZER].value:
        raise NoAuthorizerError


def _all_rights(cluster: Cluster) -> set[Right]:
    everything = AclBindingFilter(*_EVERYTHING)
    future = cluster.admin.describe_acls(everything, request_timeout=_REQUEST_TIMEOUT_S)
    return {_right(binding) for binding in cluster.answers({"acls": future})["acls"]}


def _right(binding: AclBinding) -> Right:
    return Right(
        principal=binding.principal,
        resource=_RESOURCE_NAMES[ResourceType(binding.restype)],
        name=binding.name,
        prefixed=binding.resource_pattern_type == ResourcePatternType.PREFIXED,
        operation=_OPERATION_NAMES[AclOperation(binding.operation)],
        host=binding.host,
        denies=binding.permission_type == AclPermissionType.DENY,
    )


def _acl(right: Right) -> tuple[Any, ...]:
    """What `AclBinding` and `AclBindingFilter` are made of."""
    return (
        _RESOURCE_TYPES[right.resource],
        right.name,
        ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
        right.principal,
        right.host,
        _OPERATION_TYPES[right.operation],
        AclPermissionType.DENY if right.denies else AclPermissionType.ALLOW,
    )
