"""confluent-kafka and nothing else, exactly once: consume a batch, produce, send the offsets, commit."""

import json
import os

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

brokers, records = os.environ["BENCH_BROKERS"], int(os.environ["BENCH_RECORDS"])
verdict = json.loads(os.environ["BENCH_VERDICT"])

consumer = Consumer(
    {
        "bootstrap.servers": brokers,
        "group.id": os.environ["BENCH_GROUP"],
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
)
producer = Producer(
    {"bootstrap.servers": brokers, "transactional.id": os.environ["BENCH_GROUP"], "compression.type": "lz4"}
)
producer.init_transactions()
consumer.subscribe([os.environ["BENCH_INPUT"]])
while True:
    messages = consumer.consume(records, timeout=0.1)
    if not messages:
        continue
    next_offsets: dict[tuple[str, int], int] = {}
    producer.begin_transaction()
    for message in messages:
        if (error := message.error()) is not None:
            # A topic that has just been made is not known to every broker yet.
            if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise KafkaException(error)
        result = {"event": json.loads(message.value()), **verdict}
        producer.produce(os.environ["BENCH_OUTPUT"], json.dumps(result).encode(), message.key())
        next_offsets[message.topic(), message.partition()] = message.offset() + 1
    positions = [TopicPartition(topic, partition, offset) for (topic, partition), offset in next_offsets.items()]
    producer.send_offsets_to_transaction(positions, consumer.consumer_group_metadata())
    producer.commit_transaction()
