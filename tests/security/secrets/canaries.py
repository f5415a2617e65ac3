"""Secrets and a customer that are easy to recognise, wherever they turn up and however they are written."""

import base64
import html
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, quote_plus

# With characters that URLs, shells, JSON and connection strings treat in ways of their own.
_ODD = "c4n/r:y@%+ ?#"


def secret(name: str) -> str:
    """A secret that says which setting it is of."""
    return f"kanari-{name}-{_ODD}{name}"


def forms(value: str) -> Iterator[str]:
    """The ways in which a value may be written down."""
    yield value
    yield quote(value, safe="")
    yield quote(value)
    yield quote_plus(value)
    yield html.escape(value)
    yield json.dumps(value)[1:-1]
    yield repr(value)[1:-1]
    yield value.encode().hex()
    for before in range(3):  # base64 knows three ways, by what stands before
        encoded = base64.b64encode(b"x" * before + value.encode()).decode()
        yield encoded[4 if before else 0 : -4]


@dataclass
class Sought:
    """Values that must stand nowhere, by name; and everything that was looked at."""

    values: Mapping[str, str]
    looked_at: dict[str, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    def look(self, place: str, content: str | bytes) -> None:
        """Look for every form of every value, and for the part that all forms keep."""
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
        self.looked_at[place] = self.looked_at.get(place, 0) + len(text)
        for name, value in self.values.items():
            if any(form in text for form in forms(value)) or (value.startswith("kanari-") and value[:12] in text):
                at = text.find(value[:12])
                self.found.append(f"{name} in {place}: ...{text[max(0, at - 80) : at + 60]!r}")

    def look_into(self, folder: Path) -> None:
        """Look into every file of a folder."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.look(path.name, path.read_bytes())


def command_lines(pid: int) -> str:
    """The arguments of a process and of all that it started."""
    found = ""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "stat").read_text().rpartition(")")[2].split()
            words = (process / "cmdline").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if int(process.name) == pid or int(status[1]) == pid:
            found += words.replace("\0", " ") + "\n"
    return found
