"""Three brokers whose consumers come through proxies, and who of them does what in the cluster."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient

from devstack import ports
from devstack.errors import DevstackError
from devstack.kafka import Broker, Kafka
from devstack.stack import Stack
from devstack.state import State
from tests.chaos.proxy import Proxy
from tests.chaos.stage import DIRECTORY, GROUP, Stage, private_stage

BROKERS: Final = 3
_REQUEST_TIMEOUT_S: Final = 10.0
_TRANSACTION_STATE: Final = "__transaction_state"


class ProxiedKafka(Kafka):
    """Brokers with a second listener, which tells clients the address of its proxy."""

    def __init__(self, directory: Path, state: State, listener_ports: list[int], proxy_ports: list[int]) -> None:
        super().__init__(directory, state.cluster_id, state.broker_ports, state.controller_ports)
        self._listener_ports = listener_ports
        self._proxy_ports = proxy_ports

    def _properties(self, broker: Broker) -> dict[str, str]:
        properties = super()._properties(broker)
        index = broker.node_id - 1
        protocols = properties["listener.security.protocol.map"]
        return {
            **properties,
            "listeners": f"PROXIED://{ports.HOST}:{self._listener_ports[index]},{properties['listeners']}",
            "advertised.listeners": (
                f"PROXIED://{ports.HOST}:{self._proxy_ports[index]},{properties['advertised.listeners']}"
            ),
            "listener.security.protocol.map": f"PROXIED:PLAINTEXT,{protocols}",
        }


class ProxiedStack(Stack):
    """A stack of three brokers with proxies before them."""

    def __init__(self, directory: Path, listener_ports: list[int], proxy_ports: list[int]) -> None:
        super().__init__(directory, BROKERS)
        self._listener_ports = listener_ports
        self._proxy_ports = proxy_ports

    def _kafka(self, state: State) -> Kafka:
        return ProxiedKafka(self.directory, state, self._listener_ports, self._proxy_ports)


@contextmanager
def broker_stage(name: str) -> Iterator[Stage]:
    """A private stage with three brokers, which consumers reach through a proxy for each."""
    listener_ports = ports.choose(BROKERS)
    with ExitStack() as cleanup:
        proxies = tuple(cleanup.enter_context(Proxy(port)) for port in listener_ports)
        stack = ProxiedStack(DIRECTORY / name, listener_ports, [proxy.port for proxy in proxies])
        addresses = ",".join(f"{ports.HOST}:{proxy.port}" for proxy in proxies)
        with private_stage(name, stack, {"KAFKA_BOOTSTRAP_SERVERS": addresses}) as stage:
            yield replace(stage, proxies=proxies)


class Roles:
    """Which broker has a role now. Each method returns the node's number, from 1.

    Raises:
        DevstackError: nobody has it, or nobody answers.
        KafkaException: the cluster does not answer.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._admin = AdminClient(stage.librdkafka)

    def leader(self, topic: str, partition: int) -> int:
        """The leader of a partition."""
        found = self._admin.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic]
        if partition not in found.partitions or (node := found.partitions[partition].leader) < 1:
            raise DevstackError(f"{topic} {partition} has no leader now")
        return node

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""
        return len(self._admin.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic].partitions)

    def group_coordinator(self) -> int:
        """The coordinator of the consumers' group."""
        future = self._admin.describe_consumer_groups([GROUP], request_timeout=_REQUEST_TIMEOUT_S)[GROUP]
        coordinator = future.result().coordinator
        if coordinator is None:
            raise DevstackError("the group has no coordinator now")
        return int(coordinator.id)

    def transaction_coordinator(self, transactional_id: str) -> int:
        """The coordinator of a transactional id: the leader of its partition of the transaction log.

        Kafka takes the absolute value of Java's String.hashCode modulo the number of partitions
        (TransactionStateManager.partitionFor).
        """
        partition = (_java_hash(transactional_id) & 0x7FFFFFFF) % self.partitions(_TRANSACTION_STATE)
        return self.leader(_TRANSACTION_STATE, partition)

    def controller(self) -> int:
        """The active controller: the leader of the KRaft quorum, as the voters themselves remember it."""
        if self._stage.stack is None:
            raise DevstackError("the brokers are not ours to look into")
        newest = (-1, -1)
        for broker in self._stage.stack.kafka.brokers:
            state = broker.data / "__cluster_metadata-0" / "quorum-state"
            if broker.pid() is not None and state.exists():
                voted = json.loads(state.read_text("utf-8"))
                newest = max(newest, (int(voted["leaderEpoch"]), int(voted["leaderId"])))
        if newest[1] < 1:
            raise DevstackError("the quorum has no leader now")
        return newest[1]


def _java_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value
