"""Quix Streams; BENCH_GUARANTEE is exactly-once or at-least-once."""

import json
import os
from typing import Any

from quixstreams import Application

verdict = json.loads(os.environ["BENCH_VERDICT"])
records = int(os.environ["BENCH_RECORDS"])

application = Application(
    broker_address=os.environ["BENCH_BROKERS"],
    consumer_group=os.environ["BENCH_GROUP"],
    auto_offset_reset="earliest",
    processing_guarantee=os.environ["BENCH_GUARANTEE"],
    commit_every=records,
    commit_interval=60.0,
    auto_create_topics=False,
    producer_extra_config={"compression.type": "lz4"},
    loglevel="WARNING",
)


def classify(event: Any) -> dict[str, Any]:
    return {"event": event, **verdict}


events = application.topic(os.environ["BENCH_INPUT"], value_deserializer="json", key_deserializer="bytes")
results = application.topic(os.environ["BENCH_OUTPUT"], value_serializer="json", key_serializer="bytes")
frame = application.dataframe(events)
frame = frame.apply(classify)
frame = frame.to_topic(results)
application.run()
