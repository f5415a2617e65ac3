"""What a page of the documents tells its reader to run.

Every block of shell, Python and SQL is run, in the page's order. HTML comments right above a block say otherwise:

    <!-- not run: REASON -->    it cannot run in a test; the reason is for whoever reads the source of the page
    <!-- exits: 4 -->           its last command ends with this status
    <!-- prints: SOME WORDS --> what it prints holds these words
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.deployed_settings import ROOT

RUN_LANGUAGES = {"sh", "python", "sql"}
SHOWN_LANGUAGES = {"", "text", "json", "yaml", "toml", "html"}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[^`]*)$")
_COMMENT = re.compile(r"<!--\s*(not run|exits|prints):\s*(.*?)\s*-->")


@dataclass(frozen=True)
class Block:
    """A fenced block. `line` is that of its fence, from 1."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    exits: int
    prints: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in its order."""
    lines = page.read_text("utf-8").splitlines()
    found = []
    comments: list[tuple[str, str]] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        opened = _FENCE.match(line)
        if opened is None:
            comments = comments + _COMMENT.findall(line) if line.strip().startswith("<!--") else []
            number += 1
            continue
        end = number + 1
        while lines[end].strip() != opened["ticks"]:
            end += 1
        indent = len(opened["indent"])
        said = dict(comments)
        found.append(
            Block(
                page=page,
                line=number + 1,
                language=opened["language"].strip(),
                text="".join(f"{inner[indent:]}\n" for inner in lines[number + 1 : end]),
                not_run=said.get("not run"),
                exits=int(said.get("exits", "0")),
                prints=tuple(words for name, words in comments if name == "prints"),
            )
        )
        comments = []
        number = end + 1
    return found


def blocks_to_run(page: Path) -> list[Block]:
    """Those that the test runs."""
    return [block for block in blocks_of(page) if block.language in RUN_LANGUAGES and block.not_run is None]
