"""What every operator's command needs first: settings, the topics' facts, the database, and errors in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.console import Console
from sqlalchemy import Engine as Database

from consumer.errors import FatalError, TransientError
from consumer.settings import ConsumerSettings, explain
from consumer.sinks.database import create_database
from consumer.sinks.revision import check_revision
from consumer.transport.topic_check import TopicFacts, check_topics

err = Console(stderr=True)

USAGE_EXIT_CODE = 2
UNREACHABLE_EXIT_CODE = 1


@dataclass(frozen=True, slots=True)
class OperatorSession:
    """Topics that are there and a database of this version's layout."""

    settings: ConsumerSettings
    facts: TopicFacts
    database: Database


def fail(message: str, code: int = 1) -> NoReturn:
    """Say why on standard error, and end with this exit code."""
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def operator_session() -> Iterator[OperatorSession]:
    """Open what the environment names; a failure, now or inside the block, becomes one line and an exit code.

    Raises:
        typer.Exit: 2 for settings that make no sense, 1 for servers that are away or refuse.
    """
    try:
        settings = ConsumerSettings()
        facts = check_topics(
            settings.as_librdkafka(),
            events=settings.events_topic,
            results=settings.results_topic,
            dead_letters=settings.dead_letter_topic,
        )
        database = create_database(
            settings, statement_timeout_ms=settings.statement_timeout_ms, lock_timeout_ms=settings.lock_timeout_ms
        )
        try:
            check_revision(database)
            yield OperatorSession(settings, facts, database)
        finally:
            database.dispose()
    except (ValidationError, SettingsError) as invalid:
        fail(explain(invalid), USAGE_EXIT_CODE)
    except (FatalError, TransientError) as error:
        fail(str(error), UNREACHABLE_EXIT_CODE)
