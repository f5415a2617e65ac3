"""What the engine tells about a window, and the listener that hears nothing."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol

from consumer.outcomes import StandingOutcome
from consumer.records import SourceRecord


class WindowTrace(Protocol):
    """The trace of one window, handed on with it: windows overlap, so that there is no current one."""

    def step(self, name: str) -> AbstractContextManager[object]:
        """Time a step of the window, in whichever thread runs it. An exception marks it as failed and goes on."""
        ...

    def settled(self, stands: Sequence[tuple[SourceRecord, StandingOutcome]]) -> None:
        """The window is visible: these outcomes stand."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """The window is done, or was dropped because of `error`: its records come again in other windows."""
        ...


class Tracing(Protocol):
    """Where traces come from, and go to."""

    def begin(self, records: Sequence[SourceRecord]) -> WindowTrace:
        """Begin the trace of a window of at least one record."""
        ...

    def close(self, timeout_s: float) -> None:
        """Send what is left, for at most `timeout_s` seconds. Never raises."""
        ...


class _NoTrace:
    def step(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002
        return _NOTHING

    def settled(self, stands: Sequence[tuple[SourceRecord, StandingOutcome]]) -> None:
        pass

    def end(self, error: BaseException | None = None) -> None:
        pass


class _NoTracing:
    def begin(self, records: Sequence[SourceRecord]) -> WindowTrace:  # noqa: ARG002
        return NO_TRACE

    def close(self, timeout_s: float) -> None:
        pass


_NOTHING: Final = nullcontext()
NO_TRACE: Final[WindowTrace] = _NoTrace()
NO_TRACING: Final[Tracing] = _NoTracing()
