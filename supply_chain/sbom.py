"""Bills of materials in CycloneDX, reproducible: the same lock gives the same bytes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from supply_chain.licences import read_page
from supply_chain.locks import ROOT, lock_files, read_lock

_ROOT_REFERENCE: Final = "root-component"


class SbomError(Exception):
    """The tool failed; one line."""


def write_sbom(name: str, target: Path) -> None:
    """Write the bill of materials of a lock file.

    cyclonedx-bom reads names, versions and hashes from the lock; licences (docs/licences.md) and what depends on what
    (the lock's comments) are added here, and the whole is validated against CycloneDX's schema.

    Raises:
        SbomError: cyclonedx-bom is missing, or refuses what comes out.
        LockError: the lock cannot be read.
    """
    lock = lock_files()[name]
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "--output-reproducible", "--pyproject"]
    command += [str(ROOT / "pyproject.toml"), str(lock)]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if made.returncode:
        reason = next((line for line in reversed(made.stderr.splitlines()) if line.strip()), "no reason given")
        raise SbomError(f"cyclonedx-py: {reason.strip()[:300]}")
    document: dict[str, Any] = json.loads(made.stdout)
    _complete(document, lock)
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    _validate(text)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, "utf-8")


def _complete(document: dict[str, Any], lock: Path) -> None:
    licences = {row.name: row.licence for row in read_page()}
    # A name may be there twice: some versions are for some versions of Python only.
    components = {(component["name"], component["version"]): component for component in document["components"]}
    references: dict[str, list[str]] = {}
    for (name, _), component in components.items():
        references.setdefault(name, []).append(component["bom-ref"])
    needs: dict[str, set[str]] = {_ROOT_REFERENCE: set(), **{entry["ref"]: set() for entry in document["dependencies"]}}
    for package in read_lock(lock):
        component = components[package.name, package.version]
        if package.name in licences:
            component["licenses"] = [{"expression": licences[package.name]}]
        for reference in (reference for name in package.wanted_by for reference in references[name]):
            needs[reference].add(component["bom-ref"])
        if package.is_direct:
            needs[_ROOT_REFERENCE].add(component["bom-ref"])
    document["dependencies"] = [
        {"ref": reference, "dependsOn": sorted(wanted)} if wanted else {"ref": reference}
        for reference, wanted in sorted(needs.items())
    ]


def _validate(text: str) -> None:
    # Of the development tools; imported late, so that the other commands do without.
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if error is not None:
        raise SbomError(f"the bill of materials does not fit CycloneDX 1.6: {str(error)[:300]}")
