"""Checkpoints into verified ONNX bundles: export, optimise, quantise, calibrate, gate."""

# Before anything imports onnxruntime: it sets its telemetry off.
import consumer.inference  # noqa: F401
