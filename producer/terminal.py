"""What the commands share: exit codes, options, and one clear line for each mistake."""

from typing import Annotated, Final, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from schemas.connection import KafkaConnection
from schemas.registry import SchemaRegistryConnection

USAGE: Final = 2
NO_KAFKA: Final = 3
INTERRUPTED: Final = 130

out: Final = Console()
err: Final = Console(stderr=True)

TopicOption = Annotated[str, typer.Option(help="Where to publish.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and end with this exit code."""
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def kafka_connection() -> KafkaConnection:
    """The connection from the environment; ends the program where the variables make no sense."""
    try:
        # The publisher reads it; what makes no sense is judged here, as arguments are.
        SchemaRegistryConnection()
        return KafkaConnection()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # What is wrong between two variables has no place of its own.
        fail(": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")]), USAGE)
