"""Threads beside those that classify."""

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

# A tenth of the weight of a thread that classifies (sched(7)).
_NICENESS: Final = 10


def lower_priority() -> None:
    """Lower the calling thread's priority, and that of the threads it starts. It can never be raised again.

    Not for work that keeps Python's lock for long, such as loading a tokenizer: among other busy processes such a
    thread hardly runs, and every other thread waits for its lock.
    """
    if sys.platform == "linux":  # elsewhere niceness belongs to the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def in_background(call: Callable[[], T], name: str) -> "Future[T]":
    """Run a call in a thread of its own, which does not keep the process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 (it is raised where the result is asked for)
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future
