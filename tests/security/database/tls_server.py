"""The machine's own PostgreSQL, which has TLS: one server that lets nobody in without it."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from devstack import placement, ports, processes
from devstack.certificates import Authority, Identity
from schemas.connection import DatabaseConnection
from tests.integration.harness import wait_until
from tests.security.database.guarded import session

PASSWORD = "canary-of-the-owner"
_PLACES = ("/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres", "/usr/local/pgsql/bin/postgres")

_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
ssl = on
ssl_ca_file = '{authority}'
fsync = off
"""
# In this order: the first line that fits decides.
_WHO = """
hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostssl all all 127.0.0.1/32 scram-sha-256
"""


def find_programs() -> Path:
    """The newest PostgreSQL of this machine; the package that the devstack uses is built without TLS."""
    found = [path.parent for place in _PLACES for path in Path("/").glob(place.removeprefix("/"))]
    if not found:
        pytest.skip("this machine has no PostgreSQL of its own: the packaged one is built without TLS")
    return max(found, key=lambda path: [int(number) for number in re.findall(r"\d+", str(path))])


@dataclass
class TlsPostgres:
    """A running server. Its users are `postgres`, `feedback`, who owns the database of that name, and `certified`."""

    folder: Path
    port: int
    authority: Authority
    stranger: Authority
    identity: Identity
    _process: "subprocess.Popen[bytes]" = field(init=False)
    _account: processes.Account | None = field(init=False)

    def start(self) -> None:
        programs = find_programs()
        self._account = placement._unprivileged() if os.geteuid() == 0 else None
        data, password_file = self.folder / "data", self.folder / "password"
        password_file.write_text(PASSWORD)
        self._hand_over(self.folder)
        initdb = [
            str(programs / "initdb"),
            "--auth=scram-sha-256",
            "--username=postgres",
            "--locale=C",
            "--encoding=UTF8",
        ]
        processes.run(
            [*initdb, f"--pwfile={password_file}", f"--pgdata={data}"],
            environment=_environment(),
            account=self._account,
        )
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS.format(port=self.port, authority=self._copy(self.authority.certificate)))
        (data / "pg_hba.conf").write_text(_WHO)
        self.serve(self.identity)
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [programs / "postgres", "-D", data],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_environment(),
                **processes.credentials(self._account),
            )
        wait_until(self.answers, "PostgreSQL", alive=self._process)
        with session(self.url(user="postgres", database="postgres")) as connection:
            for user in ("feedback", "certified"):
                connection.exec_driver_sql(f"CREATE ROLE {user} LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
            connection.exec_driver_sql("CREATE DATABASE feedback OWNER feedback")

    def answers(self) -> bool:
        try:
            with session(self.url(user="postgres", database="postgres")):
                return True
        except OperationalError:
            return False

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)

    def serve(self, identity: Identity) -> None:
        """Show this certificate to whoever connects, from the server's next start or reload on."""
        certificate, key = self._copy(identity.certificate), self._copy(identity.key)
        (self.folder / "data" / "postgresql.auto.conf").write_text(
            f"ssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\n"
        )

    @contextmanager
    def serving(self, identity: Identity) -> Iterator[None]:
        """Show another certificate for a while."""
        try:
            self.serve(identity)
            self._process.send_signal(signal.SIGHUP)
            wait_until(lambda: not self.answers(), "the other certificate", alive=self._process)
            yield
        finally:
            self.serve(self.identity)
            self._process.send_signal(signal.SIGHUP)
            wait_until(self.answers, "the right certificate", alive=self._process)

    def url(
        self,
        *,
        host: str = "localhost",
        user: str = "feedback",
        password: str = PASSWORD,
        database: str = "feedback",
        client: Identity | None = None,
        **parameters: str,
    ) -> DatabaseConnection:
        """How to get in, with everything checked if nothing else is said."""
        given = {"sslmode": "verify-full", "sslrootcert": str(self.authority.certificate), **parameters}
        if client is not None:
            given |= {"sslcert": str(client.certificate), "sslkey": str(client.key)}
        who = f"{user}:{quote(password, safe='')}"
        query = urlencode({name: value for name, value in given.items() if value})
        return DatabaseConnection(database_url=SecretStr(f"postgresql://{who}@{host}:{self.port}/{database}?{query}"))

    def _copy(self, file: Path) -> Path:
        """A copy that the server's account may read."""
        copy = self.folder / file.name
        shutil.copyfile(file, copy)
        copy.chmod(0o600)
        self._hand_over(copy)
        return copy

    def _hand_over(self, path: Path) -> None:
        if self._account is not None:
            for each in (path, *path.glob("*")):
                os.chown(each, self._account.uid, self._account.gid)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


@contextmanager
def tls_postgres(certificates: Path) -> Iterator[TlsPostgres]:
    """Start a server with certificates of an authority that nobody else knows."""
    find_programs()
    authority, stranger = Authority(certificates / "authority"), Authority(certificates / "stranger")
    authority.create()
    stranger.create()
    [port] = ports.choose(1)
    # Not below pytest's folder, which is for this account alone: the server may be another one.
    folder = Path(tempfile.mkdtemp(prefix="tls-postgres-"))
    server = TlsPostgres(folder, port, authority, stranger, authority.keep("server", hosts=["localhost"]))
    try:
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def expired(authority: Authority, name: str, *, hosts: tuple[str, ...] = ()) -> Identity:
    """A certificate that was good until yesterday."""
    now = datetime.now(UTC)
    return authority.issue(name, hosts=hosts, not_before=now - timedelta(days=10), not_after=now - timedelta(days=1))
