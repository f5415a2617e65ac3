"""`python -m schemas`: generate the contract files, migrate the database, bring the topics in line."""

import json
import sys
from typing import Annotated, NoReturn, TypeVar

import typer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.table import Table

from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.jsonschema import contract_files
from schemas.topics import TopicDifference, apply_topics, diff_topics, load_topics

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
topics_app = typer.Typer(no_args_is_help=True, help="Compare the cluster's topics with schemas/topics.toml.")
app.add_typer(topics_app, name="topics")

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

out = Console()
err = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


def _fail(message: str, code: int = 1) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


@app.command()
def generate(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if a file is out of date.")] = False,
) -> None:
    """Write the JSON Schema of every contract into schemas/jsonschema/."""
    stale = []
    for path, content in contract_files().items():
        if not path.exists() or path.read_text("utf-8") != content:
            stale.append(path)
            if not check:
                path.write_text(content, "utf-8")
    for path in stale:
        out.print(f"{'out of date' if check else 'written'}: {path.name}")
    if check and stale:
        _fail("run `python -m schemas generate` and commit what it writes")


@app.command()
def migrate() -> None:
    """Bring the database that DATABASE_URL names to the newest table layout."""
    try:
        from sqlalchemy import create_engine  # noqa: PLC0415 (a plain install has no sqlalchemy)
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

        from schemas.migrate import migrate as upgrade  # noqa: PLC0415
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed: pip install 'feedback-stream[consumer]'", 2)
    connection = _settings(DatabaseConnection)
    engine = create_engine(connection.sqlalchemy_url(), hide_parameters=True, connect_args={"connect_timeout": 10})
    try:
        revision = upgrade(engine)
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        _fail(f"the database cannot be migrated: {reason}")
    finally:
        engine.dispose()
    out.print(f"database at revision {revision}")


@topics_app.command("apply")
def topics_apply(as_json: JsonOption = False) -> None:
    """Create missing topics, add missing partitions, correct settings. Deletes nothing."""
    try:
        differences = apply_topics(_admin(), load_topics())
    except KafkaException as error:
        _fail(f"the topics cannot be applied: {error.args[0].str()}")
    _print_differences(differences, as_json, title="Changed", nothing="nothing to change")


@topics_app.command("diff")
def topics_diff(as_json: JsonOption = False) -> None:
    """Show where the cluster departs from the file; exit 1 if it does."""
    try:
        differences = diff_topics(_admin(), load_topics())
    except KafkaException as error:
        _fail(f"the cluster cannot be asked: {error.args[0].str()}", 2)
    _print_differences(differences, as_json, title="Differences", nothing="the cluster agrees with the file")
    if differences:
        raise typer.Exit(1)


def _settings(cls: type[SettingsT]) -> SettingsT:
    try:
        return cls()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        _fail(f"{first['loc'][0]}: {first['msg']}", 2)


def _admin() -> AdminClient:
    config = _settings(KafkaConnection).as_librdkafka()
    # Connection trouble reaches the caller as the request's own error; librdkafka's log lines would repeat it.
    return AdminClient({**config, "log_level": 0, "socket.timeout.ms": 10_000})


def _print_differences(differences: list[TopicDifference], as_json: bool, *, title: str, nothing: str) -> None:
    if as_json:
        rows = [{"topic": d.topic, "setting": d.setting, "wanted": d.wanted, "found": d.found} for d in differences]
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    if not differences:
        out.print(nothing)
        return
    table = Table("topic", "setting", "wanted", "found", title=title)
    for difference in differences:
        table.add_row(difference.topic, difference.setting, difference.wanted, difference.found)
    out.print(table)


if __name__ == "__main__":
    app()
