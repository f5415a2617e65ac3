"""docs/database-security.md says what the declaration says."""

import re

from schemas.roles import load_roles
from tests.deploy.deployed_settings import ROOT

PAGE = ROOT / "docs/database-security.md"


def rows() -> list[str]:
    """The table of roles as the page must have it."""
    lines = ["| role | for | may |", "|---|---|---|"]
    for name, spec in load_roles().roles.items():
        rights = [f"`{table}`: {', '.join(written)}" for table, written in spec.tables.items()]
        temporary = ["make temporary tables"] if spec.temporary_tables else []
        lines.append(f"| `{name}` | {spec.description} | {'; '.join([*temporary, *rights])} |")
    return lines


def test_the_table_of_roles_is_that_of_the_declaration() -> None:
    text = PAGE.read_text("utf-8")

    assert "\n".join(rows()) in text, "put these lines there:\n" + "\n".join(rows())


def test_every_role_is_weighed() -> None:
    section = PAGE.read_text("utf-8").split("## What a stolen login can do", 1)[1].split("\n## ", 1)[0]
    weighed = {
        role for row in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE) for role in re.findall(r"`(\w+)`", row)
    }

    assert weighed == set(load_roles().roles)
