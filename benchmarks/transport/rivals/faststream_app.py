"""FastStream over confluent-kafka, at least once: a batch of records at a time, offsets committed after each."""

import asyncio
import json
import os

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage

verdict = json.loads(os.environ["BENCH_VERDICT"])
broker = KafkaBroker(os.environ["BENCH_BROKERS"], compression_type="lz4")
app = FastStream(broker)


@broker.subscriber(
    os.environ["BENCH_INPUT"],
    group_id=os.environ["BENCH_GROUP"],
    auto_offset_reset="earliest",
    batch=True,
    max_records=int(os.environ["BENCH_RECORDS"]),
    ack_policy=AckPolicy.NACK_ON_ERROR,
    no_reply=True,
)
async def classify(bodies: list[dict[str, object]], message: KafkaMessage) -> None:
    keys = [raw.key() for raw in message.raw_message]
    results = [json.dumps({"event": body, **verdict}).encode() for body in bodies]
    await asyncio.gather(
        *(
            broker.publish(result, os.environ["BENCH_OUTPUT"], key=key, no_confirm=True)
            for key, result in zip(keys, results, strict=True)
        )
    )


if __name__ == "__main__":
    asyncio.run(app.run())
