"""`python -m model_export` that is killed in the middle: `dying_publish PLACE ARGUMENTS...`, exit status 86."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import typer

from consumer.inference.manifest import MODEL_FILE
from model_export.publish_commands import register
from model_export.publishing.registry import Registry
from model_export.publishing.storage import _Folder
from model_export.publishing.topic import ModelTopics

KILLED = 86


def die(*_: object) -> NoReturn:
    os._exit(KILLED)


def die_inside_a_file(folder: _Folder, source: Path, name: str) -> None:
    if name == MODEL_FILE:
        half = source.read_bytes()[: source.stat().st_size // 2]
        folder._files.pipe_file(f"{folder._root}/{name}", half)
        die()
    write(folder, source, name)


write = _Folder.write
SEAMS: dict[str, tuple[Any, str, Any]] = {
    "inside a file": (_Folder, "write", die_inside_a_file),
    "before the announcement": (ModelTopics, "announce", die),
    "after the announcement": (Registry, "confirm", die),
}

if __name__ == "__main__":
    setattr(*SEAMS[sys.argv.pop(1)])
    app = typer.Typer()
    register(app)
    app()
