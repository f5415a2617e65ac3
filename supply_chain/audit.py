"""Known vulnerabilities of what is locked and of what the extras bring, with the exceptions that were decided on."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from supply_chain.locks import ROOT, lock_files

EXTRAS: Final = "extras"
"""What the extras of pyproject.toml bring today, those without a lock of their own included."""

_EXCEPTIONS_FILE: Final = Path(__file__).with_name("exceptions.toml")
_AUDIT_TIMEOUT_S: Final = 600


class AuditError(Exception):
    """Nothing can be said: the service of advisories is away, or a tool failed. One line."""


class AdvisoryException(BaseModel):
    """An advisory that is known and accepted for a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    package: str
    versions: SpecifierSet
    ids: tuple[str, ...] = Field(min_length=1)
    decided: date
    expires: date
    reason: str = Field(min_length=20)


@dataclass(frozen=True, slots=True)
class Finding:
    """One advisory that matches a package. `ids` are all of its names."""

    where: str
    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an audit says.

    Attributes:
        problems: each one reason to fail, in a line.
        accepted: findings that an exception covers, in a line each.
        unused: exceptions that cover nothing any more.
    """

    problems: tuple[str, ...]
    accepted: tuple[str, ...]
    unused: tuple[str, ...]


def read_exceptions(path: Path = _EXCEPTIONS_FILE) -> list[AdvisoryException]:
    """The exceptions that were decided on.

    Raises:
        AuditError: the file does not say all that an exception needs.
    """
    document = tomllib.loads(path.read_text("utf-8"))
    for entry in document.get("exception", []):
        if isinstance(versions := entry.get("versions"), str):
            entry["versions"] = SpecifierSet(versions)
    try:
        return TypeAdapter(list[AdvisoryException]).validate_python(document.get("exception", []))
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        raise AuditError(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def judge(
    findings: Iterable[Finding],
    unaudited: Iterable[str],
    exceptions: Sequence[AdvisoryException],
    today: date,
) -> Judgement:
    """Hold findings against exceptions. What is locked has none: only what the extras alone bring may be excepted."""
    problems = [f"{name} could not be audited" for name in unaudited]
    accepted: list[str] = []
    used: set[int] = set()
    for finding in findings:
        line = (
            f"{finding.where}: {finding.package} {finding.version}: {', '.join(finding.ids)}"
            f" (fixed in {', '.join(finding.fixed_in) or 'no version yet'})"
        )
        number = next((n for n, exception in enumerate(exceptions) if _covers(exception, finding)), None)
        if number is None or finding.where != EXTRAS:
            problems.append(line)
        elif exceptions[number].expires < today:
            used.add(number)
            problems.append(f"{line}: the exception ended on {exceptions[number].expires}; update, or decide again")
        else:
            used.add(number)
            accepted.append(f"{line}: accepted until {exceptions[number].expires}: {exceptions[number].reason}")
    unused = [
        f"{exception.package}: {', '.join(exception.ids)}: nothing matches any more; remove it from exceptions.toml"
        for number, exception in enumerate(exceptions)
        if number not in used
    ]
    return Judgement(tuple(problems), tuple(accepted), tuple(unused))


def _covers(exception: AdvisoryException, finding: Finding) -> bool:
    return (
        canonicalize_name(exception.package) == canonicalize_name(finding.package)
        and exception.versions.contains(finding.version, prereleases=True)
        and not set(exception.ids).isdisjoint(finding.ids)
    )


def audit_locks() -> tuple[list[Finding], list[str]]:
    """Ask about every lock file and about the extras: findings, and what could not be audited.

    Raises:
        AuditError: the service or the package index does not answer.
    """
    audited = {name: _pip_audit(name, ["--require-hashes"], path) for name, path in lock_files().items()}
    locked = {(canonicalize_name(entry["name"]), entry.get("version")) for name in audited for entry in audited[name]}
    audited[EXTRAS] = [
        entry
        for pins in _resolve_extras()
        for entry in _pip_audit(EXTRAS, ["--no-deps"], _written(pins))
        if (canonicalize_name(entry["name"]), entry.get("version")) not in locked
    ]
    findings: list[Finding] = []
    unaudited: list[str] = []
    for where, dependencies in audited.items():
        for dependency in dependencies:
            if "skip_reason" in dependency:
                unaudited.append(f"{where}: {dependency['name']}")
                continue
            findings += [_finding(where, dependency, known) for known in dependency.get("vulns", ())]
    return findings, unaudited


def _finding(where: str, dependency: Mapping[str, Any], known: Mapping[str, Any]) -> Finding:
    return Finding(
        where=where,
        package=canonicalize_name(dependency["name"]),
        version=dependency["version"],
        ids=tuple(dict.fromkeys((known["id"], *known.get("aliases", ())))),
        fixed_in=tuple(known.get("fix_versions", ())),
    )


def _resolve_extras() -> list[dict[str, str]]:
    """What all extras together resolve to today: versions by name, one such set for each that a name has."""
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal", "--no-header"]
    command += ["--python-version", "3.11", "--no-annotate", "--no-emit-package", "feedback-stream", "--all-extras"]
    resolved = _run([*command, "pyproject.toml"])
    if resolved.returncode:
        raise AuditError(f"the extras cannot be resolved: {_last_line(resolved.stderr)}")
    sets: list[dict[str, str]] = []
    for line in resolved.stdout.splitlines():
        # Without its marker: pip-audit would pass over what belongs to other platforms and versions of Python.
        name, _, version = line.partition(" ;")[0].partition("==")
        first = next((pins for pins in sets if pins.get(name, version) == version), None)
        if first is None:
            sets.append(first := {})
        first[name] = version
    return sets


def _written(pins: Mapping[str, str]) -> Path:
    path = ROOT / "dist" / "extras.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), "utf-8")
    return path


def _pip_audit(where: str, options: Sequence[str], requirements: Path) -> list[Mapping[str, Any]]:
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--aliases", "on", "--desc", "off"]
    command += ["--progress-spinner", "off", "--disable-pip", *options, "--requirement", str(requirements)]
    answered = _run(command)
    try:
        found: list[Mapping[str, Any]] = json.loads(answered.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        raise AuditError(f"pip-audit cannot tell about {where}: {_last_line(answered.stderr)}") from None
    if all("skip_reason" in entry for entry in found):
        # It ends with status 0 then: silence would look like a clean bill.
        raise AuditError(f"the service of advisories knows nothing of {where}: {found[0]['skip_reason']}")
    return found


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_AUDIT_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise AuditError(f"no answer after {_AUDIT_TIMEOUT_S} s: {command[0]}") from None
    except OSError as error:
        raise AuditError(f"{command[0]}: {error.strerror}; run `make lock` and install the development tools") from None


def _last_line(text: str) -> str:
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "no reason given")
