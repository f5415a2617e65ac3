"""`python -m supply_chain`: audit what is locked, write bills of materials, list licences."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from schemas import command_line
from supply_chain.audit import AuditError, audit_locks, judge, read_exceptions
from supply_chain.licences import LicenceError, check, write
from supply_chain.locks import LockError, lock_files
from supply_chain.sbom import SbomError, write_sbom

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
out = Console()
err = Console(stderr=True)


def _fail(*lines: str) -> NoReturn:
    for line in lines:
        err.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1)


@app.command()
def audit() -> None:
    """Ask for known vulnerabilities of every lock file and of what the extras bring.

    Exit status 1: there are some, one package could not be audited, an exception has ended, or the service is away.
    PIP_AUDIT_VULNERABILITY_SERVICE (pypi, osv) and PIP_AUDIT_OSV_URL choose the service, as for pip-audit.
    """
    try:
        exceptions = read_exceptions()
        with err.status("asking for advisories ..."):
            findings, unaudited = audit_locks()
    except (AuditError, LockError) as error:
        _fail(str(error))
    found = judge(findings, unaudited, exceptions, datetime.now(UTC).date())
    for line in (*found.accepted, *found.unused):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    if found.problems:
        _fail(*found.problems)
    out.print(f"no known vulnerabilities in {', '.join(lock_files())}; {len(found.accepted)} accepted in the extras")


@app.command()
def sbom(
    folder: Annotated[Path, typer.Option(help="Where to write.")] = Path("dist"),
) -> None:
    """Write a CycloneDX bill of materials of each lock that is installed somewhere, reproducibly."""
    try:
        for name in ("consumer", "run"):
            target = folder / f"sbom-{name}.cdx.json"
            write_sbom(name, target)
            out.print(str(target), markup=False, highlight=False, soft_wrap=True)
    except (SbomError, LockError) as error:
        _fail(str(error))


@app.command()
def licences(
    is_check: Annotated[bool, typer.Option("--check", help="Only say what is not allowed or not listed.")] = False,
    environment: Annotated[
        list[Path] | None, typer.Option(help="A further virtual environment to read; may be repeated.")
    ] = None,
) -> None:
    """List the licence of every dependency in docs/licences.md, and hold it against the licences that are allowed."""
    try:
        if not is_check:
            write(environment or [])
        problems = check()
    except (LicenceError, LockError) as error:
        _fail(str(error))
    if problems:
        _fail(*problems)


if __name__ == "__main__":
    command_line.run(app, f"{Path(sys.executable).name} -m supply_chain")
