"""`python -m schemas access`: who may do what in Kafka; show it, compare a cluster with it, give the rights."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, Final, NoReturn

import typer
from confluent_kafka import KafkaException
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from schemas.access import (
    DEFAULT_GROUP,
    AccessDifference,
    NoAuthorizerError,
    NotASuperuserError,
    Right,
    apply_access,
    diff_access,
    kafka_acls_commands,
    load_access,
    rights_of,
)
from schemas.cluster import Cluster, ClusterUnreachableError, LoginRefusedError
from schemas.connection import KafkaConnection

_REFUSED: Final = 1
_USAGE: Final = 2
_PRINCIPAL: Final = re.compile(r"[A-Za-z]+:[^*]+")
_WORDS: Final = {
    "missing": "lacks a right of its role",
    "surplus": "may do more than its role",
    "other": "has no role",
}

access_app = typer.Typer(
    no_args_is_help=True,
    help="Compare the cluster's rights with schemas/access.toml. Only the cluster's superuser may look at rights and "
    "give them.",
)
out = Console()
err = Console(stderr=True)

PrincipalOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ROLE=User:NAME",
        help="Whom to give a role to; repeatable, also for one role. Roles that are not named are given to nobody. "
        "Without this option every role goes to the user of its name.",
        show_default=False,
    ),
]
GroupOption = Annotated[str, typer.Option(help="The consumers' group (CONSUMER_GROUP_ID).")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


@access_app.command()
def show(
    principal: PrincipalOption = None,
    group: GroupOption = DEFAULT_GROUP,
    kafka_acls: Annotated[
        bool, typer.Option("--kafka-acls", help="Print the commands of Kafka's own tool that give these rights.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the rights of each role. Asks no cluster.

    Exits 0, or 2 for bad arguments.
    """
    rights = _wanted(principal, group)
    if kafka_acls:
        sys.stdout.write("".join(f"{command}\n" for command in kafka_acls_commands(rights)))
    elif as_json:
        sys.stdout.write(json.dumps([asdict(right) for right in rights]) + "\n")
    else:
        table = Table("principal", "may", "on")
        for right in rights:
            table.add_row(right.principal, right.operation, right.target)
        out.print(table)


@access_app.command()
def diff(principal: PrincipalOption = None, group: GroupOption = DEFAULT_GROUP, as_json: JsonOption = False) -> None:
    """Show which rights are missing, which ones are too many, and who else may do something with our topics.

    Exits 1 if there are any, 2 if the cluster does not answer or refuses, or for bad arguments or settings.
    """
    wanted = _wanted(principal, group)
    with _cluster(_USAGE) as cluster:
        differences = diff_access(cluster, wanted)
    _print(differences, as_json, "the cluster agrees with the file")
    if differences:
        raise typer.Exit(_REFUSED)


@access_app.command()
def apply(
    principal: PrincipalOption = None,
    group: GroupOption = DEFAULT_GROUP,
    prune: Annotated[
        bool, typer.Option("--prune", help="Take from these principals the rights that their roles do not give.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Give the rights that are missing. Takes none away, unless --prune asks for it; never those of others.

    Exits 1 if the cluster does not answer or refuses, 2 for bad arguments or settings.
    """
    wanted = _wanted(principal, group)
    with _cluster(_REFUSED) as cluster:
        differences = apply_access(cluster, wanted, prune=prune)
    _print(differences, as_json, "nothing to change", done=True)


def _wanted(principals: Sequence[str] | None, group: str) -> list[Right]:
    roles = load_access()
    if not principals:
        return rights_of(roles, {role: [f"User:{role}"] for role in roles}, group)
    holders: dict[str, list[str]] = {}
    for each in principals:
        role, _, principal = each.partition("=")
        if role not in roles:
            _fail(f"--principal {each}: there is no role {role}; there are {', '.join(roles)}", _USAGE)
        if _PRINCIPAL.fullmatch(principal) is None:
            _fail(f"--principal {each}: name one principal, as in {role}=User:{role}", _USAGE)
        holders.setdefault(role, []).append(principal)
    return rights_of(roles, holders, group)


@contextmanager
def _cluster(refusal_code: int) -> Iterator[Cluster]:
    try:
        connection = KafkaConnection()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        _fail(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}", _USAGE)
    try:
        yield Cluster(connection.as_librdkafka())
    except (ClusterUnreachableError, LoginRefusedError) as error:
        _fail(str(error), refusal_code)
    except NoAuthorizerError:
        _fail(
            f"Kafka at {connection.bootstrap_servers} keeps no rights: everybody may do everything; set "
            "authorizer.class.name of its brokers",
            refusal_code,
        )
    except NotASuperuserError:
        _fail(
            f"Kafka at {connection.bootstrap_servers} refuses: only a superuser may see and give rights", refusal_code
        )
    except KafkaException as error:
        _fail(f"Kafka refuses: {error.args[0].str()}", refusal_code)


def _print(differences: Sequence[AccessDifference], as_json: bool, nothing: str, *, done: bool = False) -> None:
    if as_json:
        rows: list[dict[str, Any]] = [{"state": each.state, **asdict(each.right)} for each in differences]
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    if not differences:
        out.print(nothing)
        return
    table = Table("principal", "may" if not done else "right", "on", "")
    for each in differences:
        right = each.right
        words = ("given" if each.state == "missing" else "taken away") if done else _WORDS[each.state]
        operation = f"not {right.operation}" if right.denies else right.operation
        where = "" if right.host == "*" else f" from {right.host}"
        table.add_row(right.principal, operation, f"{right.target}{where}", words)
    out.print(table)


def _fail(message: str, code: int) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
