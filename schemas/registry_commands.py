"""`python -m schemas registry`: is the event's schema in the schema registry, and put it there."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from schemas.registry import (
    RegisteredEventSchema,
    RegistryError,
    SchemaRegistryConnection,
    find_event_schema,
    register_event_schema,
)
from schemas.topics import EVENTS

_REFUSED = 1
_USAGE = 2

registry_app = typer.Typer(
    no_args_is_help=True,
    help="The event's JSON Schema in a schema registry. Where it is and the login come from KAFKA_SCHEMA_REGISTRY_URL, "
    "KAFKA_SCHEMA_REGISTRY_USERNAME, KAFKA_SCHEMA_REGISTRY_PASSWORD.",
)
out = Console()
err = Console(stderr=True)

TopicOption = Annotated[str, typer.Option(help="The events topic; its subject is TOPIC-value.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@registry_app.command()
def check(topic: TopicOption = EVENTS, as_json: JsonOption = False) -> None:
    """Say under which version and id this version's schema is registered. Changes nothing.

    Exit codes: 0 it is registered, 1 it is not, or the registry is away or refuses, 2 bad arguments or settings.
    """
    connection = _connection()
    with _refusals():
        found = find_event_schema(connection, topic)
    if found is None:
        _fail(f"{topic}-value does not hold this version's schema: `python -m schemas registry register` puts it there")
    _print(found, as_json)


@registry_app.command()
def register(topic: TopicOption = EVENTS, as_json: JsonOption = False) -> None:
    """Register this version's schema, unless it is there. The registry's own rules of compatibility apply.

    Exit codes: 0 it is registered, 1 the registry is away or refuses, 2 bad arguments or settings.
    """
    connection = _connection()
    with _refusals():
        registered = register_event_schema(connection, topic)
    _print(registered, as_json)


def _connection() -> SchemaRegistryConnection:
    try:
        connection = SchemaRegistryConnection.from_environment()
    except RegistryError as error:
        _fail(str(error), _USAGE)
    if connection.url is None:
        _fail("KAFKA_SCHEMA_REGISTRY_URL is not set", _USAGE)
    return connection


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except RegistryError as error:
        _fail(str(error))


def _print(registered: RegisteredEventSchema, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(asdict(registered), default=str) + "\n")
        return
    version = "" if registered.version is None else f"version {registered.version}, "
    out.print(f"{registered.subject}: {version}id {registered.schema_id}", highlight=False, soft_wrap=True)


def _fail(message: str, code: int = _REFUSED) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)
