"""What gets installed is pinned by hash, and fits what pyproject.toml asks for. Needs no network."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from supply_chain.locks import REQUIREMENTS, ROOT, LockError, lock_files, read_lock

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# Which extras each lock is made of, as the target `lock` of the Makefile says.
EXTRAS_OF = {"consumer": ("consumer",), "run": ("consumer", "devstack"), "dev": ("dev",)}


def wanted(extras: tuple[str, ...]) -> list[Requirement]:
    """What pyproject.toml asks for, with the extras that its extras name."""
    found = [Requirement(text) for text in PROJECT["dependencies"]]
    for extra in extras:
        for text in PROJECT["optional-dependencies"][extra]:
            requirement = Requirement(text)
            if requirement.name == PROJECT["name"]:
                found += wanted(tuple(requirement.extras))
            else:
                found.append(requirement)
    return found


@pytest.mark.parametrize("name", lock_files())
def test_every_package_is_pinned_with_hashes_and_asked_for_by_somebody(name: str) -> None:
    packages = read_lock(lock_files()[name])  # raises where a pin or a hash is missing

    names = {package.name for package in packages}
    assert len(names) >= 5
    assert [package.name for package in packages if not package.is_direct and not package.wanted_by] == []
    assert {wanted_by for package in packages for wanted_by in package.wanted_by} <= names


@pytest.mark.parametrize("name", EXTRAS_OF)
def test_the_lock_fits_what_pyproject_asks_for(name: str) -> None:
    locked: dict[str, set[str]] = {}
    for package in read_lock(lock_files()[name]):
        locked.setdefault(package.name, set()).add(package.version)
    lines = (REQUIREMENTS / "build.in").read_text("utf-8").splitlines()
    built_from = [Requirement(line) for line in lines if line and not line.startswith("#")]

    for requirement in [*wanted(EXTRAS_OF[name]), *(built_from if name != "consumer" else [])]:
        versions = locked.get(canonicalize_name(requirement.name), set())
        assert versions, requirement
        assert all(requirement.specifier.contains(version, prereleases=True) for version in versions), requirement


def test_locks_agree_about_versions() -> None:
    """What is tested is what runs."""
    versions = {
        name: {(package.name, package.version) for package in read_lock(path)} for name, path in lock_files().items()
    }
    tested = {name for name, _ in versions["dev"]}

    for name in ("consumer", "run", "build"):
        other = sorted(pin for pin in versions[name] - versions["dev"] if pin[0] in tested)
        assert other == [], f"{name}.txt and dev.txt differ: make lock"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("left==1.0\n    # via right\n", "left has no sha256"),
        ("left>=1.0 \\\n    --hash=sha256:" + 64 * "a" + "\n", "not pinned to one version"),
        ("left==1.* \\\n    --hash=sha256:" + 64 * "a" + "\n", "not pinned to one version"),
        ("left @ https://example.com/left.whl \\\n    --hash=sha256:" + 64 * "a" + "\n", "not pinned to one version"),
        ("left==1.0 \\\n    --hash=md5:" + 32 * "a" + "\n", "left has no sha256"),
        ("left==1.0 --config-settings=x \\\n    --hash=sha256:" + 64 * "a" + "\n", "another option"),
        ("--index-url https://example.com/simple\n", "is no requirement"),
        ("-r other.txt\n", "is no requirement"),
        ("# nothing\n", "holds no package"),
    ],
)
def test_a_lock_that_somebody_opened_up_is_noticed(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "lock.txt"
    path.write_text(text)
    with pytest.raises(LockError, match=words):
        read_lock(path)


def test_nothing_is_installed_without_hashes() -> None:
    for path in ("Makefile", "deploy/Dockerfile.consumer"):
        text = (ROOT / path).read_text("utf-8").replace("\\\n", " ")
        for line in re.findall(r"^.*\bpip install\b.*$", text, re.MULTILINE):
            # The project itself, a wheel of it, or environments of their own: training (docs/decisions/0007), rivals.
            is_other = "--no-deps" in line or "$(TRAINING)/" in line or "$(RIVALS)/" in line
            assert is_other or "--require-hashes" in line, f"{path}: {line.strip()}"


def test_the_images_base_is_pinned_by_digest() -> None:
    text = (ROOT / "deploy/Dockerfile.consumer").read_text("utf-8")

    [base] = re.findall(r"^ARG BASE=(\S+)$", text, re.MULTILINE)
    assert re.fullmatch(r"python:[\d.]+-slim@sha256:[0-9a-f]{64}", base)
    assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${BASE}"}
