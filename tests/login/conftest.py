"""A real broker that asks for a login."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import ports
from devstack.kafka import Broker, Kafka
from schemas.connection import KafkaConnection

USER, PASSWORD = "alice", "right"


class SaslKafka(Kafka):
    """Clients must log in with SASL/PLAIN; the broker talks to itself on another port."""

    def __init__(self, directory: Path, broker_port: int, controller_port: int, internal_port: int) -> None:
        super().__init__(directory, "A" + "0" * 20 + "w", [broker_port], [controller_port])
        self._internal_port = internal_port

    def _properties(self, broker: Broker) -> dict[str, str]:
        properties = super()._properties(broker)
        controllers = properties["listeners"].split(",")[1]
        listeners = f"SASL_PLAINTEXT://{broker.address},PLAINTEXT://{ports.HOST}:{self._internal_port}"
        users = f'username="{USER}" password="{PASSWORD}" user_{USER}="{PASSWORD}"'
        return {
            **properties,
            "listeners": f"{listeners},{controllers}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": (
                "SASL_PLAINTEXT:SASL_PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
            ),
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
            ),
        }

    def answers(self) -> bool:
        """Whether it serves; what it answers needs a login."""
        return ports.is_listening(self._internal_port) and self.brokers[0].pid() is not None


@pytest.fixture(scope="session")
def guarded_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaConnection]:
    """How to log in to it."""
    broker_port, controller_port, internal_port = ports.choose(3)
    kafka = SaslKafka(tmp_path_factory.mktemp("guarded"), broker_port, controller_port, internal_port)
    connection = KafkaConnection(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username=USER,
        sasl_password=PASSWORD,
    )
    try:
        kafka.launch()
        deadline_s = time.monotonic() + 90
        while not kafka.answers():
            assert time.monotonic() < deadline_s, "the broker does not come up"
            time.sleep(0.1)
        yield connection
    finally:
        kafka.kill()
