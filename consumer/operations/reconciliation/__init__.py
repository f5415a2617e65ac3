"""Compares what Kafka and PostgreSQL say about the same records, and rebuilds what PostgreSQL lost."""
