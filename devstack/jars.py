"""Brings the jars of the Kafka broker into a cache shared by all stacks of a user, each checked against its hash."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevstackError

LOCK_FILE = Path(__file__).with_name("kafka.lock")

_DOWNLOADS_AT_ONCE = 6
_ATTEMPTS = 3
_HTTP_TIMEOUT_S = 60


@dataclass(frozen=True, order=True)
class Jar:
    """A jar as the lock file pins it: Maven coordinates and the SHA-256 of its content in hex."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """The jar as Maven writes it: ``groupId:artifactId:version``."""
        return f"{self.group}:{self.artifact}:{self.version}"

    def matches(self, path: Path) -> bool:
        """Tell whether the file at ``path`` exists and has the pinned content."""
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False


def locked_jars() -> list[Jar]:
    """Read the lock file that ships with this package."""
    lines = LOCK_FILE.read_text(encoding="utf-8").splitlines()
    entries = [line.replace(":", " ").split() for line in lines if not line.startswith("#")]
    return [Jar(group, artifact, version, sha256) for group, artifact, version, sha256 in entries]


def cache_directory() -> Path:
    """Return the folder that keeps the jars between stacks: ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "feedback-stream" / "jars"


def ensure_jars(on_progress: Callable[[int, int], None]) -> list[Path]:
    """Return the class path of the broker, downloading what the cache lacks.

    A jar enters the cache only whole and verified, so several stacks may fill it at once. A damaged file is replaced.
    When none is missing, no network is touched.

    Args:
        on_progress: Called with (jars at hand, jars in all) after each download.

    Raises:
        DevstackError: A jar could not be downloaded or has another hash than the lock file says, or the cache cannot
            be written.
    """
    cache = cache_directory()
    jars = locked_jars()
    paths = {jar: cache / f"{jar.artifact}-{jar.version}.jar" for jar in jars}
    missing = [jar for jar in jars if not jar.matches(paths[jar])]
    if missing:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            # Inside the cache, because a rename is atomic only within one file system.
            with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as scratch:
                _download_all(
                    missing, Path(scratch), paths, lambda done: on_progress(done + len(jars) - len(missing), len(jars))
                )
        except OSError as error:
            raise DevstackError(
                f"Cannot keep the Kafka jars in {cache}: {error.strerror or error}. "
                "Make it writable, or set XDG_CACHE_HOME to a folder that is."
            ) from error
    return list(paths.values())


def _download_all(jars: list[Jar], scratch: Path, paths: dict[Jar, Path], on_done: Callable[[int], None]) -> None:
    executor = ThreadPoolExecutor(_DOWNLOADS_AT_ONCE)
    try:
        futures = {executor.submit(_download, jar, scratch): jar for jar in jars}
        for done, future in enumerate(as_completed(futures), start=1):
            future.result().replace(paths[futures[future]])
            on_done(done)
    finally:
        executor.shutdown(cancel_futures=True)


def _download(jar: Jar, scratch: Path) -> Path:
    import requests  # noqa: PLC0415  (heavy; most starts download nothing)
    from jgo.maven import MavenContext  # noqa: PLC0415

    reason = ""
    for attempt in range(_ATTEMPTS):
        # A repository of its own for each attempt: the resolver trusts whatever file an earlier one left behind.
        context = MavenContext(repo_cache=scratch / f"{jar.artifact}-{attempt}", timeout=_HTTP_TIMEOUT_S)
        try:
            path = Path(context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve())
        except (requests.RequestException, RuntimeError) as error:
            # The message of a request error repeats host, address and object ids: its class says what went wrong.
            reason = type(error).__name__ if isinstance(error, requests.RequestException) else str(error)
        else:
            if jar.matches(path):
                return path
            reason = "its SHA-256 is not the one in the lock file"
    raise DevstackError(
        f"Could not download {jar.coordinate}: {reason}. The first start of Kafka needs a way to the Maven repository "
        "(proxies: HTTPS_PROXY); later starts need no network. What has been downloaded is kept: run the command again."
    )
