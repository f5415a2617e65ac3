"""The bill of materials: complete, valid, and the same each time."""

import json
from pathlib import Path

import pytest

from supply_chain.locks import lock_files, read_lock

pytest.importorskip("cyclonedx_py")


def test_it_names_all_that_is_locked_with_hashes_licences_and_needs(tmp_path: Path) -> None:
    from supply_chain.sbom import write_sbom  # noqa: PLC0415 (of the development tools)

    first, second = tmp_path / "a" / "sbom.json", tmp_path / "b" / "sbom.json"
    for target in (first, second):
        write_sbom("consumer", target)

    assert first.read_bytes() == second.read_bytes()
    document = json.loads(first.read_text())
    components = {component["name"]: component for component in document["components"]}
    versions = {(component["name"], component["version"]): component for component in document["components"]}
    for package in read_lock(lock_files()["consumer"]):
        component = versions[package.name, package.version]
        assert component["purl"] == f"pkg:pypi/{package.name}@{package.version}"
        hashes = {entry["content"] for reference in component["externalReferences"] for entry in reference["hashes"]}
        assert hashes == set(package.sha256)
        assert component["licenses"][0]["expression"]
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in document["dependencies"]}
    root = document["metadata"]["component"]["bom-ref"]
    assert components["onnxruntime"]["bom-ref"] in needs[root]
    assert components["pydantic-core"]["bom-ref"] in needs[components["pydantic"]["bom-ref"]]
    reached, waiting = {root}, [root]
    while waiting:
        new = set(needs[waiting.pop()]) - reached
        reached |= new
        waiting += new
    assert {component["bom-ref"] for component in components.values()} <= reached
