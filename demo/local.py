"""`python -m demo.local`: Kafka, PostgreSQL and a consumer that stay up after the command, in `.devstack/local/`."""

import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from demo.processes import SetupError, is_ready, run_module
from devstack import ports, processes
from devstack.errors import DevstackError
from devstack.placement import packaged_programs
from devstack.server import Server
from devstack.stack import ServerStatus, Stack
from schemas.connection import DatabaseConnection

# Not .devstack itself: removing its data must not remove what a demonstration that runs meanwhile keeps there.
DIRECTORY: Final = Path(".devstack/local")
NOT_RUNNING_EXIT_CODE: Final = 3
_READY_DEADLINE_S: Final = 90.0
# It drains and commits within 25 s of SIGTERM.
_STOP_DEADLINE_S: Final = 30.0

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


class LocalConsumer(Server):
    """`python -m consumer run` as production runs it, detached. It keeps its HTTP port from one start to the next."""

    def __init__(self, directory: Path) -> None:
        self._port_file = directory / "consumer.port"
        super().__init__(
            name="consumer",
            port=int(self._port_file.read_text("ascii")) if self._port_file.exists() else 0,
            data=directory,
            log=directory / "consumer.log",
            record=directory / "consumer.json",
        )

    def answers(self, timeout_s: float = 3.0) -> bool:
        """Tell whether it joined the group and works."""
        return is_ready(self.port, timeout_s)

    def status(self) -> ServerStatus:
        """Look at it; `not answering` also when it is there, but waits for something."""
        pid = self.pid()
        state: Literal["running", "not answering", "stopped"] = "stopped"
        if pid is not None:
            state = "running" if self.answers() else "not answering"
        return ServerStatus(self.name, state, pid, self.address, self.data, self.log)

    def start(self, variables: Mapping[str, str]) -> None:
        """Start it with these environment variables.

        Raises:
            DevstackError: no free port.
        """
        [self.port] = ports.keep_or_replace([self.port]) if self.port else ports.choose(1, avoid=set())
        self._port_file.write_text(str(self.port), "ascii")
        self._start_process(
            [sys.executable, "-m", "consumer", "run"], environment={**variables, "CONSUMER_HTTP_PORT": str(self.port)}
        )

    def stop(self) -> None:
        """Stop it by SIGTERM and wait until it has drained; by force when it takes longer than it may."""
        if (record := self.record()) is not None:
            processes.send_signal(record, self.stop_signal)
            processes.wait_or_kill(record, _STOP_DEADLINE_S)


@app.command()
def up() -> None:
    """Start what does not run yet, wait until it is ready, and say where it is. Stops everything if it fails."""
    stack = Stack(DIRECTORY)
    stack.up(progress=True)
    with _one_command_at_a_time():
        consumer = LocalConsumer(stack.directory)
        try:
            if consumer.pid() is None:
                with errors.status("Starting the consumer"):
                    variables = _variables(stack.environment())
                    run_module("schemas", "migrate", environment=variables)
                    run_module("schemas", "topics", "apply", environment=variables)
                    consumer.start(variables)
            with errors.status("Waiting for the consumer: it loads the model and joins the group"):
                consumer.wait_until_ready(time.monotonic() + _READY_DEADLINE_S)
        except BaseException:
            consumer.stop()
            stack.down()
            raise
    _print_addresses(stack, consumer)


@app.command()
def status() -> None:
    """Show what runs. Exit code 0 when all does, 3 when not."""
    stack = Stack(DIRECTORY)
    servers = stack.status()
    if not servers:
        errors.print(f"Nothing was started in {DIRECTORY}; start it with `make up`.")
        raise typer.Exit(NOT_RUNNING_EXIT_CODE)
    servers.append(LocalConsumer(stack.directory).status())
    table = Table("server", "state", "pid", "address", "log", box=None, pad_edge=False)
    for server in servers:
        table.add_row(server.name, server.state, str(server.pid or "-"), server.address, _shown(server.log))
    console.print(table)
    raise typer.Exit(0 if all(server.state == "running" for server in servers) else NOT_RUNNING_EXIT_CODE)


@app.command()
def down() -> None:
    """Stop the consumer, then Kafka and PostgreSQL. Data stays."""
    stack = Stack(DIRECTORY)
    if not stack.status():
        console.print(f"Nothing was started in {DIRECTORY}.")
        return
    _stop(stack)
    console.print(f"Stopped. Data stays in {DIRECTORY}; `make up` goes on with it, `make clean-data` removes it.")


@app.command()
def clean() -> None:
    """Stop everything and remove its data."""
    stack = Stack(DIRECTORY)
    if stack.status():
        _stop(stack)
    stack.clean()
    console.print(f"Removed {DIRECTORY}.")


def _stop(stack: Stack) -> None:
    with _one_command_at_a_time():
        consumer = LocalConsumer(stack.directory)
        if consumer.pid() is not None:
            with errors.status("Stopping the consumer: it drains and commits"):
                consumer.stop()
        with errors.status("Stopping Kafka and PostgreSQL"):
            stack.down()


@contextmanager
def _one_command_at_a_time() -> Iterator[None]:
    # A second one waits: two consumers with the same identity would fence each other.
    with (DIRECTORY / "consumer.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _variables(stack: Mapping[str, str]) -> dict[str, str]:
    # CONSUMER_* from outside still counts; a login for another Kafka must not reach this one.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")}
    return {**kept, **stack}


def _print_addresses(stack: Stack, consumer: LocalConsumer) -> None:
    variables = stack.environment()
    database = DatabaseConnection.model_validate({"database_url": variables["DATABASE_URL"]})
    metrics = f"http://{consumer.address}/metrics"
    python = _shown(Path(sys.executable))
    psql = shutil.which("psql") or _shown(packaged_programs() / "psql")
    query = "SELECT category, sentiment, queue, text FROM feedback ORDER BY stored_at DESC LIMIT 5"
    console.print(
        f"Kafka       {variables['KAFKA_BOOTSTRAP_SERVERS']}\n"
        f"PostgreSQL  {database.database_address()}\n"
        f"Consumer    {metrics}, log {_shown(consumer.log)}\n"
        "\n"
        "Try next:\n"
        f'  eval "$({python} -m devstack env)"   # addresses and password, for this shell\n'
        f'  {python} -m producer send "Where can I download my invoice?"\n'
        f'  {psql} "$DATABASE_URL" -c "{query}"\n'
        f"  curl --silent {metrics} | grep ^feedback_\n"
        f'  echo "Dark mode would be great" | {python} -m consumer classify   # needs no Kafka\n'
        "  make status, make down",
        markup=False,
    )


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _exit_on_sigterm(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line; an expected failure ends in its message and exit code 1."""
    # Without this, SIGTERM in the middle of a start would leave half of it running.
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    try:
        app()
    except (DevstackError, SetupError) as error:
        errors.print(str(error), style="red")
        if isinstance(error, SetupError) and error.log:
            errors.print(error.log)
        sys.exit(1)


if __name__ == "__main__":
    main()
