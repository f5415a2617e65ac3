"""An operator's command as a process of its own, its output in files: one that is frozen can be read too."""

import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from consumer.settings import ConsumerSettings
from tests.integration.harness import DEADLINE_S


def environment_of(settings: ConsumerSettings) -> dict[str, str]:
    """The variables that make a process use these settings."""
    given = settings.model_dump(mode="json", exclude_defaults=True, exclude={"bootstrap_servers", "database_url"})
    return {
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "DATABASE_URL": settings.database_url.get_secret_value(),
        **{
            f"CONSUMER_{name.upper()}": json.dumps(value) if isinstance(value, dict) else str(value)
            for name, value in given.items()
        },
    }


@dataclass(frozen=True)
class Command:
    """A running or finished command."""

    process: "subprocess.Popen[bytes]"
    out_path: Path
    err_path: Path

    @classmethod
    def start(cls, settings: ConsumerSettings, folder: Path, module: str, *arguments: str) -> Self:
        name = uuid.uuid4().hex[:8]
        out_path, err_path = folder / f"{name}.out", folder / f"{name}.err"
        with out_path.open("wb") as out, err_path.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env={**os.environ, **environment_of(settings)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        return cls(process, out_path, err_path)

    def wait(self) -> int:
        """Its exit status."""
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.wait()

    @property
    def out(self) -> str:
        """What it has written to standard output."""
        return self.out_path.read_text()

    @property
    def err(self) -> str:
        """What it has written to standard error."""
        return self.err_path.read_text()

    @property
    def document(self) -> Any:
        """The one JSON document on its standard output."""
        return json.loads(self.out)
