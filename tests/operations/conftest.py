"""The consumer's bench again, and operators' commands as they are typed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from consumer.__main__ import app
from consumer.operations import dlq_commands
from tests.integration.conftest import bench, make_settings, other_tiny_bundle, tiny_bundle
from tests.integration.harness import Bench
from tests.operations.command import Command, environment_of

__all__ = ["bench", "make_settings", "other_tiny_bundle", "tiny_bundle"]


@pytest.fixture
def consumer_command(bench: Bench, tmp_path: Path) -> Callable[..., Command]:
    """Starts `python -m consumer ...`, or another module, with the bench's settings."""

    def start(*arguments: str, module: str = "consumer", **changes: object) -> Command:
        return Command.start(bench.make_settings(**changes), tmp_path, module, *arguments)

    return start


@pytest.fixture
def dlq(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs `dlq ...` in this process: exit status, standard output, standard error."""
    # The logs of this process are other tests' too.
    monkeypatch.setattr(dlq_commands, "configure_logs", lambda *_: None)

    def run(*arguments: str, **changes: object) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["dlq", *arguments], env=environment_of(bench.make_settings(**changes)))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, done.stdout, done.stderr

    return run
