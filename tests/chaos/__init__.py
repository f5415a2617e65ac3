"""Faults on a real Kafka and a real PostgreSQL, under load, judged by an oracle that knows nothing of the consumer."""
