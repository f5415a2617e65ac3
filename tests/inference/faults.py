"""A session that fails on certain words, around the tiny bundle's real one."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import RunOptions

from consumer.inference.session import INPUT_IDS, Feed, open_session
from tests.inference.tiny_bundle import WORD_IDS


class FaultySession:
    """Runs the tiny graph, unless a text of the batch holds one of the words of `tiny_bundle.WORDS`.

    `poison` raises; `nan` spoils the scores of the whole batch; `hang` runs until it is told to stop; `stuck` runs
    until the test calls `release`. While `broken_by` is set, every run raises it.
    """

    def __init__(self, model: Path | bytes) -> None:
        self._session = open_session(model)
        self._released = threading.Event()
        self.broken_by: Exception | None = None

    def release(self) -> None:
        self._released.set()

    def run(
        self, output_names: Sequence[str], input_feed: Feed, run_options: RunOptions, /
    ) -> Sequence[NDArray[np.floating[Any]]]:
        def holds(word: str) -> bool:
            return bool((input_feed[INPUT_IDS] == WORD_IDS[word]).any())

        if self.broken_by is not None:
            raise self.broken_by
        if holds("poison"):
            raise RuntimeError("the graph cannot digest this")
        if holds("hang"):
            while not run_options.terminate:
                self._released.wait(0.005)
            raise RuntimeError("told to stop")
        if holds("stuck"):
            self._released.wait()
        outputs = self._session.run(output_names, input_feed, run_options)
        return [output * np.nan for output in outputs] if holds("nan") else outputs
