"""Faust (faust-streaming); BENCH_GUARANTEE is exactly_once or at_least_once."""

import json
import os
from typing import Any

import faust

verdict = json.loads(os.environ["BENCH_VERDICT"])
records = int(os.environ["BENCH_RECORDS"])

app = faust.App(
    os.environ["BENCH_GROUP"],
    broker=f"kafka://{os.environ['BENCH_BROKERS']}",
    processing_guarantee=os.environ["BENCH_GUARANTEE"],
    broker_commit_every=records,
    broker_commit_interval=60.0,
    stream_buffer_maxsize=4096,
    stream_wait_empty=False,
    topic_disable_leader=True,
    web_enabled=False,
    producer_compression_type="lz4",
)
events = app.topic(os.environ["BENCH_INPUT"], value_serializer="raw", key_serializer="raw")
results = app.topic(os.environ["BENCH_OUTPUT"], value_serializer="raw", key_serializer="raw")


@app.agent(events)
async def classify(stream: Any) -> None:
    async for key, value in stream.items():
        result = {"event": json.loads(value), **verdict}
        await results.send(key=key, value=json.dumps(result).encode())


if __name__ == "__main__":
    app.main()
