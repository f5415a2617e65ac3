"""The orchestrator: keeps a number of consumer processes running, restarts what ends, and remembers why it ended."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from demo.processes import is_ready
from devstack import ports
from tests.chaos.background import Background
from tests.chaos.orders import ORDERS_VARIABLE, Order, Orders

SLOTS: Final = 3
_TICK_S: Final = 0.1
_STOP_S: Final = 30.0
_ORDER_S: Final = 15.0
_SHORT_LIFE_S: Final = 10.0
_FIRST_BACKOFF_S: Final = 0.2
_MAX_BACKOFF_S: Final = 5.0
# In a row, each soon after its start: an orchestrator would call it a crash loop.
_STORM_EXITS: Final = 6
_LAST_LINES: Final = 5
_PROBE_EVERY_S: Final = 5.0
_PROBE_TIMEOUT_S: Final = 1.0


class NotInjectedError(Exception):
    """The fault did not come to pass, such as when the process had nothing to do. It does not count."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of a process that nobody had asked to end."""

    slot: int
    code: int
    at_s: float
    reason: str


@dataclass(eq=False)
class Replica:
    """One slot: a replica id, its port and orders, and the process that fills it now."""

    slot: int
    port: int
    orders: Orders
    process: "subprocess.Popen[bytes] | None" = None
    log: Path = field(default_factory=Path)
    starts: int = 0
    started_s: float = 0.0
    restart_s: float = 0.0
    short_lives: int = 0
    is_wanted: bool = False

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def is_ready(self) -> bool:
        """Whether it joined the group and works."""
        return self.is_running and is_ready(self.port)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs.

        Raises:
            NotInjectedError: it does not run.
        """
        if self.process is None or self.process.poll() is not None:
            raise NotInjectedError(f"replica {self.slot} does not run")
        self.process.send_signal(number)

    def order(self, order: Order) -> None:
        """Give an order and wait until it is obeyed.

        Raises:
            NotInjectedError: it did not come to that step in time.
        """
        self.orders.give(order)
        deadline_s = time.monotonic() + _ORDER_S
        while not self.orders.is_taken():
            if time.monotonic() > deadline_s and self.orders.withdraw():
                raise NotInjectedError(f"replica {self.slot} did not come to {order.step}")
            time.sleep(0.02)


class Fleet(Background):
    """At most `SLOTS` consumers of one group.

    Attributes:
        exits: ends that nobody had asked for, with the last reason in the log.
        findings: what no healthy consumer does, in words.
        restarts: how often each slot was started again.
    """

    def __init__(self, environment: Mapping[str, str], command: tuple[str, ...], work: Path) -> None:
        self.exits: list[Exit] = []
        self.findings: list[str] = []
        self.restarts: Counter[int] = Counter()
        self.replicas = [
            Replica(slot, port, Orders(work / f"orders-{slot}.json")) for slot, port in enumerate(ports.choose(SLOTS))
        ]
        self._environment = environment
        self._command = command
        self._work = work
        self._twins: list[subprocess.Popen[bytes]] = []
        self._may_exit = False
        self._lock = threading.RLock()
        super().__init__("fleet")

    def _halt(self) -> None:
        super()._halt()
        processes = [*self._twins, *(replica.process for replica in self.replicas if replica.process is not None)]
        for process in processes:
            process.kill()
            process.wait()

    @property
    def running(self) -> list[Replica]:
        """The replicas that are wanted and run now."""
        with self._lock:
            return [replica for replica in self.replicas if replica.is_wanted and replica.is_running]

    @property
    def pids(self) -> list[int]:
        return [replica.process.pid for replica in self.running if replica.process is not None]

    def scale(self, count: int) -> None:
        """Let so many replicas run. Those beyond are ended by SIGTERM, and awaited: they must exit with 0."""
        with self._lock:
            for replica in self.replicas[:count]:
                replica.is_wanted = True
            surplus = [replica for replica in self.replicas[count:] if replica.is_wanted]
            for replica in surplus:
                replica.is_wanted = False
        for replica in surplus:
            with suppress(NotInjectedError):
                replica.send(signal.SIGTERM)
        for replica in surplus:
            self._await_end(replica)

    def stop(self) -> None:
        """End all of them in good order."""
        self.heal()
        self.scale(0)

    def heal(self) -> None:
        """Wake what is frozen, withdraw what is ordered, end the twins."""
        for replica in self.replicas:
            replica.orders.withdraw()
            with suppress(NotInjectedError):
                replica.send(signal.SIGCONT)
        with self._lock:
            twins, self._twins = self._twins, []
        for twin in twins:
            twin.kill()
            twin.wait()

    @contextmanager
    def expecting_exits(self) -> Iterator[None]:
        """A time in which consumers must refuse to work: that they do so again and again is no storm."""
        self._may_exit = True
        try:
            yield
        finally:
            self._may_exit = False
            for replica in self.replicas:
                replica.short_lives = 0

    def wait_until(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        """Wait for a condition about the fleet, at most so many seconds."""
        until_s = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > until_s:
                return False
            time.sleep(_TICK_S)
        return True

    def all_ready(self) -> bool:
        """Whether every wanted replica joined the group and works."""
        return all(replica.is_ready() for replica in self.replicas if replica.is_wanted)

    def add_twin(self, replica: Replica) -> None:
        """Start a second process with a replica's identity; the one of the two that survives fills the slot.

        Raises:
            NotInjectedError: the replica does not run.
        """
        with self._lock:
            if not replica.is_running:
                raise NotInjectedError(f"replica {replica.slot} does not run")
            older, older_log = replica.process, replica.log
            # From here on the newer one fills the slot; the older one is only watched.
            self._start(replica)
            if older is not None:
                self._twins.append(older)
        if older is None or not self.wait_until(lambda: older.poll() is not None, _STOP_S):
            self.findings.append(f"two processes with the identity of replica {replica.slot} lived side by side")
        elif older.returncode > 0:
            self._remember(replica.slot, older.returncode, older_log)

    def _run(self) -> None:
        next_probe_s = 0.0
        while not self._stopping.wait(_TICK_S):
            if time.monotonic() >= next_probe_s:
                next_probe_s = time.monotonic() + _PROBE_EVERY_S
                self._end_the_hung()
            with self._lock:
                for replica in self.replicas:
                    if replica.is_wanted and not replica.is_running:
                        self._bring_back(replica)

    def _end_the_hung(self) -> None:
        """What a liveness probe is for. One that is frozen does not answer at all, and is left to its fault."""
        for replica in self.running:
            reason = why_not_live(replica.port)
            if reason is not None and replica.process is not None:
                self.exits.append(Exit(replica.slot, -signal.SIGKILL, time.monotonic(), f"not alive: {reason}"))
                replica.process.kill()

    def _bring_back(self, replica: Replica) -> None:
        now_s = time.monotonic()
        if replica.process is not None:
            self._note_end(replica, replica.process.returncode, now_s)
            replica.process = None
        if now_s >= replica.restart_s:
            self._start(replica)

    def _note_end(self, replica: Replica, code: int, now_s: float) -> None:
        self.restarts[replica.slot] += 1
        # Killed by a fault, or stopped by one: it came to that without a fault of its own.
        if code <= 0:
            replica.short_lives = 0
            replica.restart_s = now_s + _FIRST_BACKOFF_S
            return
        self._remember(replica.slot, code, replica.log)
        replica.short_lives = replica.short_lives + 1 if now_s - replica.started_s < _SHORT_LIFE_S else 1
        replica.restart_s = now_s + min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2**replica.short_lives)
        if replica.short_lives == _STORM_EXITS and not self._may_exit:
            self.findings.append(f"restart storm of replica {replica.slot}: {self.exits[-1].reason}")

    def _remember(self, slot: int, code: int, log: Path) -> None:
        self.exits.append(Exit(slot, code, time.monotonic(), last_reason(log)))

    def _start(self, replica: Replica) -> None:
        replica.starts += 1
        replica.started_s = time.monotonic()
        replica.log = self._work / f"consumer-{replica.slot}-{replica.starts}.log"
        # A twin takes another port: the older process still holds the slot's.
        is_twin = replica.is_running
        if is_twin:
            [replica.port] = ports.choose(1)
        with replica.log.open("wb") as log:
            replica.process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                env={
                    **os.environ,
                    **self._environment,
                    "CONSUMER_REPLICA_ID": str(replica.slot),
                    "CONSUMER_HTTP_PORT": str(replica.port),
                    ORDERS_VARIABLE: str(replica.orders.path),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _await_end(self, replica: Replica) -> None:
        process = replica.process
        if process is None:
            return
        try:
            code = process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.findings.append(f"replica {replica.slot} did not end within {_STOP_S:.0f} s of SIGTERM")
            process.kill()
            process.wait()
        else:
            if code > 0 and not self._may_exit:
                self.findings.append(
                    f"replica {replica.slot} exited with {code} on SIGTERM: {last_reason(replica.log)}"
                )
        with self._lock:
            replica.process = None
            replica.restart_s = 0.0


def why_not_live(port: int) -> str | None:
    """What `/health/live` says where it says no; None where it says yes, or nothing."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=_PROBE_TIMEOUT_S):
            return None
    except urllib.error.HTTPError as refused:
        with refused:
            return str(json.loads(refused.read()).get("reason"))
    except (OSError, ValueError):
        return None


def last_reason(log: Path) -> str:
    """What the last line of a consumer's log gives as the reason, or that line."""
    lines = log.read_text("utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
    for line in reversed(lines):
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("event") in {"fatal", "crashed"}:
                return str(entry.get("reason") or f"{entry.get('error')} at {entry.get('at')}")
    return lines[-1][:300] if lines else "an empty log"
