"""Where verdicts are kept: the ledger and the feedback rows in PostgreSQL. Knows no Kafka."""
