"""`python -m schemas`: generate the contract files, migrate the database, bring the topics in line."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn, TypeVar

import typer
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import ValidationError
from pydantic_settings import BaseSettings
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas import command_line
from schemas.access_commands import access_app
from schemas.asyncapi.document import asyncapi_document, document_files, released_document
from schemas.cluster import Cluster, ClusterUnreachableError, LoginRefusedError
from schemas.compatibility.documents import Difference, compare_documents
from schemas.connection import DatabaseConnection, KafkaConnection
from schemas.database_errors import explain
from schemas.jsonschema import contract_files
from schemas.registry_commands import registry_app
from schemas.roles_commands import roles_app
from schemas.topics import TopicDifference, apply_topics, diff_topics, load_topics

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
topics_app = typer.Typer(no_args_is_help=True, help="Compare the cluster's topics with schemas/topics.toml.")
app.add_typer(topics_app, name="topics")
app.add_typer(access_app, name="access")
app.add_typer(registry_app, name="registry")
app.add_typer(roles_app, name="roles")

SettingsT = TypeVar("SettingsT", bound=BaseSettings)

_REQUEST_TIMEOUT_S = 10.0

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
    """Write the JSON Schema of every contract and the AsyncAPI document into schemas/."""
    stale = []
    with _pyyaml_needed():
        files = {**contract_files(), **document_files()}
    for path, content in files.items():
        if not path.exists() or path.read_text("utf-8") != content:
            stale.append(path)
            if not check:
                path.write_text(content, "utf-8")
    for path in stale:
        out.print(f"{'out of date' if check else 'written'}: {path.name}")
    if check and stale:
        _fail("run `python -m schemas generate` and commit what it writes")


@app.command()
def compatibility(
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a change is breaking.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the contracts with those of the last release: what changed, and whom it breaks.

    Exits 0 whatever has changed, unless --check asks for 1.
    """
    with _pyyaml_needed():
        released = released_document()
    differences = compare_documents(released, asyncapi_document())
    release = released["info"]["version"]
    if as_json:
        sys.stdout.write(json.dumps([difference.as_json() for difference in differences], indent=2) + "\n")
    else:
        _print_changes(differences, release)
    breaking = sum(difference.breaking for difference in differences)
    if check and breaking:
        _fail(f"{breaking} breaking changes since {release}: docs/compatibility.md says what to do instead")


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
        _fail(f"the database cannot be migrated: {explain(error)}")
    finally:
        engine.dispose()
    out.print(f"database at revision {revision}")


@topics_app.command("apply")
def topics_apply(as_json: JsonOption = False) -> None:
    """Create missing topics, add missing partitions, correct settings. Deletes nothing.

    Exits 1 if the cluster does not answer or refuses, 2 if a setting makes no sense.
    """
    with _cluster_needed("the topics cannot be applied"):
        differences = apply_topics(_admin(), load_topics())
    _print_differences(differences, as_json, title="Changed", nothing="nothing to change")


@topics_app.command("diff")
def topics_diff(as_json: JsonOption = False) -> None:
    """Show where the cluster departs from the file.

    Exits 1 if it does, 2 if the cluster does not answer or refuses, or a setting makes no sense.
    """
    with _cluster_needed("the cluster cannot be asked", code=2):
        differences = diff_topics(_admin(), load_topics())
    _print_differences(differences, as_json, title="Differences", nothing="the cluster agrees with the file")
    if differences:
        raise typer.Exit(1)


@contextmanager
def _pyyaml_needed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed: pip install pyyaml", 2)


@contextmanager
def _cluster_needed(what_failed: str, code: int = 1) -> Iterator[None]:
    try:
        yield
    except (ClusterUnreachableError, LoginRefusedError) as error:
        _fail(str(error), code)
    except KafkaException as error:
        _fail(f"{what_failed}: {error.args[0].str()}", code)


def _settings(cls: type[SettingsT]) -> SettingsT:
    try:
        return cls()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        _fail(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}", 2)


def _admin() -> AdminClient:
    cluster = Cluster(_settings(KafkaConnection).as_librdkafka())
    # The first request tells at once what would make the later ones wait for their time to end.
    cluster.answers({"cluster": cluster.admin.describe_cluster(request_timeout=_REQUEST_TIMEOUT_S)})
    return cluster.admin


def _print_changes(differences: list[Difference], release: str) -> None:
    if not differences:
        out.print(f"nothing has changed since {release}")
    for difference in differences:
        change = difference.change
        verdict = "[red]breaking[/red]  " if difference.breaking else "[green]compatible[/green]"
        place = escape(f"{difference.topic}: {change.where}: {change.before} -> {change.after}")
        out.print(f"{verdict} {place}", highlight=False, soft_wrap=True)
        reason = f"           {change.rule.name}: {difference.audience}: {difference.reason}"
        out.print(reason, style="dim", highlight=False, soft_wrap=True)


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
    command_line.run(app, "python -m schemas")
