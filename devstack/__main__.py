"""Command line: ``python -m devstack up|down|status|env|clean``."""

import json
import shlex
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from devstack.errors import DevstackError
from devstack.secure_kafka import ADMINISTRATOR, LOGIN_VARIABLES, USERS
from devstack.stack import STATE_FILE, ServerStatus, Stack

NOT_RUNNING_EXIT_CODE = 3
"""What ``systemctl status`` answers for a service that does not run (LSB init script actions)."""

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

Directory = Annotated[Path, typer.Option("--dir", help="Folder of the stack: data, logs, ports.")]
DEFAULT_DIRECTORY = Path(".devstack/local")


@app.command()
def up(
    directory: Directory = DEFAULT_DIRECTORY,
    brokers: Annotated[int | None, typer.Option(help="Kafka brokers, 1 or 3; default: as before, else 1.")] = None,
    secure: Annotated[
        bool | None,
        typer.Option(
            "--secure/--plain",
            help="Kafka with TLS, logins and rights, or open to everybody on this machine; default: as before, else "
            "--plain.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start Kafka and PostgreSQL and wait until both answer."""
    began = time.monotonic()
    try:
        stack = Stack(directory, brokers, secure=secure)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--brokers") from error
    stack.up(progress=True)
    servers = stack.status()
    console.print(_table(servers))
    console.print(f"Up after {time.monotonic() - began:.1f} s. Data and logs: {stack.directory}")
    for server in servers:
        if not server.data.is_relative_to(stack.directory):
            # Only root's PostgreSQL does that.
            console.print(
                f"{server.name} refuses to run as root and the account that it runs as cannot enter {stack.directory}: "
                f"its data is in {server.data}"
            )
    if stack.is_secure:
        administrator = _command("env", directory, f"--role {ADMINISTRATOR}")
        console.print(
            "Nobody but the administrator has any right yet. To make the project's topics, and give its rights:"
        )
        console.print(f'  (eval "$({administrator})"; python -m schemas topics apply; python -m schemas access apply)')
    example = f"--role {USERS[0]}" if stack.is_secure else ""
    console.print(f'For a shell:  eval "$({_command("env", directory, example)})"')
    console.print(f"To stop it:   {_command('down', directory)}")


@app.command()
def down(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Stop both and keep their data."""
    stack = Stack(directory)
    if not (stack.directory / STATE_FILE).exists():
        console.print(f"There is no stack in {stack.directory}")
        return
    stack.down()
    console.print(f"Stopped. Data stays in {stack.directory}")


@app.command()
def status(
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show what runs. Exit code 0 when all does, 3 when not."""
    servers = Stack(directory).status()
    all_run = bool(servers) and all(server.state == "running" for server in servers)
    if as_json:
        print(json.dumps({"running": all_run, "servers": [asdict(server) for server in servers]}, default=str))
    elif servers:
        console.print(_table(servers))
    else:
        errors.print(f"There is no stack in {directory}; start one with `{_command('up', directory)}`.")
    raise typer.Exit(0 if all_run else NOT_RUNNING_EXIT_CODE)


@app.command()
def env(
    directory: Directory = DEFAULT_DIRECTORY,
    role: Annotated[
        str | None, typer.Option(help=f"Who logs in to a secure stack: {', '.join((*USERS, ADMINISTRATOR))}.")
    ] = None,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="Log in with a certificate instead of a password.")
    ] = False,
) -> None:
    """Print the addresses and the login as shell commands; the database's password is part of its URL."""
    variables = Stack(directory).environment(role, by_certificate=certificate)
    if role is not None:
        # What is left of another role would mix with this one.
        print("unset", *sorted({*LOGIN_VARIABLES, "DATABASE_URL", "DATABASE_URL_FILE"} - variables.keys()))
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


@app.command()
def clean(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Stop both and remove all data."""
    stack = Stack(directory)
    stack.clean()
    console.print(f"Removed {stack.directory}")


def _command(name: str, directory: Path, options: str = "") -> str:
    where = "" if directory == DEFAULT_DIRECTORY else f" --dir {shlex.quote(str(directory))}"
    return f"python -m devstack {name}{where} {options}".rstrip()


def _table(servers: list[ServerStatus]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("server", "state", "pid", "address"):
        table.add_column(heading, no_wrap=True)
    table.add_column("log", overflow="fold")
    for server in servers:
        log = server.log.relative_to(Path.cwd()) if server.log.is_relative_to(Path.cwd()) else server.log
        table.add_row(server.name, server.state, str(server.pid or "-"), server.address, str(log))
    return table


def _exit_on_sigterm(_signal: int, _frame: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


def main() -> None:
    """Run the command line; an expected failure ends in its message and exit code 1."""
    # Without this, SIGTERM in the middle of a start would leave the servers running.
    signal.signal(signal.SIGTERM, _exit_on_sigterm)
    try:
        app()
    except DevstackError as error:
        errors.print(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
