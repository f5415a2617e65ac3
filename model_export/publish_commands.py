"""`python -m model_export publish|rollback|withdraw|list`: bundles to running consumers, without a restart.

Needs no PyTorch: the machine that publishes is often not the one that trains.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from pydantic import ValidationError
from rich.console import Console

from model_export.comparison_table import print_comparison
from model_export.publishing.display import (
    ProgressBars,
    print_overview,
    publication_document,
    publication_lines,
    reversal_document,
    reversal_lines,
)
from model_export.publishing.errors import BadRequestError, NothingThereError, PublishingError
from model_export.publishing.overview import look, to_document
from model_export.publishing.publish import ComparisonFailedError, Request
from model_export.publishing.publish import publish as publish_bundle
from model_export.publishing.registry import RegistryDatabase
from model_export.publishing.rollback import Reversal, roll_back
from model_export.publishing.rollback import withdraw as withdraw_role
from model_export.publishing.settings import PublishingSettings
from model_export.publishing.topic import ModelTopics
from model_export.terminal import JsonOption, console, fail, print_json
from schemas.announcement import CANARY, LIVE, SHADOW, Role

_USAGE_EXIT_CODE: Final = 2
_NOTHING_EXIT_CODE: Final = 4
_EXIT_CODES: Final = "Exits 0 when done, 1 when it is refused or a server is away, 2 for bad arguments"

ReasonOption = Annotated[str | None, typer.Option(help="Why; it is recorded.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(epilog=f"{_EXIT_CODES}.")(publish)
    app.command(epilog=f"{_EXIT_CODES}, 4 when nothing came before.")(rollback)
    app.command(epilog=f"{_EXIT_CODES}, 4 when nothing is announced.")(withdraw)
    app.command("list", epilog=f"{_EXIT_CODES}, 4 when nothing was published.")(list_)


def publish(
    bundle: Annotated[str, typer.Argument(help="A bundle folder or its URL.", metavar="BUNDLE")],
    *,
    to: Annotated[str, typer.Option(help="Where bundles are kept: a folder that all consumers see, or s3://...")],
    live: Annotated[bool, typer.Option("--live", help="Announce it as the one that classifies.")] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Announce it to run beside the live one, unseen.")] = False,
    canary: Annotated[bool, typer.Option("--canary", help="Announce it for a share of the keys.")] = False,
    share: Annotated[
        float | None, typer.Option(help="Part of the events (shadow, default 1) or keys (canary).")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Labelled rows, JSONL: on its `dev` rows it must not lose to the live bundle.")
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(help="Announce without a passing comparison; it is recorded.", metavar="REASON"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Upload a bundle, read every byte back, and announce it to running consumers.

    Without --live, --shadow or --canary it is uploaded only. The announcement comes last: interrupted anywhere, nothing
    is announced that is not whole, and the same command finishes it.
    """
    roles: list[Role] = [role for role, said in ((LIVE, live), (SHADOW, shadow), (CANARY, canary)) if said]
    if len(roles) > 1:
        fail("give one of --live, --shadow and --canary", _USAGE_EXIT_CODE)
    with _servers() as (topics, database):
        request = Request(bundle, to, roles[0] if roles else None, share, data, force)
        try:
            with ProgressBars(console) as progress:
                done = publish_bundle(request, topics, database, progress)
        except ComparisonFailedError as worse:
            if as_json:
                print_json({"announced": False, "comparison": worse.comparison})
            else:
                print_comparison(worse.comparison, Console())
            raise
    if as_json:
        print_json(publication_document(done))
    else:
        if done.comparison is not None:
            print_comparison(done.comparison, Console())
        _print(publication_lines(done))


def rollback(
    *,
    role: Annotated[Literal["live", "shadow", "canary"], typer.Option(help="Which announcement to take back.")] = LIVE,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """Announce the bundle that came before, after reading every byte of it where it stands.

    Each rollback goes one further back, as an editor's undo does; after a withdrawal it brings back what was withdrawn.
    """
    with _servers() as (topics, database), ProgressBars(console) as progress:
        done = roll_back(role, reason, topics, database, progress)
    _show(done, as_json=as_json)


def withdraw(
    *,
    role: Annotated[Literal["shadow", "canary"], typer.Option(help="Which bundle consumers let go.")],
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a shadow or canary bundle. The live one is replaced instead: publish another, or roll back."""
    with _servers() as (topics, database):
        done = withdraw_role(role, reason, topics, database)
    _show(done, as_json=as_json)


def list_(*, as_json: JsonOption = False) -> None:
    """Show the published bundles, which are announced for what, and what each consumer last reported."""
    with _servers() as (topics, database):
        overview = look(topics, database)
        if overview.is_empty:
            raise NothingThereError("nothing was published yet: `python -m model_export publish BUNDLE --to URL`")
    if as_json:
        print_json(to_document(overview))
        return
    print_overview(overview, Console())
    for difference in overview.disagreements():
        _warn(f"the table is behind the topic, the next publish or rollback mends it: {difference}")
    if overview.unreadable:
        _warn(f"{overview.unreadable} records of the topic are no announcements: consumers pass them over")


@contextmanager
def _servers() -> Iterator[tuple[ModelTopics, RegistryDatabase]]:
    """What the environment names; what goes wrong becomes one line and an exit code."""
    try:
        settings = PublishingSettings()
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_input=False)[0]
        fail(f"{first['loc'][0]}: {first['msg'].removeprefix('Value error, ')}", _USAGE_EXIT_CODE)
    try:
        topics = ModelTopics(settings, settings.models_topic, settings.model_reports_topic)
        with RegistryDatabase(settings) as database:
            yield topics, database
    except BadRequestError as error:
        fail(str(error), _USAGE_EXIT_CODE)
    except NothingThereError as error:
        fail(str(error), _NOTHING_EXIT_CODE)
    except PublishingError as error:
        fail(str(error), 1)


def _show(done: Reversal, *, as_json: bool) -> None:
    if as_json:
        print_json(reversal_document(done))
    else:
        _print(reversal_lines(done))


def _print(lines: list[str]) -> None:
    for line in lines:
        sys.stdout.write(line + "\n")


def _warn(message: str) -> None:
    console.print(message, style="yellow", markup=False, highlight=False, soft_wrap=True)
