"""The licence of every dependency: recorded in docs/licences.md, held against those that are allowed."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Final

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, Field

from supply_chain.locks import ROOT, lock_files, read_lock

PAGE: Final = ROOT / "docs" / "licences.md"
_RULES_FILE: Final = Path(__file__).with_name("licences.toml")
_OURS: Final = "feedback-stream"
_ROW: Final = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<licence>[^|]+?) \| (?P<where>[^|]+?) \|$", re.MULTILINE)
# Classifiers that name one licence; "BSD License" may be any of several.
_OF_CLASSIFIER: Final = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
_HEADER: Final = """\
# Licences of the dependencies

Every package that this project's locks and extras bring, with its licence as an SPDX expression. Written by
`make licences` from the packages' own metadata. What that does not say was read in their licence files, and stands in
[licences.toml](../supply_chain/licences.toml) with the licences that are allowed and the exceptions. A test holds this
page against what is installed.

"""


class LicenceError(Exception):
    """The licences cannot be told; the message names the packages and what to do."""


class _Exception(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    licence: str
    packages: tuple[str, ...] = Field(min_length=1)
    reason: str = Field(min_length=20)


class _Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed: frozenset[str]
    stated: Mapping[str, str]
    exception: tuple[_Exception, ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of the page. `where` names the locks and extras that bring the package."""

    name: str
    licence: str
    where: str


def read_rules() -> _Rules:
    """What is allowed, what was read in licence files, and the exceptions."""
    return _Rules.model_validate(tomllib.loads(_RULES_FILE.read_text("utf-8")))


def read_page() -> list[Listed]:
    """The rows of docs/licences.md."""
    return [Listed(row["name"], row["licence"], row["where"]) for row in _ROW.finditer(PAGE.read_text("utf-8"))]


def stated_licence(distribution: Distribution) -> str | None:
    """The SPDX expression that a package's metadata states, or None where it names no single one.

    `License-Expression` (PEP 639) comes first, then `License` where it is an SPDX expression, then a classifier.
    """
    metadata = distribution.metadata
    for text in ((metadata.get_all(name) or [None])[0] for name in ("License-Expression", "License")):
        try:
            # "Apache" alone would pass as a name of one's own making.
            if text and len(text) < 200:  # noqa: PLR2004 (a licence's whole text is no expression)
                return str(canonicalize_license_expression(text))
        except InvalidLicenseExpression:
            continue
    classifiers = [text.rpartition(" :: ")[2] for text in metadata.get_all("Classifier") or () if "License ::" in text]
    named = {_OF_CLASSIFIER.get(text) for text in classifiers if text not in {"OSI Approved", "DFSG approved"}}
    return named.pop() if len(named) == 1 else None


def is_allowed(expression: str, allowed: Iterable[str]) -> bool:
    """Whether one may use what is under an SPDX expression, where one may use what is under each of `allowed`."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)
    permitted = set(allowed)

    def alternatives() -> bool:
        found = conjunction()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            found = conjunction() or found
        return found

    def conjunction() -> bool:
        found = licence()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            found = licence() and found
        return found

    def licence() -> bool:
        name = tokens.pop(0)
        if name == "(":
            found = alternatives()
            tokens.pop(0)
            return found
        if tokens and tokens[0] == "WITH":
            # An exception only ever gives more rights than the licence.
            del tokens[:2]
        return name in permitted

    return alternatives()


def check() -> list[str]:
    """What is wrong with the page, a line each; needs no network.

    Raises:
        LockError: a lock cannot be read.
    """
    rules, rows = read_rules(), {row.name: row for row in read_page()}
    excepted = {name: entry.licence for entry in rules.exception for name in entry.packages}
    problems = [
        f"{row.name}: {row.licence} is not allowed; see supply_chain/licences.toml"
        for row in rows.values()
        if not is_allowed(row.licence, rules.allowed) and excepted.get(row.name) != row.licence
    ]
    problems += [
        f"{name}: {where} brings it, and it is not listed; run `make licences`"
        for where, names in {**_locked_names(), "pyproject.toml": _direct_names()}.items()
        for name in sorted(names - rows.keys())
    ]
    for name, distribution in _installed([]).items():
        licence = rules.stated.get(name) or stated_licence(distribution)
        if name in rows and licence is not None and licence != rows[name].licence:
            problems.append(f"{name}: {licence} is installed, {rows[name].licence} is listed; run `make licences`")
    return problems


def write(environments: Sequence[Path]) -> None:
    """Write the page anew: locks, and what each extra without a lock resolves to today.

    Args:
        environments: virtual environments whose packages are read beside this one's.

    Raises:
        LicenceError: an extra cannot be resolved, or a licence is not known.
        LockError: a lock cannot be read.
    """
    rules, installed = read_rules(), _installed(environments)
    brought = _locked_names()
    locked = set().union(*brought.values())
    for extra, direct in _extras().items():
        if not direct <= locked:
            brought[extra] = _resolve(extra)
    unknown: list[str] = []
    rows: list[Listed] = []
    for name in sorted(set().union(*brought.values())):
        stated = stated_licence(installed[name]) if name in installed else None
        licence = rules.stated.get(name) or stated
        if licence is None:
            unknown.append(name)
            continue
        rows.append(Listed(name, licence, ", ".join(where for where, names in brought.items() if name in names)))
    if unknown:
        raise LicenceError(
            f"no licence known of {', '.join(unknown)}: install them and give --environment, or read their licence "
            "files and write it into supply_chain/licences.toml"
        )
    lines = ["| package | licence | comes with |", "|---|---|---|"]
    lines += [f"| `{row.name}` | {row.licence} | {row.where} |" for row in rows]
    exceptions = ["", "## Exceptions", ""]
    exceptions += [
        f"- {', '.join(f'`{name}`' for name in entry.packages)}, {entry.licence}: {entry.reason}"
        for entry in rules.exception
    ]
    PAGE.write_text(_HEADER + "\n".join([*lines, *exceptions]) + "\n", "utf-8")


def _locked_names() -> dict[str, set[str]]:
    return {f"{name}.txt": {locked.name for locked in read_lock(path)} for name, path in lock_files().items()}


def _extras() -> dict[str, set[str]]:
    """For each extra of pyproject.toml the packages that it names itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        extra: {str(canonicalize_name(Requirement(text).name)) for text in wanted} - {_OURS}
        for extra, wanted in project["optional-dependencies"].items()
    }


def _direct_names() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}.union(*_extras().values())


def _resolve(extra: str) -> set[str]:
    command = [
        str(Path(sys.executable).with_name("uv")),
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
    ]
    command += ["3.11", "--no-header", "--no-annotate", "--no-emit-package", _OURS, "--extra", extra, "pyproject.toml"]
    resolved = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if resolved.returncode:
        reason = next((line for line in reversed(resolved.stderr.splitlines()) if line.strip()), "no reason given")
        raise LicenceError(f"extra {extra} cannot be resolved: {reason.strip()[:300]}")
    return {canonicalize_name(Requirement(line).name) for line in resolved.stdout.splitlines() if line.strip()}


def _installed(environments: Sequence[Path]) -> dict[str, Distribution]:
    folders = [str(path) for environment in environments for path in environment.glob("lib/python3*/site-packages")]
    if len(folders) != len(environments):
        raise LicenceError("an --environment is no virtual environment: it has no lib/python3*/site-packages")
    found = [*distributions(), *(distributions(path=folders) if folders else ())]
    return {canonicalize_name(item.metadata["Name"]): item for item in reversed(found)}
