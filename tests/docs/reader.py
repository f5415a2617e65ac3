"""A reader who has typed `make up` and follows a page from its top to its end, in one shell."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.deployed_settings import ROOT
from tests.docs.pages import Block

# A long page starts Python two dozen times; the rest is for a busy machine.
_PAGE_TIMEOUT_S = 240
_OURS = ("KAFKA_", "CONSUMER_", "DATABASE_URL", "OTEL_")


def copy_repository(target: Path) -> None:
    """Copy what a clone and the changes in it hold: nothing that the documents do may reach the repository itself."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def environment_without_ours() -> dict[str, str]:
    """The environment, as for somebody who has configured nothing yet."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}


@dataclass(frozen=True)
class Reader:
    """Where the reader sits.

    Attributes:
        repository: their copy of it, and where they type.
        home: their home folder.
        variables: the environment of their shell, passwords included.
        http_address: where their consumer answers, which the documents call localhost:9464.
    """

    repository: Path
    home: Path
    variables: dict[str, str] = field(repr=False)
    http_address: str

    def follow(self, blocks: Sequence[Block]) -> str | None:
        """Run the blocks in one shell; what went wrong first, with its place, or None."""
        outputs = self.home / "outputs"
        shutil.rmtree(outputs, ignore_errors=True)
        outputs.mkdir()
        script = self.home / "page.sh"
        script.write_text("".join(self._script(block, outputs / f"{i}.txt") for i, block in enumerate(blocks)), "utf-8")
        shell = subprocess.Popen(
            ["bash", script],  # noqa: S607 (the reader's own shell)
            cwd=self.repository,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            said, _ = shell.communicate(timeout=_PAGE_TIMEOUT_S)
            status: int | str = shell.returncode
        except subprocess.TimeoutExpired:
            shell.kill()
            said, _ = shell.communicate()
            status = f"nothing within {_PAGE_TIMEOUT_S} s"
        return self._judge(blocks, outputs, status, said)

    def _script(self, block: Block, output: Path) -> str:
        text = block.text.replace("localhost:9464", self.http_address).replace("127.0.0.1:9464", self.http_address)
        if block.language != "sh":
            program = {"python": "python -", "sql": 'psql "$DATABASE_URL" --no-psqlrc --set ON_ERROR_STOP=1'}
            text = f"{program[block.language]} <<'END_OF_BLOCK'\n{text}END_OF_BLOCK\n"
        strictly = f'exec >"{output}" 2>&1\nset -euo pipefail\n'
        if block.exits == 0:
            return strictly + text
        check = f'status=$?\n[ $status = {block.exits} ] || {{ echo "exits with $status"; exit 1; }}\n'
        return f"{strictly}set +e\n{text}{check}"

    def _judge(self, blocks: Sequence[Block], outputs: Path, status: int | str, said: str) -> str | None:
        reached = [outputs / f"{number}.txt" for number in range(len(blocks)) if (outputs / f"{number}.txt").exists()]
        for block, output in zip(blocks, reached, strict=False):
            printed = output.read_text("utf-8", "replace")
            if output == reached[-1] and status != 0:
                return f"{block.place}: ended with {status}:\n{block.text}\nit printed:\n{printed}{said}"
            for words in block.prints:
                if words not in printed:
                    return f"{block.place}: did not print {words!r}:\n{block.text}\nit printed:\n{printed}"
        if len(reached) < len(blocks):
            return f"{blocks[len(reached)].place}: was not reached: exit status {status}\n{said}"
        return None
