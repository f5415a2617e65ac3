"""Reads a whole topic, as an independent client sees it."""

from confluent_kafka import Consumer, Message, TopicPartition

from schemas.connection import KafkaConnection


def read_topic(kafka: KafkaConnection, topic: str) -> list[Message]:
    """Every record of `topic` up to its present end, sorted by partition and offset."""
    consumer = Consumer({**kafka.as_librdkafka(), "group.id": "topic-reader", "enable.auto.commit": False})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        starts = [TopicPartition(topic, partition, 0) for partition in partitions]
        left = sum(consumer.get_watermark_offsets(start, timeout=10)[1] for start in starts)
        consumer.assign(starts)
        records: list[Message] = []
        while left:
            batch = consumer.consume(left, timeout=10)
            assert batch, f"{left} records did not come"
            assert all(record.error() is None for record in batch)
            records.extend(batch)
            left -= len(batch)
        return sorted(records, key=lambda record: (record.partition() or 0, record.offset() or 0))
    finally:
        consumer.close()
