"""A running consumer for the examples, and copies of them that use its topics."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import bench, make_settings, tiny_bundle
from tests.integration.harness import Bench, ConsumerProcess

__all__ = ["bench", "example", "make_settings", "running_consumer", "tiny_bundle"]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def running_consumer(bench: Bench) -> ConsumerProcess:
    """`python -m consumer run` on the topics of `bench`, ready."""
    consumer = bench.process()
    consumer.wait_ready()
    return consumer


@pytest.fixture
def example(bench: Bench, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts an example as it stands, but for the names of topics: the real ones may be in use."""

    def start(name: str, *arguments: str, tools: Path | None = None) -> "subprocess.Popen[str]":
        program = (EXAMPLES / name).read_text("utf-8")
        program = program.replace("feedback.events", bench.topics.events)
        copy = tmp_path / name
        copy.write_text(program.replace("feedback.classified", bench.topics.results), "utf-8")
        folders = [] if tools is None else [str(tools)]
        return subprocess.Popen(
            [sys.executable if copy.suffix == ".py" else "bash", copy, *arguments],
            env={
                **os.environ,
                "KAFKA_BOOTSTRAP_SERVERS": bench.kafka.bootstrap_servers,
                "PATH": os.pathsep.join((*folders, os.environ["PATH"])),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
