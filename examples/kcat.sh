#!/usr/bin/env bash
# Publish feedback and read a result with kcat. Run it with KAFKA_BOOTSTRAP_SERVERS set.
set -euo pipefail

printf '{"occurred_at": "%s", "source": "web", "text": "The export button does nothing."}' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" |
  kcat -P -b "$KAFKA_BOOTSTRAP_SERVERS" -t feedback.events -k customer-4711 \
    -H schema-version=1 -H content-type=application/json -X partitioner=murmur2_random

# librdkafka, and so kcat, reads with isolation.level=read_committed by default.
kcat -C -b "$KAFKA_BOOTSTRAP_SERVERS" -t feedback.classified -o beginning -c 1
