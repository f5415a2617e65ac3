"""Publish feedback as a CloudEvent, with the SDK of the CloudEvents project: pip install cloudevents confluent-kafka.

Run it with KAFKA_BOOTSTRAP_SERVERS set. `--structured` writes the structured content mode instead of the binary one.
"""

import os
import sys
from datetime import UTC, datetime
from uuid import uuid4

from cloudevents.core.bindings.kafka import to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import Producer

event = CloudEvent(
    {
        "type": "com.example.review.written",
        # Source and id together are the event's identity: a second record with both of them is counted, not classified.
        "source": "/shop/reviews",
        "id": str(uuid4()),
        "time": datetime.now(UTC),
        "subject": "review/4711",
        "datacontenttype": "application/json",
        # Becomes the record's key: results of one customer keep their order.
        "partitionkey": "customer-4711",
    },
    {"source": "web", "text": "The export button does nothing since the last update.", "rating": 2},
)
record = (to_structured if "--structured" in sys.argv[1:] else to_binary)(event, JSONFormat())

producer = Producer(
    {
        "bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"),
        "enable.idempotence": True,
        # What the Java client does by default: a key must meet the same partition whoever publishes.
        "partitioner": "murmur2_random",
    }
)
failures: list[str] = []
producer.produce(
    "feedback.events",
    record.value,
    record.key,
    headers=list(record.headers.items()),
    on_delivery=lambda error, _: failures.append(error.str()) if error else None,
)
left = producer.flush(30)
if failures or left:
    sys.exit(f"not sent: {failures[0] if failures else 'no answer in 30 s'}")
print(f"sent: source {event.get_source()}, id {event.get_id()}")
