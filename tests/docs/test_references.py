"""What the documents tell people to type, set or click exists."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from consumer.settings import ConsumerSettings
from demo.hostile import hostile_records
from schemas.registry import SchemaRegistryConnection
from schemas.topics import EVENTS, load_topics
from tests.deploy.deployed_settings import ENVIRONMENT_NAMES, ROOT
from tests.docs.pages import PAGES

DOCUMENTS = [*PAGES, ROOT / "CHANGELOG.md"]
# These import torch, which the environment of the tests does not have.
UNSEEN = {"training"}


@pytest.fixture(params=DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def anchors(path: Path) -> set[str]:
    """The anchors of a Markdown file's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(document: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))


def test_links_lead_somewhere(document: Path) -> None:
    for target in links_of(document):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs/README.md"
    named = {(index.parent / target.partition("#")[0]).resolve() for target in links_of(index)}

    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs") and page.parent.name != "decisions"}
    assert pages - {index} <= named


def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))

    named = re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text("utf-8"), re.MULTILINE)

    assert set(named) <= targets


def words_of(line: str) -> list[str]:
    """The words of a command, which may be part of another one or go on in the next line."""
    line = re.split(r"[);&<>]", line, maxsplit=1)[0].rstrip("\\ ")
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def test_scripts_exist(document: Path) -> None:
    for script in re.findall(r"python ((?:[\w-]+/)+[\w-]+\.py)", document.read_text("utf-8")):
        assert (ROOT / script).exists(), script


def test_commands_exist(document: Path) -> None:
    for line in re.findall(r"python -m ([^`\n|#]+)", document.read_text("utf-8")):
        package, *words = words_of(line)
        package = package.rstrip(",.:")
        if package in UNSEEN:
            continue
        specification = importlib.util.find_spec(package)
        assert specification is not None, line
        if specification.submodule_search_locations is None and not words:
            continue
        module = f"{package}.__main__" if specification.submodule_search_locations is not None else package
        if package == "model_export":
            module = "model_export.commands"
        command = get_command(importlib.import_module(module).app)
        if package == "model_export" and words:
            assert isinstance(command, typer.core.TyperGroup)
            # What does not begin with a command's name is an export.
            words = words if set(words[0].split("|")) & set(command.commands) else ["export", *words]
        while isinstance(command, typer.core.TyperGroup) and words:
            # `topics apply|diff` stands for both.
            names = words.pop(0).rstrip(",.:").split("|")
            assert set(names) <= set(command.commands), line
            command = command.commands[names[0]]
        flags = {option for parameter in command.params for option in parameter.opts}
        if package == "consumer" and command.name in {"run", "check-config"}:
            flags |= {f"--{name.replace('_', '-')}" for name in ConsumerSettings.model_fields} | {"--help"}
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= flags | {"--help"}, line


def test_settings_exist(document: Path) -> None:
    text = document.read_text("utf-8")

    # KAFKA_SASL_* stands for several.
    named = set(re.findall(r"\b(?:CONSUMER|KAFKA)_[A-Z_]+\b(?!\*)", text))

    registry = {str(field.validation_alias) for field in SchemaRegistryConnection.model_fields.values()}
    assert named <= ENVIRONMENT_NAMES | registry


def test_defaults_are_the_settings_own() -> None:
    table = re.findall(
        r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", (ROOT / "docs/operations.md").read_text("utf-8"), re.MULTILINE
    )
    defaults = {
        str(field.validation_alias or f"CONSUMER_{name.upper()}"): field.get_default()
        for name, field in ConsumerSettings.model_fields.items()
    }

    assert len(table) > 10
    for names, shown in table:
        for name, default in zip(re.findall(r"[A-Z_]+", names), re.findall(r"`([^`]+)`", shown) or [None], strict=True):
            value = defaults[name]
            value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
            assert (default is None) == (value is None), name
            assert default is None or default == str(value), name


def test_each_kind_of_hostile_record_is_explained() -> None:
    text = (ROOT / "docs/events.md").read_text("utf-8")
    spec = load_topics()[EVENTS]

    for record in hostile_records(spec.partitions, int(spec.config["max.message.bytes"])):
        expectation = record.expectation
        for word in {*expectation.flags, expectation.error_class or "event_id"}:
            assert f"`{word}`" in text, record.kind
