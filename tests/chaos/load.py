"""A steady load with keys: events, hostile records, repeated and conflicting ids; each numbered in its headers."""

import json
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from demo.hostile import HostileRecord, hostile_records
from demo.records import Coordinates, Ending, Expectation, Headers
from schemas import headers
from schemas.connection import LibrdkafkaConfig
from tests.chaos.background import Background
from tests.chaos.journal import Journal, Sent

SEQUENCE: Final = "chaos-sequence"
_HOSTILE_SHARE: Final = 0.02
_REPEATED_SHARE: Final = 0.01
_CONFLICTING_SHARE: Final = 0.005
_OTHER_PARTITION_SHARE: Final = 0.3
_KEYS: Final = 200
_REMEMBERED: Final = 500
# Megabytes each: of these kinds every tenth is enough.
_LARGE: Final = frozenset({"size_limit_not_json", "size_limit_event", "deep_nesting", "text_over_limit"})
_LARGE_EVERY: Final = 10
# Longer than any outage: when a record in flight times out, the client sends those behind it under a new identity,
# and the brokers no longer know which of them they have. What ends without an answer does so by `crash`.
_DELIVERY_TIMEOUT_MS: Final = 120_000
_FLUSH_S: Final = 60.0
_ACKNOWLEDGED_S: Final = 10.0
# Whatever the copies of an event become, the oracle judges them as a family.
_EVENT_ENDINGS: Final = frozenset({Ending.CLASSIFIED, Ending.DUPLICATE, Ending.CONFLICT})


def sequence_headers(sequence: int) -> Headers:
    """A number for the events topic and the dead letters, and a trace context that carries it on to the result."""
    trace = f"00-{sequence:032x}-{1:016x}-01"
    return (SEQUENCE, str(sequence).zfill(12).encode()), (headers.TRACEPARENT, trace.encode())


def sequence_of_result(traceparent: str | None) -> int | None:
    """The number of the record that a result answers; None where it carries none of ours."""
    try:
        return int((traceparent or "").split("-", 2)[1], 16)
    except (IndexError, ValueError):
        return None


