"""The real `erase` command with a seam before the steps of an erasure, where a signal hits the process.

Usage: `python -m tests.security.erasure.dying_erase STEP N ARGUMENT...`: runs `python -m consumer erase ARGUMENT...`,
and kills itself before step STEP for the Nth time. Steps: announce, wait, chunk, note. A chunk is 10 rows here.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from consumer.__main__ import app
from consumer.operations.erasure import eraser, erasing

SEAMS: dict[str, tuple[Any, str]] = {
    "announce": (eraser.Eraser, "announce"),
    "wait": (erasing, "wait_for_writers"),
    "chunk": (eraser.Eraser, "_erase_chunk"),
    # In the middle of a transaction: everything of the chunk is done but its audit.
    "note": (eraser.Eraser, "_note"),
}


def main(step: str, times: int, arguments: list[str]) -> None:
    left = times
    owner, name = SEAMS[step]
    original: Callable[..., Any] = getattr(owner, name)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, name, interrupted)
    eraser.CHUNK_ROWS = 10  # type: ignore[misc]
    app(["erase", *arguments])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
