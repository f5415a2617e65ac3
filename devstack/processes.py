"""Servers that outlive the command that started them: start, recognise again, stop."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import psutil

from devstack.errors import DevstackError

_POLL_S = 0.05
_RUN_TIMEOUT_S = 120
_KILL_DEADLINE_S = 10.0
_SAME_START_TOLERANCE_S = 2.0
"""psutil derives a start time from the boot time, which moves a little when the clock is set."""

LOG_TAIL_LINES = 15


@dataclass(frozen=True)
class Account:
    """An operating-system account that a server runs as instead of the caller's."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessRecord:
    """A process that can be recognised later, even if its id has been given to another one since.

    Attributes:
        pid: Process id.
        started_at: Start time in seconds since the epoch.
    """

    pid: int
    started_at: float

    def find(self) -> psutil.Process | None:
        """Return the process if it still runs.

        A zombie that another parent has not reaped does not run; one whose threads are still ending does.
        """
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started_at) >= _SAME_START_TOLERANCE_S:
                return None
            try:
                # Reaps it when it was started by this very process.
                return None if os.waitpid(self.pid, os.WNOHANG)[0] == self.pid else process
            except ChildProcessError:
                ended = process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1
                return None if ended else process
        except psutil.NoSuchProcess:
            return None

    def save(self, path: Path) -> None:
        """Write the record to ``path``."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "ProcessRecord | None":
        """Read a record back; None if there is none or it was cut off while being written."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def start_detached(
    command: Sequence[str],
    *,
    log: Path,
    record: Path,
    environment: Mapping[str, str],
    account: Account | None = None,
) -> None:
    """Start ``command`` in a session of its own, so that neither Ctrl-C nor the end of the caller reaches it.

    Args:
        command: Program and arguments.
        log: File that standard output and error are appended to.
        record: Where the process is written down.
        environment: The whole environment of the process.
        account: Account to run as; None is the caller's.
    """
    with log.open("ab") as output, _interrupts_deferred():
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
            start_new_session=True,
            **credentials(account),
        )
        # It outlives us on purpose; without a return code Popen's finaliser would warn about that.
        process.returncode = 0
        ProcessRecord(process.pid, psutil.Process(process.pid).create_time()).save(record)


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM take effect only at the end: no process may exist that is not written down."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Signal handlers run in the main thread alone.
        return
    arrived: list[int] = []
    handlers = {
        number: signal.signal(number, lambda received, _frame: arrived.append(received))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for received in arrived:
            signal.raise_signal(received)


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    account: Account | None = None,
    text: str | None = None,
) -> None:
    """Run a short command that prepares a server, to its end.

    Args:
        command: Program and arguments.
        environment: Its whole environment.
        account: Account to run as; None is the caller's.
        text: What it reads from standard input.

    Raises:
        DevstackError: It failed or did not end in time; with the last lines that it wrote.
    """
    try:
        outcome = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=_RUN_TIMEOUT_S,
            cwd="/",
            env=environment,
            **credentials(account),
        )
    except subprocess.TimeoutExpired:
        raise DevstackError(f"{Path(command[0]).name} did not end within {_RUN_TIMEOUT_S} s.") from None
    # PostgreSQL's single-user mode reports a failed statement and still ends with 0.
    if outcome.returncode != 0 or "ERROR:" in outcome.stdout:
        last_lines = "\n".join(f"  {line}" for line in outcome.stdout.splitlines()[-LOG_TAIL_LINES:])
        raise DevstackError(f"{Path(command[0]).name} failed with exit code {outcome.returncode}:\n{last_lines}")


class Credentials(TypedDict, total=False):
    """The arguments of ``subprocess`` that choose an account."""

    user: int
    group: int
    extra_groups: list[int]


def credentials(account: Account | None) -> Credentials:
    """Return the arguments that make ``subprocess`` run as ``account``."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def send_signal(record: ProcessRecord, number: signal.Signals) -> None:
    """Send a signal to a process, if it still runs."""
    process = record.find()
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_or_kill(record: ProcessRecord, deadline_s: float) -> None:
    """Wait until a process has ended; after ``deadline_s`` kill it together with its children."""
    if not _wait_until_gone([record], deadline_s):
        kill(record)


def kill(record: ProcessRecord) -> None:
    """End a process and its children at once (SIGKILL) and wait until they are gone.

    Raises:
        TimeoutError: The kernel did not end one of them in time (it hangs in a system call).
    """
    process = record.find()
    if process is None:
        return
    with suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        records = [record]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                records.append(ProcessRecord(member.pid, member.create_time()))
                member.kill()
        if not _wait_until_gone(records, _KILL_DEADLINE_S):
            raise TimeoutError(f"process {record.pid} does not end after SIGKILL")


def _wait_until_gone(records: Sequence[ProcessRecord], deadline_s: float) -> bool:
    deadline = time.monotonic() + deadline_s
    while any(record.find() is not None for record in records):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def log_tail(log: Path, start_bytes: int = 0) -> str:
    """Return the last lines that ``log`` holds after ``start_bytes``, with the name of the file."""
    try:
        with log.open("rb") as file:
            file.seek(start_bytes)
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        lines = []
    if not lines:
        return f"Its log {log} is empty."
    return "\n".join([f"Last lines of {log}:", *(f"  {line}" for line in lines[-LOG_TAIL_LINES:])])
