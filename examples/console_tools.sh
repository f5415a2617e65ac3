#!/usr/bin/env bash
# Publish feedback and read a result with nothing but the tools of Apache Kafka (its bin/ folder on the PATH).
# Run it with KAFKA_BOOTSTRAP_SERVERS set. Before Kafka 4.2, --reader-property and --formatter-property were --property.
set -euo pipefail

# One record a line: headers, a tab, the key, a tab, the event.
printf '%s\t%s\t%s\n' \
  'schema-version:1,content-type:application/json' \
  'customer-4711' \
  "{\"occurred_at\": \"$(date -u +%Y-%m-%dT%H:%M:%SZ)\", \"source\": \"web\", \"text\": \"The export button does nothing.\"}" |
  kafka-console-producer.sh --bootstrap-server "$KAFKA_BOOTSTRAP_SERVERS" --topic feedback.events \
    --reader-property parse.headers=true --reader-property parse.key=true

# read_committed is not the default of Java clients: without it, results of unfinished transactions show.
kafka-console-consumer.sh --bootstrap-server "$KAFKA_BOOTSTRAP_SERVERS" --topic feedback.classified \
  --group example-console --from-beginning --max-messages 1 --timeout-ms 60000 \
  --isolation-level read_committed --formatter-property print.headers=true --formatter-property print.key=true
