"""The onnxruntime session: options that suit many small calls on few CPUs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnxruntime import ExecutionMode, InferenceSession, RunOptions, SessionOptions

from consumer.inference.manifest import MODEL_FILE, BundleError

INPUT_IDS: Final = "input_ids"
ATTENTION_MASK: Final = "attention_mask"

Feed: TypeAlias = Mapping[str, NDArray[np.int64]]
"""Graph input name to int64 [batch, length]."""


class GraphSession(Protocol):
    """The part of `onnxruntime.InferenceSession` that classification uses. Called from several threads at once."""

    def run(
        self, output_names: Sequence[str], input_feed: Feed, run_options: RunOptions, /
    ) -> Sequence[NDArray[np.floating[Any]]]:
        """Run the graph on one batch; a list with one array [batch, labels] for each output name."""
        ...


def open_session(model: Path | bytes, shown: Path | None = None) -> InferenceSession:
    """Open a graph on the CPU with one compute thread a call; concurrency comes from concurrent calls.

    Measured with two CPUs: two calls of one thread each do more texts a second than one call of two threads. The
    memory arena is off because it keeps the largest size of every shape it has met. A file is ONNX and nothing else,
    whatever it looks like; no library of further operators is ever registered.

    Args:
        model: the file, or its bytes.
        shown: named in messages.

    Raises:
        BundleError: onnxruntime cannot load the file.
    """
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    try:
        return InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        place = shown or (model if isinstance(model, Path) else MODEL_FILE)
        raise BundleError(f"{place}: onnxruntime cannot load it ({type(error).__name__}); export it again") from error
