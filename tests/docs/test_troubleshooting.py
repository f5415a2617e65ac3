"""docs/troubleshooting.md quotes what the code says, and leaves no refusal of the consumer out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.deploy.deployed_settings import ROOT

PAGE = ROOT / "docs/troubleshooting.md"
PACKAGES = ("consumer", "producer", "schemas", "devstack", "demo")
# What stands for a value, in the page and in the literals alike.
VALUE = "..."


@cache
def trees() -> dict[Path, ast.Module]:
    return {
        path: ast.parse(path.read_text("utf-8"))
        for package in PACKAGES
        for path in sorted((ROOT / package).glob("**/*.py"))
    }


@cache
def constants() -> dict[str, str]:
    """The strings that modules give a name to."""
    return {
        node.target.id: node.value.value
        for tree in trees().values()
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def literal(expression: ast.expr) -> str | None:
    """The text of a string or f-string; values in it become `...`."""
    if isinstance(expression, ast.JoinedStr):
        return "".join(literal(part) or "" for part in expression.values)
    if isinstance(expression, ast.FormattedValue):
        return constants().get(expression.value.id, VALUE) if isinstance(expression.value, ast.Name) else VALUE
    return expression.value if isinstance(expression, ast.Constant) and isinstance(expression.value, str) else None


@cache
def literals() -> frozenset[str]:
    """Every string of the code but its docstrings."""
    nodes = [node for tree in trees().values() for node in ast.walk(tree)]
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    return frozenset(
        text for node in nodes if isinstance(node, ast.expr) and node not in docstrings and (text := literal(node))
    )


def quoted() -> list[str]:
    """The code spans in the first column of each table that is headed `message`."""
    tables = re.findall(r"^\| message \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE.read_text("utf-8"), re.MULTILINE)
    return [
        span for table in tables for row in table.splitlines() for span in re.findall(r"`([^`]+)`", row.split("|")[1])
    ]


def says(text: str, message: str) -> bool:
    """Whether a literal says the message, as far as the page quotes it."""
    fragments = [re.escape(fragment) for fragment in re.split(r"\s*\.\.\.\s*", message)]
    return re.search(".*".join(fragments), text, re.DOTALL) is not None


@pytest.mark.parametrize("message", quoted())
def test_each_quoted_message_is_one_of_the_code(message: str) -> None:
    assert re.search(r"[a-z]{4}", message), "too little to find anything by"
    assert any(says(text, message) for text in literals()), message


def is_part_of_run(path: Path) -> bool:
    """Operators' commands tell their own user at once; the in-memory transport serves tests only."""
    return path.is_relative_to(ROOT / "consumer") and "operations" not in path.parts and path.name != "memory.py"


def test_every_refusal_of_the_consumer_is_explained() -> None:
    messages = quoted()
    raised = {
        text: f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, tree in trees().items()
        if is_part_of_run(path)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in {"FatalError", "DeadLetterLimitError"} and node.args
        if (text := literal(node.args[0])) is not None
    }

    unexplained = {
        text: place for text, place in raised.items() if not any(says(text, message) for message in messages)
    }

    assert len(raised) > 15
    assert unexplained == {}
