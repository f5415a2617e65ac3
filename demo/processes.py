"""The project's own programs, started as production starts them: `python -m ...` with settings in the environment."""

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_READY_TIMEOUT_S: Final = 90.0
# The consumer drains within 25 s of SIGTERM.
_STOP_TIMEOUT_S: Final = 30.0
_LOG_LINES: Final = 20


class SetupError(Exception):
    """The demonstration cannot run or go on. `log` holds the last lines of the program that failed, if any."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


def run_module(*arguments: str, environment: Mapping[str, str]) -> None:
    """Run `python -m` with these arguments to its end.

    Raises:
        SetupError: it exited with another status than 0.
    """
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SetupError(f"python -m {' '.join(arguments)} exited with {done.returncode}", _last_lines(done.stdout))


class ConsumerProcess:
    """`python -m consumer run`, as a process and session of its own: a Ctrl-C at the terminal does not reach it."""

    def __init__(self, environment: Mapping[str, str], log_path: Path) -> None:
        self._port = _free_port()
        self._environment = {**environment, "CONSUMER_HTTP_PORT": str(self._port)}
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def start(self) -> None:
        """Start the process; leaving the context ends it, however far this call came."""
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "consumer", "run"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait until `/health/ready` answers 200.

        Raises:
            SetupError: the process ended, or did not become ready in time.
        """
        deadline_s = time.monotonic() + _READY_TIMEOUT_S
        while not is_ready(self._port):
            self.check()
            if time.monotonic() > deadline_s:
                raise SetupError(f"the consumer was not ready within {_READY_TIMEOUT_S:.0f} s", self._log())
            time.sleep(0.1)

    def check(self) -> None:
        """Raise SetupError if the process ended."""
        if self._running() is None:
            status = None if self._process is None else self._process.returncode
            raise SetupError(f"the consumer ended by itself with exit status {status}", self._log())

    def stop(self) -> None:
        """Stop it by SIGTERM, as an orchestrator would: it drains and commits.

        Raises:
            SetupError: it had ended before, did not end in time, or exited with another status than 0.
        """
        self.check()
        status = self._end()
        if status != 0:
            raise SetupError(f"the consumer exited with status {status} after SIGTERM", self._log())

    def _running(self) -> subprocess.Popen[bytes] | None:
        return self._process if self._process is not None and self._process.poll() is None else None

    def _end(self) -> int:
        process = self._running()
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _log(self) -> str:
        return _last_lines(self._log_path.read_text("utf-8", errors="replace"))


def is_ready(port: int, timeout_s: float = 2.0) -> bool:
    """Tell whether the consumer whose HTTP server listens on a local port joined the group and works."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _last_lines(log: str) -> str:
    return "\n".join(log.strip().splitlines()[-_LOG_LINES:])
