"""How records come in and go out: Kafka, and an in-memory twin that the same behaviour suite holds to account."""
