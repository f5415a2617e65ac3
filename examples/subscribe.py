"""Read results with plain confluent-kafka, and go on where the last run stopped: copy this, change `handle`.

    python examples/subscribe.py        until Ctrl+C or SIGTERM
    python examples/subscribe.py 5      until five results were handled

Run it with KAFKA_BOOTSTRAP_SERVERS set.
"""

import json
import os
import signal
import sys
from typing import Any

from confluent_kafka import Consumer, KafkaException


def handle(result: dict[str, Any]) -> None:
    """What your service does with a result. Called again for one that it had no time to commit: so do it by id."""
    event = result["event"]
    verdict = f"{result['sentiment']['label']} {result['category']['label']}"
    print(f"{event['event_id']}: {verdict} -> {result['routing']['queue']}")


wanted = int(sys.argv[1]) if len(sys.argv) > 1 else None
stopped = False


def stop(*_: object) -> None:
    """Let the loop end after the result that is being handled."""
    global stopped  # noqa: PLW0603 (a signal handler has nothing else to hand over to)
    stopped = True


signal.signal(signal.SIGINT, stop)
signal.signal(signal.SIGTERM, stop)
consumer = Consumer(
    {
        "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        # Kafka keeps the place of each group: every service that reads the results has a name of its own.
        "group.id": "example-subscriber",
        # Results become visible with their transaction. This is librdkafka's default; Java clients must ask for it.
        "isolation.level": "read_committed",
        # Where a group starts that has committed nothing yet.
        "auto.offset.reset": "earliest",
        # Committed below, when a result was handled: a crash repeats the last ones and leaves none out.
        "enable.auto.commit": False,
    }
)
consumer.subscribe(["feedback.classified"])
try:
    while not stopped and wanted != 0:
        message = consumer.poll(1.0)
        if message is None:
            continue
        error = message.error()
        if error is not None:
            # librdkafka mends what it can by itself; the rest is said, and the next run goes on from here.
            raise KafkaException(error)
        handle(json.loads(message.value() or b"null"))
        consumer.commit(message=message, asynchronous=False)
        if wanted is not None:
            wanted -= 1
finally:
    consumer.close()
