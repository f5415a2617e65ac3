"""Something that goes on in a thread of its own from `with` to the end of the block."""

import threading
from types import TracebackType
from typing import Self


class Background:
    """Runs `_run` until it ends, or until `_stopping` is set: `_run` must look at it often."""

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._halt()

    def _halt(self) -> None:
        """Tell it to end, and wait until it has."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError
