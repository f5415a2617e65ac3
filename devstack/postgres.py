"""PostgreSQL from a Python package: one server on the loopback interface, password required, fsync on."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psutil

from devstack import ports, processes
from devstack.placement import Placement, packaged_programs, prepare
from devstack.secret_files import write_secret
from devstack.server import Server

ROLE = "feedback"
DATABASE = "feedback"
SUPERUSER = "postgres"

_READY_DEADLINE_S = 60.0

# The locale provider inside PostgreSQL sorts and folds alike on every machine; the others depend on the system.
_INITDB_OPTIONS = (
    *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    *("--auth=scram-sha-256", f"--username={SUPERUSER}"),
    *(
        "--set=timezone=UTC",
        "--set=log_timezone=UTC",
        "--set=unix_socket_directories=",
        f"--set=listen_addresses={ports.HOST}",
    ),
)


class Postgres(Server):
    """The PostgreSQL server of one stack.

    The role of ``url`` owns its database and may create others, but is no superuser: what works here works on a managed
    server too. The superuser ``postgres`` has the same password.
    """

    stop_signal = signal.SIGINT  # Fast shutdown: open sessions are ended.

    def __init__(self, directory: Path, home: Path, port: int) -> None:
        super().__init__(
            name="postgres",
            port=port,
            data=home / "data",
            log=home / "postgresql.log",
            record=directory / "postgres.json",
        )
        self._home = home
        self._password_file = directory / "postgres.password"

    @property
    def url(self) -> str:
        """The connection URL with its password."""
        return f"postgresql://{ROLE}:{quote(self._password(), safe='')}@{self.address}/{DATABASE}"

    def answers(self, timeout_s: float = 3.0) -> bool:
        """Tell whether the application's role can log in and run a query."""
        if not ports.is_listening(self.port):
            return False
        query = ["-XqAt", "-h", ports.HOST, "-p", str(self.port), "-U", ROLE, "-d", DATABASE, "-c", "SELECT 1"]
        try:
            answer = subprocess.run(
                [str(packaged_programs() / "psql"), *query],
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
                env={"PGPASSWORD": self._password(), "LC_ALL": "C"},
            )
        except subprocess.TimeoutExpired:
            return False
        return answer.stdout.strip() == "1"

    def start(self) -> None:
        """Start the server if it does not run, creating its data the first time, and wait until it answers.

        Raises:
            DevstackError: It does not come up; with the last lines of its log.
        """
        if self.pid() is None:
            placement = prepare(self._home)
            if not self.data.exists():
                self._initialise(placement)
            self._remove_lock_of_the_dead()
            server = [str(placement.programs / "postgres"), "-D", str(self.data), "-p", str(self.port)]
            self._start_process(server, environment=_environment(), account=placement.account)
        self.wait_until_ready(time.monotonic() + _READY_DEADLINE_S)

    def _password(self) -> str:
        return self._password_file.read_text(encoding="ascii")

    def _initialise(self, placement: Placement) -> None:
        """Create data directory, role and database; an attempt that is cut off leaves nothing that counts."""
        draft = self._home / "data.partial"
        password_copy = self._home / "password.partial"
        shutil.rmtree(draft, ignore_errors=True)
        password = secrets.token_urlsafe(24)
        write_secret(self._password_file, password)
        try:
            write_secret(password_copy, password)
            if placement.account is not None:
                os.chown(password_copy, placement.account.uid, placement.account.gid)
            initdb = [
                str(placement.programs / "initdb"),
                *_INITDB_OPTIONS,
                f"--pwfile={password_copy}",
                f"--pgdata={draft}",
            ]
            processes.run(initdb, environment=_environment(), account=placement.account)
        finally:
            password_copy.unlink(missing_ok=True)
        # Single-user mode: nothing listens yet. It takes a statement a line, and would repeat one that fails.
        server = [str(placement.programs / "postgres"), "--single", "-c", "log_min_error_statement=panic"]
        statements = (
            f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{password}';\nCREATE DATABASE {DATABASE} OWNER {ROLE};\n"
        )
        processes.run(
            [*server, "-D", str(draft), SUPERUSER],
            environment=_environment(),
            account=placement.account,
            text=statements,
        )
        draft.rename(self.data)

    def _remove_lock_of_the_dead(self) -> None:
        """Remove the lock file of a killed server that its parent never reaped: PostgreSQL takes it for alive."""
        lock = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            if psutil.Process(int(lock.read_text(encoding="utf-8").split()[0])).status() == psutil.STATUS_ZOMBIE:
                lock.unlink()


def _environment() -> dict[str, str]:
    """Return our environment without the variables that would redirect PostgreSQL's programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