class Load(Background):
    """Publishes in a thread of its own until it is left. Its random choices follow from the seed."""

    def __init__(
        self,
        kafka: LibrdkafkaConfig,
        topic: str,
        journal: Journal,
        *,
        rate_per_s: float,
        seed: int,
        partitions: int,
        max_message_bytes: int,
        first_sequence: int = 1,
    ) -> None:
        self._topic = topic
        self._journal = journal
        self._rate_per_s = rate_per_s
        self._random = random.Random(f"load-{seed}")
        self._partitions = partitions
        self._hostile = self._endless_hostile(max_message_bytes)
        self._recent: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self._sequence = first_sequence - 1
        self._config: LibrdkafkaConfig = {
            **kafka,
            "log_level": 0,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            # Compressed, a record at the size limit would be a small one.
            "compression.type": "none",
            "message.max.bytes": max_message_bytes,
            "message.timeout.ms": _DELIVERY_TIMEOUT_MS,
        }
        self._producer = Producer(self._config)
        self._lock = threading.Lock()
        self._crashing = threading.Event()
        super().__init__("load")

    def _halt(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Publish nothing more, and wait until the fate of each record is as clear as it can get."""
        super()._halt()
        self._producer.flush(_FLUSH_S)

    def crash(self) -> None:
        """Lose what is on its way, as a publisher does that dies: nobody will learn what became of it."""
        self._crashing.set()

    def send_trap(self, text: str, error_class: str) -> None:
        """Send an event whose text the model cannot survive, so that it must end as a dead letter of this class.

        Returns once Kafka has it: what follows is recovery.
        """
        event = self._event(text)
        expectation = Expectation(
            endings=frozenset({Ending.DEAD_LETTER}), event_id=uuid.UUID(event["event_id"]), error_class=error_class
        )
        sequence = self._send(f"trap {text.split(maxsplit=1)[0]}", event, expectation)
        deadline_s = time.monotonic() + _ACKNOWLEDGED_S
        while not self._journal.is_acknowledged(sequence) and time.monotonic() < deadline_s:
            time.sleep(0.01)

    def _run(self) -> None:
        started_s = time.monotonic()
        for count in range(1, 1 << 62):
            self._send_next()
            while (wait_s := started_s + count / self._rate_per_s - time.monotonic()) > 0 or self._stopping.is_set():
                self._producer.poll(min(0.05, max(0.0, wait_s)))
                if self._stopping.is_set():
                    return

    def _send_next(self) -> None:
        if self._crashing.is_set():
            self._crashing.clear()
            self._producer.purge()
            self._producer.poll(0)
            self._producer = Producer(self._config)
        share = self._random.random()
        if share < _HOSTILE_SHARE:
            self._send_hostile(next(self._hostile))
        elif share < _HOSTILE_SHARE + _REPEATED_SHARE and self._recent:
            elsewhere = self._random.random() < _OTHER_PARTITION_SHARE
            partition = self._random.randrange(self._partitions) if elsewhere else None
            self._send_event("repeated id", self._random.choice(self._recent), partition)
        elif share < _HOSTILE_SHARE + _REPEATED_SHARE + _CONFLICTING_SHARE and self._recent:
            first = self._random.choice(self._recent)
            self._send_event("conflicting id", {**first, "text": f"other words {self._random.random()}"}, None)
        else:
            event = self._event(self._words())
            self._recent.append(event)
            self._send_event("event", event, None)

    def _words(self) -> str:
        # No word here may be one of those that break the tiny bundle's session.
        length = min(400, int(self._random.expovariate(1 / 12)) + 1)
        return " ".join(f"w{self._random.randrange(10_000)}" for _ in range(length))

    def _event(self, text: str) -> dict[str, Any]:
        return {
            "event_id": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "occurred_at": "2026-11-01T00:00:00Z",
            "source": "web",
            "text": text,
            "customer_id": f"customer-{self._random.randrange(_KEYS)}",
        }

    def _send_event(self, kind: str, event: dict[str, Any], partition: int | None) -> None:
        expectation = Expectation(endings=_EVENT_ENDINGS, event_id=uuid.UUID(event["event_id"]))
        self._send(kind, event, expectation, partition)

    def _send_hostile(self, record: HostileRecord) -> None:
        expectation = record.expectation
        if expectation.endings & _EVENT_ENDINGS:
            expectation = Expectation(
                endings=expectation.endings | _EVENT_ENDINGS, event_id=expectation.event_id, flags=expectation.flags
            )
        self._produce(
            record.kind, record.key, record.value, expectation, own_headers=record.headers, partition=record.partition
        )

    def _endless_hostile(self, max_message_bytes: int) -> Iterator[HostileRecord]:
        added = sum(len(name) + len(value or b"") + 2 for name, value in sequence_headers(1))
        while True:
            for turn in range(_LARGE_EVERY):
                for record in hostile_records(self._partitions, max_message_bytes - added):
                    if turn == 0 or record.kind not in _LARGE:
                        yield record

    def _send(self, kind: str, event: dict[str, Any], expectation: Expectation, partition: int | None = None) -> int:
        key = event["customer_id"].encode()
        return self._produce(kind, key, json.dumps(event).encode(), expectation, partition=partition)

    def _produce(
        self,
        kind: str,
        key: bytes | None,
        value: bytes | None,
        expectation: Expectation,
        *,
        own_headers: Headers = (),
        partition: int | None,
    ) -> int:
        with self._lock:
            self._sequence += 1
            sequence = self._sequence
        all_headers = (*own_headers, *sequence_headers(sequence))
        self._journal.add(
            Sent(
                sequence=sequence,
                kind=kind,
                key=key,
                value=value,
                headers=all_headers,
                expectation=expectation,
                sent_s=time.monotonic(),
                must_come_out=kind == "event" or kind.startswith("trap "),
            )
        )

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            number, offset = message.partition(), message.offset()
            if error is not None:
                self._journal.failed(sequence)
            elif number is None or offset is None or offset < 0:
                self._journal.acknowledged(sequence, None)
            else:
                self._journal.acknowledged(sequence, Coordinates(number, offset))

        try:
            self._producer.produce(
                self._topic,
                value=value,
                key=key,
                headers=list(all_headers),
                partition=-1 if partition is None else partition,  # -1: by the key
                on_delivery=on_delivery,
            )
        except KafkaException:
            # The client is broken for good: what it held stays unknown, and a new one goes on.
            self._journal.failed(sequence)
            self._producer = Producer(self._config)
        except BufferError:
            self._journal.failed(sequence)
        return sequence
