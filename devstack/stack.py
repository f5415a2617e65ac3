"""One stack in one folder: Kafka and PostgreSQL together."""

import base64
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from devstack import ports
from devstack.errors import DevstackError
from devstack.kafka import Kafka
from devstack.placement import choose_home
from devstack.postgres import Postgres
from devstack.progress import Steps
from devstack.secure_kafka import ADMINISTRATOR, USERS, WITHOUT_DATABASE, SecureKafka
from devstack.server import Server, stop_together
from devstack.state import State

STATE_FILE = "state.json"

_QUORUM_SIZES = (1, 3)


@dataclass(frozen=True)
class ServerStatus:
    """How one server is.

    Attributes:
        state: ``running`` when it answers; ``not answering`` when only its process is there.
        pid: Process id, None when it does not run.
    """

    name: str
    state: Literal["running", "not answering", "stopped"]
    pid: int | None
    address: str
    data: Path
    log: Path


class Stack:
    """A Kafka and a PostgreSQL whose data, ports and process ids live in ``directory``.

    As a context manager it stops the stack at the end and keeps its data.

    Attributes:
        directory: The folder; it is created by ``up`` and removed by ``clean``.
    """

    def __init__(self, directory: Path, brokers: int | None = None, *, secure: bool | None = None) -> None:
        """Describe a stack without touching anything.

        Args:
            directory: The folder of the stack.
            brokers: Number of Kafka brokers, 1 or 3; None is what the folder holds already, else 1.
            secure: Whether Kafka encrypts, and asks for logins and rights; None is what the folder holds already,
                else not.

        Raises:
            ValueError: Another number of brokers.
        """
        if brokers is not None and brokers not in _QUORUM_SIZES:
            raise ValueError(f"a stack has {' or '.join(map(str, _QUORUM_SIZES))} brokers, not {brokers}")
        self.directory = directory.absolute()
        self._brokers = brokers
        self._secure = secure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.down()

    @property
    def kafka(self) -> Kafka:
        """The brokers.

        Raises:
            DevstackError: The stack was never started.
        """
        return self._kafka(self._state())

    @property
    def postgres(self) -> Postgres:
        """The database server.

        Raises:
            DevstackError: The stack was never started.
        """
        return self._postgres(self._state())

    @property
    def is_secure(self) -> bool:
        """Whether Kafka encrypts, and asks for logins and rights.

        Raises:
            DevstackError: The stack was never started.
        """
        return self._state().is_secure

    def up(self, progress: bool = False) -> None:
        """Start what does not run yet and wait until Kafka and PostgreSQL answer.

        Data and, where they are still free, ports of an earlier start are used again. When it fails or is interrupted,
        it stops what it started.

        Args:
            progress: Show on standard error what happens.

        Raises:
            DevstackError: A server does not come up, or the folder belongs to something else.
        """
        self._create_directory()
        with self._exclusively():
            state = self._current_or_new_state()
            kafka, postgres = self._kafka(state), self._postgres(state)
            stopped = [server for server in (*kafka.brokers, postgres) if server.pid() is None]
            try:
                with Steps(enabled=progress and bool(stopped)) as steps:
                    steps.begin("Starting Kafka")
                    if isinstance(kafka, SecureKafka):
                        kafka.prepare()
                    kafka.launch(on_download=steps.downloaded)
                    steps.begin("Starting PostgreSQL")
                    postgres.start()
                    steps.begin("Waiting for Kafka")
                    kafka.wait_until_ready()
                    if isinstance(kafka, SecureKafka):
                        kafka.create_users()
            except BaseException:
                stop_together(stopped)
                raise

    def down(self) -> None:
        """Stop both in order, if they run; data and ports stay.

        Raises:
            DevstackError: The folder belongs to another account.
        """
        if (state := self._load_state()) is not None:
            with self._exclusively():
                stop_together(self._servers(state))

    def clean(self) -> None:
        """Stop both and remove the folder with all data.

        Raises:
            DevstackError: The folder holds no stack, or belongs to another account.
        """
        if not self.directory.exists():
            return
        self._refuse_foreign_directory()
        with self._exclusively():
            if (state := self._load_state()) is not None:
                # Brokers without data to keep need no orderly end; PostgreSQL would leave shared memory behind.
                self._kafka(state).kill()
                self._postgres(state).stop()
                shutil.rmtree(state.postgres_home, ignore_errors=True)
            shutil.rmtree(self.directory)

    def status(self) -> list[ServerStatus]:
        """Look at each server; empty if the stack was never started."""
        state = self._load_state()
        return [] if state is None else [_look_at(server) for server in self._servers(state)]

    def environment(self, user: str | None = None, *, by_certificate: bool = False) -> dict[str, str]:
        """Return the ``KAFKA_*`` variables and ``DATABASE_URL``; the latter holds the database's password.

        Args:
            user: Who logs in to Kafka; a secure stack asks, a plain one knows nobody.
            by_certificate: Log in with a certificate instead of a password.

        Raises:
            DevstackError: The stack was never started, or knows no such user.
        """
        kafka = self.kafka
        if isinstance(kafka, SecureKafka):
            if user is None:
                users = ", ".join((*USERS, ADMINISTRATOR))
                raise DevstackError(f"{self.directory} holds a secure stack: say who logs in ({users}).")
            variables = kafka.environment(user, by_certificate=by_certificate)
            if user in WITHOUT_DATABASE:
                return variables
        elif user is not None or by_certificate:
            raise DevstackError(f"{self.directory} holds a plain stack, which knows no users.")
        else:
            variables = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
        return {**variables, "DATABASE_URL": self.postgres.url}

    def _kafka(self, state: State) -> Kafka:
        if state.is_secure:
            return SecureKafka(
                self.directory, state.cluster_id, state.broker_ports, state.controller_ports, state.certificate_ports
            )
        return Kafka(self.directory, state.cluster_id, state.broker_ports, state.controller_ports)

    def _postgres(self, state: State) -> Postgres:
        return Postgres(self.directory, Path(state.postgres_home), state.postgres_port)

    def _servers(self, state: State) -> list[Server]:
        return [*self._kafka(state).brokers, self._postgres(state)]

    def _state(self) -> State:
        state = self._load_state()
        if state is None:
            raise DevstackError(f"There is no stack in {self.directory}; start one with `python -m devstack up`.")
        return state

    def _load_state(self) -> State | None:
        if self.directory.exists():
            self._refuse_foreign_directory()
        return State.load(self.directory / STATE_FILE)

    def _current_or_new_state(self) -> State:
        state = self._load_state()
        if state is None:
            state = self._new_state(self._brokers or 1)
        elif self._secure not in {None, state.is_secure}:
            holds, wanted = ("secure", "plain") if state.is_secure else ("plain", "secure")
            raise DevstackError(
                f"{self.directory} holds a {holds} stack, which cannot become a {wanted} one. "
                "Remove it first (`python -m devstack clean`), or use another --dir."
            )
        elif self._brokers not in {None, len(state.broker_ports)}:
            raise DevstackError(
                f"{self.directory} holds a stack with {len(state.broker_ports)} broker(s), not {self._brokers}. "
                "Remove it first (`python -m devstack clean`), or use another --dir."
            )
        else:
            self._replace_taken_ports(state)
        state.save(self.directory / STATE_FILE)
        return state

    def _new_state(self, brokers: int) -> State:
        chosen = ports.choose((3 if self._secure else 2) * brokers + 1)
        return State(
            cluster_id=_new_cluster_id(),
            broker_ports=chosen[:brokers],
            controller_ports=chosen[brokers : 2 * brokers],
            certificate_ports=chosen[2 * brokers : -1],
            postgres_port=chosen[-1],
            postgres_home=str(choose_home(self.directory)),
        )

    def _replace_taken_ports(self, state: State) -> None:
        if all(broker.pid() is None for broker in self._kafka(state).brokers):
            state.broker_ports = ports.keep_or_replace(state.broker_ports)
            state.controller_ports = ports.keep_or_replace(state.controller_ports)
            state.certificate_ports = ports.keep_or_replace(state.certificate_ports)
        if self._postgres(state).pid() is None:
            [state.postgres_port] = ports.keep_or_replace([state.postgres_port])

    def _create_directory(self) -> None:
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DevstackError(f"Cannot create {self.directory}: {error.strerror}.") from error
        self._refuse_foreign_directory()
        (self.directory / ".gitignore").write_text("*\n", encoding="utf-8")

    def _refuse_foreign_directory(self) -> None:
        if self.directory.stat().st_uid != os.geteuid():
            raise DevstackError(f"{self.directory} belongs to another account; use that one, or another --dir.")
        names = {entry.name for entry in self.directory.iterdir()}
        if STATE_FILE not in names and names - {".gitignore", "lock", "state.partial"}:
            raise DevstackError(f"{self.directory} is not empty and holds no stack; use another --dir.")

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        with (self.directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DevstackError(
                    f"Another devstack command is at work in {self.directory}; try again when it has ended."
                ) from None
            yield


def _look_at(server: Server) -> ServerStatus:
    pid = server.pid()
    state: Literal["running", "not answering", "stopped"] = "stopped"
    if pid is not None:
        state = "running" if server.answers() else "not answering"
    return ServerStatus(server.name, state, pid, server.address, server.data, server.log)


def _new_cluster_id() -> str:
    """Return 16 random bytes as Kafka writes ids; the first letter is fixed, since a dash would read as an option."""
    return "A" + base64.urlsafe_b64encode(secrets.token_bytes(16)).decode("ascii")[1:22]
