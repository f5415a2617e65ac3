"""The generated pages of docs/reference follow the code, name everything, and stand alone."""

import importlib
import pkgutil
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pydantic_settings
import pytest
from typer.testing import CliRunner

import schemas.__main__ as program
from schemas.asyncapi.document import asyncapi_document
from schemas.topics import load_topics

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
GENERATOR = ROOT / "docs" / "generate.py"


class Page(HTMLParser):
    """What a browser would make of the page: places to link to, links, tags left open, and what it would fetch."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if "href" in found else []
        assert "src" not in found
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_committed_pages_are_the_code_s() -> None:
    done = subprocess.run([sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_check_names_what_is_out_of_date_and_changes_nothing(tmp_path: Path) -> None:
    pages = {path.name: path.read_text("utf-8") for path in REFERENCE.iterdir()}
    for name, content in pages.items():
        (tmp_path / name).write_text(content.replace("Partitions", "x").replace("partitions", "x"), "utf-8")
    script = (
        f"import docs.generate as g, pathlib, typer; g.REFERENCE = pathlib.Path({str(tmp_path)!r}); typer.run(g.main)"
    )

    def run(*flags: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", script, *flags], cwd=ROOT, capture_output=True, text=True, check=False
        )

    checked = run("--check")
    assert checked.returncode == 1
    assert "out of date: topics.md" in checked.stdout
    assert checked.stderr == "run `python docs/generate.py` and commit what it writes\n"
    assert run().returncode == 0
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == pages


def test_every_settings_class_is_in_the_reference() -> None:
    for package in ("schemas", "producer", "consumer"):
        for module in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            if not module.name.endswith("__main__") and ".migrations" not in module.name:
                importlib.import_module(module.name)
    page = (REFERENCE / "configuration.md").read_text("utf-8")
    classes = [
        cls
        for cls in all_settings(pydantic_settings.BaseSettings)
        if cls.__module__.split(".")[0] in {"schemas", "producer", "consumer"}
    ]
    assert len(classes) >= 3
    for cls in classes:
        for name, field in cls.model_fields.items():
            variable = str(field.validation_alias or f"{cls.model_config.get('env_prefix', '')}{name}".upper())
            assert f"| `{variable}` |" in page, f"{cls.__name__}: add it to docs/generators/settings_page.py"


def all_settings(base: type[pydantic_settings.BaseSettings]) -> list[type[pydantic_settings.BaseSettings]]:
    return [found for cls in base.__subclasses__() for found in (cls, *all_settings(cls))]


def test_flags_limits_and_defaults_are_as_the_program_takes_them() -> None:
    rows = dict(
        re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", (REFERENCE / "configuration.md").read_text("utf-8"), re.MULTILINE)
    )
    assert rows["CONSUMER_MAX_WINDOW_RECORDS"].startswith("`--max-window-records` | integer | `256` | 1 to 5,000 |")
    assert rows["CONSUMER_DEAD_LETTER_MAX_SHARE"].startswith(
        "`--dead-letter-max-share` | number | `0.5` | above 0, at most 1 |"
    )
    assert rows["DATABASE_URL"].startswith(
        "`--database-url` | string (secret) | `postgresql://feedback@localhost:5432/feedback` |"
    )
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "run", "--help"], capture_output=True, text=True, check=True
    )
    taken = set(re.findall(r"^  (--[a-z-]+)", done.stdout, re.MULTILINE))
    shown = {flag for row in rows.values() for flag in re.findall(r"^`(--[a-z-]+)`", row)}
    assert shown == taken


def test_every_topic_and_field_is_in_the_pages() -> None:
    events, topics = ((REFERENCE / name).read_text("utf-8") for name in ("events.md", "topics.md"))
    for name in load_topics():
        assert f"| `{name}` |" in topics
        assert f"## `{name}`" in events
    for path in ("occurred_at", "event.flags", "category.scores", "source.topic_id", "data.text", "ce_id", "dlq-stage"):
        assert f"| `{path}` |" in events


def test_the_html_page_needs_nothing_from_outside() -> None:
    source = (REFERENCE / "asyncapi.html").read_text("utf-8")
    page = Page(source)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert not page.tags & {"script", "link", "img", "iframe"}
    assert "@import" not in source
    assert "url(" not in source
    assert "prefers-color-scheme: dark" in source
    inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    for link in page.links:
        assert link.startswith("#") or (REFERENCE / link).exists(), link
    for message in asyncapi_document()["components"]["messages"].values():
        assert message["name"] in page.ids
        for header in message["headers"]["properties"]:
            assert f"{message['name']}.header.{header}" in page.ids


def test_a_contract_that_is_out_of_date_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "asyncapi.yaml"
    path.write_text("old", "utf-8")
    monkeypatch.setattr(program, "document_files", lambda: {path: "new"})
    checked = CliRunner().invoke(program.app, ["generate", "--check"])
    assert checked.exit_code == 1
    assert checked.stdout == "out of date: asyncapi.yaml\n"
    assert len(checked.stderr.splitlines()) == 1
    assert path.read_text("utf-8") == "old"
    assert CliRunner().invoke(program.app, ["generate"]).stdout == "written: asyncapi.yaml\n"
    assert path.read_text("utf-8") == "new"


def test_without_pyyaml_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for command in ("generate", "compatibility"):
        done = CliRunner().invoke(program.app, [command])
        assert done.exit_code == 2
        assert done.stderr.splitlines() == ["yaml is not installed: pip install pyyaml"]
