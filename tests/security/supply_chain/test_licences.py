"""Every dependency's licence is listed and allowed. Needs no network."""

from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import pytest

from supply_chain import licences

ALLOWED = {"MIT", "Apache-2.0", "BSD-3-Clause"}


class _Described(Distribution):
    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    @property
    def metadata(self) -> Any:
        message = Message()
        for name, value in self._fields:
            message[name] = value
        return message

    def read_text(self, filename: str) -> str | None:
        raise NotImplementedError

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


def test_every_licence_is_listed_and_allowed() -> None:
    assert licences.check() == []


def test_a_new_package_a_forbidden_licence_and_a_change_of_licence_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "licences.md"
    text = licences.PAGE.read_text("utf-8")
    rows = {row.name: row for row in licences.read_page()}
    assert rows["pydantic"].licence == "MIT"
    for old, new in {
        f"| `typer` | {rows['typer'].licence} |": "| `another` | MIT |",
        "| `pydantic` | MIT |": "| `pydantic` | AGPL-3.0-only |",
        f"| `numpy` | {rows['numpy'].licence} |": "| `numpy` | MIT |",
        "| `psycopg2-binary` | LGPL-3.0-or-later |": "| `psycopg2-binary` | LGPL-2.1-only |",
    }.items():
        assert old in text
        text = text.replace(old, new)
    page.write_text(text)
    monkeypatch.setattr(licences, "PAGE", page)

    found = "\n".join(licences.check())

    assert "pydantic: AGPL-3.0-only is not allowed" in found
    assert "psycopg2-binary: LGPL-2.1-only is not allowed" in found
    assert "typer: consumer.txt brings it, and it is not listed" in found
    assert f"numpy: {rows['numpy'].licence} is installed, MIT is listed" in found


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only AND MIT", False),
        ("MIT AND (GPL-3.0-only OR Apache-2.0)", True),
        ("(GPL-3.0-only OR LGPL-2.1-only) AND MIT", False),
        ("MIT OR GPL-3.0-only AND AGPL-3.0-only", True),
        ("Apache-2.0 WITH LLVM-exception AND MIT", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("LicenseRef-Secret", False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    assert licences.is_allowed(expression, ALLOWED) is allowed


@pytest.mark.parametrize(
    ("fields", "stated"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL-3.0-only")], "MIT"),
        ([("License", "apache-2.0")], "Apache-2.0"),
        ([("License", "Apache"), ("Classifier", "License :: OSI Approved :: Apache Software License")], "Apache-2.0"),
        ([("License", "MIT License\n\n" + 50 * "The whole text. ")], None),
        ([("Classifier", "License :: OSI Approved :: BSD License")], None),
        (
            [
                ("Classifier", "License :: OSI Approved :: MIT License"),
                ("Classifier", "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"),
            ],
            None,
        ),
        ([], None),
    ],
)
def test_what_metadata_states(fields: list[tuple[str, str]], stated: str | None) -> None:
    assert licences.stated_licence(_Described(fields)) == stated
