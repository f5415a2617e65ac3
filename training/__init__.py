"""Fine-tuning and evaluation of the feedback classifier."""

# Before anything imports onnxruntime: it sets its telemetry off.
import consumer.inference  # noqa: F401
