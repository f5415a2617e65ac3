"""From texts to verdicts: bundles, tokenisation, token-budget batches, onnxruntime. Knows no Kafka and no database."""

import os

# The official onnxruntime builds send usage events to their vendor unless this stands before the first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Its threads follow the host's cores, not the container's quota, and would save under 1 % of the time of a batch.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
