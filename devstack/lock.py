"""Rewrites ``kafka.lock`` for maintainers: ``python -m devstack.lock`` after changing a version in ``ROOTS``."""

import hashlib
import tempfile
from pathlib import Path

from devstack.jars import LOCK_FILE, Jar

# The trailing "!" keeps log4j's own dependency management away from Kafka's versions.
ROOTS = ("org.apache.kafka:kafka_2.13:4.3.0", "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!")

_HEADER = """\
# The jars of the Kafka broker: groupId:artifactId:version sha256
# Written by `python -m devstack.lock`; do not edit by hand.
"""


def resolve() -> list[Jar]:
    """Resolve ``ROOTS`` and everything they need at run time, and hash each jar."""
    from jgo.maven import MavenContext  # noqa: PLC0415  (heavy; only maintainers come here)

    with tempfile.TemporaryDirectory() as repository:
        context = MavenContext(repo_cache=Path(repository))
        roots, transitive = context.resolver.resolve([context.create_dependency(root) for root in ROOTS])
        return sorted(
            Jar(
                dependency.artifact.groupId,
                dependency.artifact.artifactId,
                dependency.artifact.version,
                hashlib.sha256(Path(dependency.artifact.resolve()).read_bytes()).hexdigest(),
            )
            for dependency in (*roots, *transitive)
        )


def main() -> None:
    """Write the lock file next to this module."""
    LOCK_FILE.write_text(_HEADER + "".join(f"{jar.coordinate} {jar.sha256}\n" for jar in resolve()), encoding="utf-8")


if __name__ == "__main__":
    main()
