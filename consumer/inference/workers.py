"""A fixed set of threads that run onnxruntime calls, each under a deadline that can end the call."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from queue import SimpleQueue
from typing import Final, Generic, Protocol, TypeVar

from onnxruntime import RunOptions

from consumer.errors import FatalError

_STOP_WAIT_S: Final = 5.0

ResultT = TypeVar("ResultT")


class InferenceTimeout(Exception):  # noqa: N818 - the field's name for it, as in concurrent.futures
    """A call did not end by its deadline and was stopped."""


class _Runnable(Protocol):
    def execute(self) -> None: ...


class _Job(Generic[ResultT]):
    """One call, its run options (through which it can be told to stop) and what came of it."""

    def __init__(self, call: Callable[[RunOptions], ResultT]) -> None:
        self._call = call
        self.options = RunOptions()
        self.future: Future[ResultT] = Future()
        self.started_at: float | None = None
        self.terminated_at: float | None = None

    def execute(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        self.started_at = time.monotonic()
        try:
            result = self._call(self.options)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for the result
            self.future.set_exception(error)
        else:
            self.future.set_result(result)

    def terminate(self) -> None:
        self.terminated_at = time.monotonic()
        self.options.terminate = True

    def result(self) -> ResultT:
        try:
            return self.future.result()
        except Exception as error:
            if self.terminated_at is not None:
                raise InferenceTimeout("the call passed its deadline and was stopped") from error
            raise


class Workers:
    """Runs calls concurrently; onnxruntime lets go of the GIL inside `session.run`.

    The threads are daemons: a call that never returns must not keep the process from exiting.
    """

    def __init__(self, threads: int, *, deadline_s: float, grace_s: float) -> None:
        """Start the threads.

        Args:
            threads: how many calls run at the same time.
            deadline_s: a call that runs longer is told to stop, by `RunOptions.terminate`.
            grace_s: how long a call may take to obey.
        """
        self._deadline_s = deadline_s
        self._grace_s = grace_s
        self._hung = False
        self._queue: SimpleQueue[_Runnable | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def __len__(self) -> int:
        return len(self._threads)

    def run(self, calls: Sequence[Callable[[RunOptions], ResultT]]) -> list[ResultT]:
        """Run all calls and return their results in the order of the calls. May be called from several threads.

        When a call fails, those that have not started are dropped; none of them still runs when this returns.

        Raises:
            InferenceTimeout: a call passed its deadline and obeyed.
            FatalError: a call passed its deadline and did not obey; from then on every run raises it.
            Exception: what the first failing call raised.
        """
        if self._hung:
            raise FatalError("an earlier inference call never returned; this process must be restarted")
        jobs = [_Job(call) for call in calls]
        for job in jobs:
            self._queue.put(job)
        try:
            self._watch(jobs)
        finally:
            for job in jobs:
                job.future.cancel()
        failures = [job for job in jobs if not job.future.cancelled() and job.future.exception() is not None]
        return [job.result() for job in failures or jobs]

    def close(self) -> None:
        """Stop the threads; waits a short time for calls that still run."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(_STOP_WAIT_S)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job.execute()

    def _watch(self, jobs: Sequence[_Job[ResultT]]) -> None:
        pending = set(jobs)
        while pending:
            now = time.monotonic()
            until = min(self._next_check_at(job, now) for job in pending)
            wait([job.future for job in pending], timeout=max(0.0, until - now), return_when=FIRST_COMPLETED)
            done = {job for job in pending if job.future.done()}
            pending -= done
            if any(job.future.exception() is not None for job in done):
                pending = {job for job in pending if not job.future.cancel()}
            for job in pending:
                self._enforce_deadline(job)

    def _next_check_at(self, job: _Job[ResultT], now: float) -> float:
        if job.terminated_at is not None:
            return job.terminated_at + self._grace_s
        return (job.started_at or now) + self._deadline_s

    def _enforce_deadline(self, job: _Job[ResultT]) -> None:
        now = time.monotonic()
        if now < self._next_check_at(job, now):
            return
        if job.terminated_at is None:
            job.terminate()
            return
        self._hung = True
        raise FatalError(
            f"an inference call did not stop within {self._grace_s:g} s after its deadline of {self._deadline_s:g} s; "
            "this process must be restarted"
        )
