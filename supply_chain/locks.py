"""The lock files, as pip and uv write them: each package with its version, its hashes and what asked for it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
REQUIREMENTS: Final = ROOT / "requirements"
_NOTE: Final = re.compile(r"^ +# +(?:via\b ?)?(.*)$", re.MULTILINE)
_SHA256: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})(?= |$)")


class LockError(Exception):
    """A lock file is not what `make lock` writes; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Locked:
    """One package of a lock.

    Attributes:
        name: canonical (PEP 503).
        version: the only one that fits.
        sha256: of each file that may be installed, in hexadecimal.
        wanted_by: canonical names of the packages that need it.
        is_direct: whether this project asks for it itself.
    """

    name: str
    version: str
    sha256: tuple[str, ...]
    wanted_by: tuple[str, ...]
    is_direct: bool


def lock_files() -> dict[str, Path]:
    """The lock files by name, such as `consumer`."""
    return {path.stem: path for path in sorted(REQUIREMENTS.glob("*.txt"))}


def read_lock(path: Path) -> list[Locked]:
    """The packages of a lock file.

    Raises:
        LockError: a line is no pinned requirement, or has no hash.
    """
    found: list[Locked] = []
    text = path.read_text("utf-8")
    # A comment may stand between a requirement and its hashes; a backslash joins lines.
    for entry in re.split(r"\n(?=[^\s#])", text.replace("\\\n", " ")):
        statement, _, notes = entry.partition("\n")
        if not statement.strip() or statement.startswith("#"):
            continue
        found.append(_locked(path, statement, notes))
    if not found:
        raise LockError(f"{path.name}: holds no package")
    return found


def _locked(path: Path, statement: str, notes: str) -> Locked:
    wanted, *options = statement.split(" --")
    try:
        requirement = Requirement(wanted)
    except InvalidRequirement:
        raise LockError(f"{path.name}: {statement[:60]!r} is no requirement; write it by `make lock`") from None
    pins = list(requirement.specifier)
    if requirement.url is not None or len(pins) != 1 or pins[0].operator != "==" or pins[0].version.endswith("*"):
        raise LockError(f"{path.name}: {requirement.name} is not pinned to one version; write it by `make lock`")
    hashes = tuple(_SHA256.findall(" ".join(f"--{option.strip()}" for option in options)))
    if len(hashes) != len(options) or not hashes:
        raise LockError(f"{path.name}: {requirement.name} has no sha256, or another option; write it by `make lock`")
    # "# via typer", the same over several lines, and "# via feedback-stream (pyproject.toml)" or "# via -r build.in".
    notes_of_it = [note.strip() for note in _NOTE.findall(notes) if note.strip()]
    own = [note for note in notes_of_it if note.startswith("-r ") or note.endswith(")")]
    return Locked(
        name=canonicalize_name(requirement.name),
        version=pins[0].version,
        sha256=hashes,
        wanted_by=tuple(sorted({canonicalize_name(note) for note in notes_of_it if note not in own})),
        is_direct=bool(own),
    )
