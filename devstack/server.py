"""What Kafka's brokers and PostgreSQL have in common: a detached server process with a log and a recorded id."""

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from devstack import ports, processes
from devstack.errors import DevstackError
from devstack.processes import Account, ProcessRecord

_STOP_DEADLINE_S = 20.0
_POLL_S = 0.1


class Server(ABC):
    """One server process that outlives the command that started it.

    Attributes:
        name: Its name in the status table.
        port: The port that it serves clients on.
        data: Folder with its data.
        log: File with its standard output and error.
    """

    stop_signal = signal.SIGTERM
    """The signal that asks for an orderly end."""

    def __init__(self, *, name: str, port: int, data: Path, log: Path, record: Path) -> None:
        self.name = name
        self.port = port
        self.data = data
        self.log = log
        self._record = record
        self._log_start_bytes = 0

    @property
    def address(self) -> str:
        """``host:port`` for clients."""
        return f"{ports.HOST}:{self.port}"

    def pid(self) -> int | None:
        """Return the process id, or None when the server does not run."""
        record = self.record()
        return record.pid if record is not None and record.find() is not None else None

    def record(self) -> ProcessRecord | None:
        """Return the process that was started last, whether it still runs or not; None if there never was one."""
        return ProcessRecord.load(self._record)

    @abstractmethod
    def answers(self, timeout_s: float = 3.0) -> bool:
        """Tell whether the server does what a client needs."""

    def wait_until_ready(self, deadline: float) -> None:
        """Wait until the server answers.

        Args:
            deadline: Time of ``time.monotonic()`` to give up at.

        Raises:
            DevstackError: The process ended, or the deadline passed; with the last lines of its log.
        """
        while not self.answers():
            if self.pid() is None:
                reason = "stopped while starting"
            elif time.monotonic() > deadline:
                reason = "does not answer"
            else:
                time.sleep(_POLL_S)
                continue
            raise DevstackError(f"{self.name} {reason}. {processes.log_tail(self.log, self._log_start_bytes)}")

    def stop(self) -> None:
        """Stop in order, and by force after a deadline; data and port stay."""
        stop_together([self])

    def kill(self) -> None:
        """End at once as a crash would (SIGKILL); data and port stay."""
        if (record := self.record()) is not None:
            processes.kill(record)

    def _start_process(
        self, command: Sequence[str], environment: Mapping[str, str], account: Account | None = None
    ) -> None:
        self._log_start_bytes = self.log.stat().st_size if self.log.exists() else 0
        processes.start_detached(command, log=self.log, record=self._record, environment=environment, account=account)


def stop_together(servers: Sequence[Server]) -> None:
    """Stop servers in order, all at once: the last broker of a quorum would wait in vain for the others.

    When this is interrupted, the servers are killed: nothing stays behind.
    """
    records = [(server.stop_signal, record) for server in servers if (record := server.record()) is not None]
    try:
        for stop_signal, record in records:
            processes.send_signal(record, stop_signal)
        for _, record in records:
            processes.wait_or_kill(record, _STOP_DEADLINE_S)
    except BaseException:
        for _, record in records:
            processes.kill(record)
        raise
