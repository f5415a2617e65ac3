"""What this consumer says of the bundles that it was told to run, on a compacted topic that operators read."""

from datetime import UTC, datetime
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from consumer.transport.kafka_logs import client_logger
from schemas.announcement import ModelReport, ReportState, Role
from schemas.connection import LibrdkafkaConfig

log = structlog.get_logger(__name__)

_REQUEST_TIMEOUT_S: Final = 3.0
_MAX_REASON_CHARACTERS: Final = 500
_LAST_REPORTS_S: Final = 1.0


class Reporter:
    """Sends reports in the background, outside the transactions. One that cannot be sent is told and dropped."""

    def __init__(
        self, connection: LibrdkafkaConfig, topic: str, *, group_id: str, replica_id: str, app_version: str
    ) -> None:
        config: dict[str, Any] = {
            **connection,
            "enable.idempotence": True,
            "acks": "all",
            # As the publisher's and the Java client's, so that one key stays in one partition.
            "partitioner": "murmur2_random",
            "logger": client_logger(),
        }
        self._producer = Producer(config)
        self._topic = topic
        self._group_id = group_id
        self._replica_id = replica_id
        self._app_version = app_version
        self._is_known = False

    def report(
        self,
        role: Role,
        state: ReportState,
        *,
        name: str,
        version: str,
        manifest_sha256: str,
        announcement_offset: int | None,
        reason: str | None = None,
    ) -> None:
        """Queue one report; `reason` must hold no secrets."""
        if not self._topic_exists():
            return
        report = ModelReport(
            role=role,
            group_id=self._group_id,
            replica_id=self._replica_id,
            state=state,
            name=name,
            version=version,
            manifest_sha256=manifest_sha256,
            announcement_offset=announcement_offset,
            reason=None if reason is None else " ".join(reason.split())[:_MAX_REASON_CHARACTERS],
            app_version=self._app_version,
            reported_at=datetime.now(UTC),
        )
        try:
            self._producer.produce(
                self._topic,
                report.model_dump_json().encode(),
                key=f"{self._group_id}/{self._replica_id}/{role}".encode(),
                on_delivery=_tell_failure,
            )
        except (KafkaException, BufferError) as failure:
            log.warning("model_report_lost", error=type(failure).__name__)

    def poll(self) -> None:
        """Let the client tell which reports could not be sent."""
        self._producer.poll(0)

    def close(self) -> None:
        """Send what is queued, for a second at most."""
        self._producer.flush(_LAST_REPORTS_S)
        self._producer.purge()
        self._producer.flush(0)

    def _topic_exists(self) -> bool:
        """Asked before a report is queued: the client would hold one for a missing topic back for half a minute."""
        if self._is_known:
            return True
        try:
            topic = self._producer.list_topics(self._topic, timeout=_REQUEST_TIMEOUT_S).topics[self._topic]
        except KafkaException:
            return True  # Kafka is away: the report waits for it
        if topic.error is not None:
            log.warning(
                "model_report_lost",
                topic=self._topic,
                error=topic.error.name(),
                advice="if the topic is missing run `python -m schemas topics apply`, if the right to Write it "
                "`python -m schemas access apply`",
            )
            return False
        self._is_known = True
        return True


def _tell_failure(error: KafkaError | None, message: Message) -> None:
    if error is not None:
        log.warning("model_report_lost", topic=message.topic(), error=error.name())
