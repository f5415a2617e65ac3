"""Apache Kafka in KRaft mode: one combined broker and controller, or a quorum of several."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from devstack import ports, processes
from devstack.jars import ensure_jars
from devstack.java import find_java
from devstack.server import Server, stop_together

_LOG4J_CONFIGURATION = Path(__file__).with_name("log4j2.properties")
_READY_DEADLINE_S = 90.0

# Kafka's own start script passes the same collector settings.
_JVM_OPTIONS = (
    "-Xmx512m",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)
_FORMAT_JVM_OPTIONS = ("-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


@dataclass(frozen=True)
class JavaRuntime:
    """What a broker needs to run: the Java launcher and the class path."""

    executable: Path
    class_path: list[Path]

    def command(self, *arguments: str) -> list[str]:
        """Return the command line that runs Java with ``arguments``."""
        return [str(self.executable), f"-Dlog4j2.configurationFile={_LOG4J_CONFIGURATION}", *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment for ``command``; the class path goes there to keep the command line readable."""
        # Under the POSIX locale Java cannot open a file whose path is not ASCII.
        return {**os.environ, "CLASSPATH": os.pathsep.join(map(str, self.class_path)), "LC_ALL": "C.UTF-8"}


class Broker(Server):
    """One Kafka server process, broker and controller at once.

    Attributes:
        client_config: How a librdkafka client that may ask for the cluster's metadata reaches it.
    """

    def __init__(self, node_id: int, directory: Path, port: int) -> None:
        self.node_id = node_id
        self._directory = directory / f"kafka-{node_id}"
        super().__init__(
            name=self._directory.name,
            port=port,
            data=self._directory / "data",
            log=self._directory / "broker.log",
            record=self._directory / "process.json",
        )
        self.client_config = {"bootstrap.servers": self.address}

    def answers(self, timeout_s: float = 3.0) -> bool:
        """Tell whether the broker serves the cluster's metadata and counts itself in."""
        # A first look at the port spares a client whose threads retry in vain.
        return ports.is_listening(self.port) and self.node_id in _live_brokers(self.client_config, timeout_s)

    def launch(self, properties: dict[str, str], cluster_id: str, runtime: JavaRuntime) -> None:
        """Start the process, formatting its storage the first time, and return without waiting.

        Raises:
            DevstackError: The storage could not be formatted.
        """
        self._directory.mkdir(exist_ok=True)
        configuration = self._directory / "server.properties"
        lines = (f"{key}={_escape(value)}\n" for key, value in {**properties, "log.dirs": str(self.data)}.items())
        configuration.write_text("".join(lines), encoding="ascii")
        # Formatting writes this file last.
        if not (self.data / "meta.properties").exists():
            shutil.rmtree(self.data, ignore_errors=True)
            tool = ["kafka.tools.StorageTool", "format", "--cluster-id", cluster_id, "--config", str(configuration)]
            processes.run(runtime.command(*_FORMAT_JVM_OPTIONS, *tool), environment=runtime.environment())
        self._start_process(
            runtime.command(*_JVM_OPTIONS, "kafka.Kafka", str(configuration)), environment=runtime.environment()
        )


class Kafka:
    """The brokers of one stack. Each method takes the number of one broker, or None for all of them."""

    def __init__(self, directory: Path, cluster_id: str, broker_ports: list[int], controller_ports: list[int]) -> None:
        self.brokers = [Broker(node_id, directory, port) for node_id, port in enumerate(broker_ports, start=1)]
        self._cluster_id = cluster_id
        self._controller_ports = controller_ports

    @property
    def bootstrap_servers(self) -> str:
        """The addresses for clients, separated by commas."""
        return ",".join(broker.address for broker in self.brokers)

    def start(
        self, node_id: int | None = None, *, on_download: Callable[[int, int], None] = lambda _done, _all: None
    ) -> None:
        """Start what does not run yet and wait until it answers.

        Args:
            node_id: Number of one broker, from 1; None for all.
            on_download: Called with (jars at hand, jars in all) while the cache fills.

        Raises:
            DevstackError: No Java, a failed download, or a broker that does not come up.
        """
        self.launch(node_id, on_download=on_download)
        self.wait_until_ready(node_id)

    def launch(
        self, node_id: int | None = None, *, on_download: Callable[[int, int], None] = lambda _done, _all: None
    ) -> None:
        """Start what does not run yet, without waiting; see ``start``."""
        stopped = [broker for broker in self._selected(node_id) if broker.pid() is None]
        if not stopped:
            return
        runtime = JavaRuntime(find_java().executable, ensure_jars(on_download))
        for broker in stopped:
            broker.launch(self._properties(broker), self._cluster_id, runtime)

    def wait_until_ready(self, node_id: int | None = None) -> None:
        """Wait until every selected broker answers; see ``start``."""
        deadline = time.monotonic() + _READY_DEADLINE_S
        for broker in self._selected(node_id):
            broker.wait_until_ready(deadline)

    def stop(self, node_id: int | None = None) -> None:
        """Stop in order (SIGTERM, then SIGKILL after a deadline); data and ports stay."""
        stop_together(self._selected(node_id))

    def kill(self, node_id: int | None = None) -> None:
        """End at once as a crash would (SIGKILL); data and ports stay."""
        for broker in self._selected(node_id):
            broker.kill()

    def _selected(self, node_id: int | None) -> list[Broker]:
        return self.brokers if node_id is None else [self.brokers[node_id - 1]]

    def _properties(self, broker: Broker) -> dict[str, str]:
        controllers = [f"{ports.HOST}:{port}" for port in self._controller_ports]
        replicas = str(len(self.brokers))
        in_sync = str(min(len(self.brokers), 2))
        return {
            "process.roles": "broker,controller",
            "node.id": str(broker.node_id),
            # Static voters: a quorum that keeps its members' addresses itself would not find them on new ports.
            "controller.quorum.voters": ",".join(
                f"{node_id}@{address}" for node_id, address in enumerate(controllers, start=1)
            ),
            "listeners": f"PLAINTEXT://{broker.address},CONTROLLER://{controllers[broker.node_id - 1]}",
            "advertised.listeners": f"PLAINTEXT://{broker.address}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replicas,
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "8",
            "share.coordinator.state.topic.replication.factor": replicas,
            "share.coordinator.state.topic.min.isr": in_sync,
            "share.coordinator.state.topic.num.partitions": "8",
            "group.initial.rebalance.delay.ms": "0",
            # A killed broker is let in again only when its old session has ended; the default is 9 s.
            "broker.session.timeout.ms": "5000",
            "broker.heartbeat.interval.ms": "1000",
            # The default of 128 MB is claimed at the start and would be a quarter of the heap.
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
        }


def _live_brokers(client_config: Mapping[str, str], timeout_s: float) -> set[int]:
    from confluent_kafka import KafkaException  # noqa: PLC0415  (keeps `import devstack` cheap)
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415

    # Level 0: a broker that is still starting refuses connections, and librdkafka would say so on standard error.
    client = AdminClient({**client_config, "log_level": 0})
    with suppress(KafkaException):
        return set(client.list_topics(timeout=timeout_s).brokers)
    return set()


def _escape(value: str) -> str:
    """Escape a value for a Java properties file, whose escapes outside ASCII are those of JSON."""
    return json.dumps(value)[1:-1]
