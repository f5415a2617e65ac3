"""`python -m schemas access`: a cluster's rights are shown, compared with the file, given, and taken."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import schemas.__main__
from schemas.access import Right, load_access, rights_of
from schemas.connection import KafkaConnection
from tests.deploy.deployed_settings import ROOT
from tests.security.kafka.conftest import GROUP, Secured

HOLDERS = [
    word
    for role in ("publisher", "consumer", "reader", "operator", "announcer")
    for word in ("--principal", f"{role}=User:{role}")
]


def documents(secured: Secured, command: str, *arguments: str) -> list[dict[str, str]]:
    done = secured.run("administrator", f"schemas access {command}", *arguments, "--json")
    assert done.err == ""
    found: list[dict[str, str]] = json.loads(done.out)
    return found


@pytest.mark.kafka
def test_what_departs_from_the_file_is_found_given_and_taken_away(secured: Secured) -> None:
    assert documents(secured, "diff", *HOLDERS) == []

    lacking = secured.right("publisher", "Write", "feedback.events")
    too_much = Right("User:reader", "topic", "feedback.", prefixed=True, operation="Write")
    stranger = Right("User:*", "topic", "*", prefixed=False, operation="All", host="10.0.0.1")
    elsewhere = Right("User:billing", "topic", "billing.invoices", prefixed=False, operation="Read")
    secured.take(lacking)
    secured.give(too_much, stranger, elsewhere)
    try:
        found = documents(secured, "diff", *HOLDERS)
        assert {(each["state"], each["principal"], each["name"]) for each in found} == {
            ("missing", "User:publisher", "feedback.events"),
            ("surplus", "User:reader", "feedback."),
            ("other", "User:*", "*"),
        }
        assert secured.run("administrator", "schemas access diff", *HOLDERS).status == 1
        table = secured.run("administrator", "schemas access diff", *HOLDERS).out
        assert "topic * from 10.0.0.1" in table

        assert [each["state"] for each in documents(secured, "apply", *HOLDERS)] == ["missing"]
        assert [each["state"] for each in documents(secured, "apply", *HOLDERS, "--prune")] == ["surplus"]
        # What others may do is theirs.
        assert [each["state"] for each in documents(secured, "diff", *HOLDERS)] == ["other"]
    finally:
        secured.take(too_much, stranger, elsewhere)
    assert "agrees with the file" in secured.run("administrator", "schemas access diff", *HOLDERS).out


@pytest.mark.kafka
@pytest.mark.parametrize(("command", "status"), [("diff", 2), ("apply", 1)])
def test_a_cluster_that_keeps_no_rights_is_told(
    command: str, status: int, secured: Secured, kafka: KafkaConnection
) -> None:
    done = secured.run_with({"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}, f"schemas access {command}")

    assert done.status == status
    assert "keeps no rights" in done.line


@pytest.mark.kafka
@pytest.mark.parametrize("command", ["diff", "apply"])
def test_only_a_superuser_sees_and_gives_rights(command: str, secured: Secured) -> None:
    done = secured.run("operator", f"schemas access {command}")

    assert done.status in {1, 2}
    assert "only a superuser may see and give rights" in done.line


@pytest.mark.parametrize(
    ("principal", "words"),
    [
        ("owner=User:me", "there is no role owner"),
        ("reader", "name one principal"),
        ("reader=crm", "name one principal"),
        ("reader=User:*", "name one principal"),
        ("reader=User:", "name one principal"),
    ],
)
def test_a_role_goes_to_one_named_principal(principal: str, words: str) -> None:
    done = CliRunner().invoke(schemas.__main__.app, ["access", "show", "--principal", principal])

    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_role_may_have_several_holders_and_roles_that_are_not_named_have_none() -> None:
    arguments = ["--principal", "reader=User:crm", "--principal", "reader=User:dashboard", "--group", "mine"]
    done = CliRunner().invoke(schemas.__main__.app, ["access", "show", *arguments, "--json"])

    rights = json.loads(done.stdout)
    assert {right["principal"] for right in rights} == {"User:crm", "User:dashboard"}
    assert {right["name"] for right in rights if right["resource"] == "group"} >= {"crm", "crm-", "dashboard"}


def test_the_group_names_what_the_consumer_and_the_operator_hold() -> None:
    rights = rights_of(load_access(), {"consumer": ["User:c"], "operator": ["User:o"]}, "mine")

    named = {right.target for right in rights if right.resource != "topic"}
    assert named == {
        "group mine",
        "group mine-dlq-replay",
        "transactional-id mine-*",
        "transactional-id mine-dlq-replay",
    }


def test_kafkas_own_tool_is_given_the_same_rights() -> None:
    done = CliRunner().invoke(
        schemas.__main__.app, ["access", "show", "--principal", "consumer=User:c", "--kafka-acls"]
    )

    said = set()
    for line in done.stdout.splitlines():
        match = re.fullmatch(
            r"kafka-acls\.sh --add --allow-principal (\S+) --(\S+) (\S+) "
            r"--resource-pattern-type (\w+)((?: --operation \w+)+)",
            line,
        )
        assert match is not None, line
        principal, resource, name, pattern, operations = match.groups()
        said |= {
            Right(principal, resource, name, pattern == "prefixed", operation)
            for operation in re.findall(r"--operation (\w+)", operations)
        }
    assert said == set(rights_of(load_access(), {"consumer": ["User:c"]}, GROUP))


def test_the_page_shows_the_rights_of_the_file() -> None:
    page = Path(ROOT / "docs/kafka-security.md").read_text("utf-8")
    table = set(
        re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| (topic|group|transactional-id) `([^`]+)` \|$", page, re.MULTILINE)
    )

    assert table == {
        (role, ", ".join(right.operations), *right.resource)
        for role, spec in load_access().items()
        for right in spec.rights
    }
