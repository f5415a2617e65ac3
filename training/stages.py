"""Steps of a long job, each done once: what stands with the same fingerprint is not made again."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from rich.console import Console

_MARK: Final = ".stage.json"
_HASHED_CHUNK_BYTES: Final = 1 << 20


class Stages:
    """The stages of one output folder. Beside the output NAME stands NAME.stage.json: its fingerprint and its time."""

    def __init__(self, folder: Path, console: Console) -> None:
        """Make the folder if it is absent."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._console = console
        self.seconds: dict[str, float] = {}

    def run(
        self,
        name: str,
        spec: dict[str, Any] | None,
        inputs: Iterable[Path],
        make: Callable[[Path], object],
    ) -> Path:
        """Make an output unless it stands; an unfinished one with the same fingerprint is gone on with.

        Args:
            name: of the output, a file or a folder.
            spec: everything but files that decides what comes out.
            inputs: files that decide it too; of a folder its `report.json` or `manifest.json`.
            make: writes the output to the path that it is given.

        Returns:
            The output.
        """
        out, mark = self._folder / name, self._folder / f"{name}{_MARK}"
        fingerprint = _fingerprint(spec, inputs)
        before = _read_mark(mark)
        if before.get("fingerprint") != fingerprint:
            _remove(out)
            before = {}
        elif before.get("done") and out.exists():
            self.seconds[name] = before["seconds"]
            self._console.print(f"[dim]{name}: stands already[/]", highlight=False)
            return out
        self._console.rule(name)
        spent = float(before.get("seconds", 0.0))
        _write_mark(mark, {"fingerprint": fingerprint, "done": False, "seconds": spent})
        started = time.monotonic()
        try:
            make(out)
        finally:
            spent += time.monotonic() - started
            _write_mark(mark, {"fingerprint": fingerprint, "done": False, "seconds": spent})
        _write_mark(mark, {"fingerprint": fingerprint, "done": True, "seconds": round(spent, 1)})
        self.seconds[name] = round(spent, 1)
        return out


def _fingerprint(spec: dict[str, Any] | None, inputs: Iterable[Path]) -> str:
    content = hashlib.sha256(json.dumps(spec, sort_keys=True).encode())
    for path in inputs:
        with path.open("rb") as file:
            while chunk := file.read(_HASHED_CHUNK_BYTES):
                content.update(chunk)
        content.update(b"\0")
    return content.hexdigest()


def _read_mark(mark: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(mark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _write_mark(mark: Path, content: dict[str, Any]) -> None:
    partial = mark.with_suffix(".partial")
    partial.write_text(json.dumps(content) + "\n", encoding="utf-8")
    partial.replace(mark)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
