"""A reader with a copy of the repository in which `make up` has been typed."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.local import DIRECTORY, LocalConsumer
from demo.processes import is_ready
from devstack.jars import cache_directory
from devstack.placement import packaged_programs
from devstack.stack import Stack
from tests.docs.reader import Reader, copy_repository, environment_without_ours


def _local(command: str, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo.local", command],
        cwd=repository,
        env=environment_without_ours(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """One place for all pages: what a page leaves in topics and tables, the next one finds."""
    repository, home = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("home")
    copy_repository(repository)
    # The file that the reader wants to import, in pages that say `feedback.csv`.
    (repository / "feedback.csv").write_text("text,rating\nDark mode would be great,4\nThe app crashes,1\n", "utf-8")
    try:
        _local("up", repository)
        outside = environment_without_ours()
        consumer = LocalConsumer(repository / DIRECTORY)
        yield Reader(
            repository=repository,
            home=home,
            variables={
                **outside,
                **Stack(repository / DIRECTORY).environment(),
                "PATH": f"{Path(sys.executable).parent}:{outside['PATH']}:{packaged_programs()}",
                # An editable install would otherwise run the repository itself where a script is named by its path.
                "PYTHONPATH": str(repository),
                "HOME": str(home),
                "XDG_CACHE_HOME": str(cache_directory().parents[1]),
                "COLUMNS": "120",
            },
            http_address=consumer.address,
        )
    finally:
        _local("clean", repository)


@pytest.fixture
def ready_reader(reader: Reader) -> Reader:
    """The consumer runs, even if the page before stopped it."""
    if not is_ready(int(reader.http_address.rpartition(":")[2])):
        _local("up", reader.repository)
    return reader
