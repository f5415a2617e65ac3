"""`python docs/generate.py`: write the pages of docs/reference from the types, settings and topics of the code."""

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from docs.generators.contract_pages import events_page, topics_page
from docs.generators.html_page import html_page
from docs.generators.settings_page import settings_page
from schemas.asyncapi.document import asyncapi_document

REFERENCE: Final = Path(__file__).parent / "reference"


def reference_pages() -> dict[Path, str]:
    """Each page's path and the content that the code asks for."""
    document = asyncapi_document()
    return {
        REFERENCE / "asyncapi.html": html_page(document),
        REFERENCE / "configuration.md": settings_page(),
        REFERENCE / "events.md": events_page(document),
        REFERENCE / "topics.md": topics_page(document),
    }


def main(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if a page is out of date.")] = False,
) -> None:
    """Write the pages of docs/reference."""
    stale = {
        path: content
        for path, content in reference_pages().items()
        if not path.exists() or path.read_text("utf-8") != content
    }
    for path, content in stale.items():
        sys.stdout.write(f"{'out of date' if check else 'written'}: {path.name}\n")
        if not check:
            path.write_text(content, "utf-8")
    if check and stale:
        sys.stderr.write("run `python docs/generate.py` and commit what it writes\n")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
