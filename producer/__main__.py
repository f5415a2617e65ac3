"""`python -m producer`: publish one message, a file of them, or a load."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from producer.client import FeedbackPublisher
from producer.errors import EventTooLargeError, InvalidEventError, PublishError
from producer.files.display import ImportDisplay
from producer.files.importing import FileIdentity, FileImport, ImportResult
from producer.files.progress import ImportState, default_state_dir, resume
from producer.files.reading import FileFormat, UnusableFileError, format_of
from producer.load.command import load
from producer.terminal import (
    INTERRUPTED,
    NO_KAFKA,
    USAGE,
    JsonOption,
    TopicOption,
    err,
    fail,
    kafka_connection,
    out,
)
from schemas import command_line
from schemas.event import MAX_SOURCE_CHARS, UtcDatetime, utc_now
from schemas.topics import EVENTS

_DELIVERY_TIMEOUT_S = 10.0

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Publish feedback to Kafka. The brokers and the login come from KAFKA_BOOTSTRAP_SERVERS, "
    "KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD(_FILE), KAFKA_SSL_*.",
)
app.command()(load)


@app.command()
def send(
    text: Annotated[str, typer.Argument(help="The message.", show_default=False)],
    *,
    source: Annotated[str, typer.Option(help="The channel.")] = "cli",
    rating: Annotated[int | None, typer.Option(min=1, max=5, help="Stars.")] = None,
    customer_id: Annotated[str | None, typer.Option(help="Pseudonymous customer reference.")] = None,
    product: Annotated[str | None, typer.Option(help="The product it is about.")] = None,
    language: Annotated[str | None, typer.Option(help="BCP 47 language tag.")] = None,
    meta: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata; repeatable.")] = None,
    topic: TopicOption = EVENTS,
    as_json: JsonOption = False,
) -> None:
    """Publish one message and print its id and where Kafka stored it.

    Exit codes: 0 stored, 2 bad arguments, 3 Kafka did not take it.
    """
    optional = {"rating": rating, "customer_id": customer_id, "product": product, "language": language}
    event = {
        "occurred_at": utc_now(),
        "source": source,
        "text": text,
        "metadata": _metadata(meta or []),
        **{name: value for name, value in optional.items() if value is not None},
    }
    try:
        with FeedbackPublisher(kafka_connection(), topic=topic, delivery_timeout_s=_DELIVERY_TIMEOUT_S) as publisher:
            publisher.check()
            delivery = publisher.publish(event).result()
    except (InvalidEventError, EventTooLargeError) as error:
        fail(str(error), USAGE)
    except PublishError as error:
        fail(f"not sent: {error}", NO_KAFKA)
    if as_json:
        document = {
            "event_id": str(delivery.event_id),
            "topic": delivery.topic,
            "partition": delivery.partition,
            "offset": delivery.offset,
        }
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        where = f"{delivery.topic}, partition {delivery.partition}, offset {delivery.offset}"
        out.print(f"{delivery.event_id} stored in {where}", soft_wrap=True, highlight=False)


@app.command()
def file(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False)],
    *,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="By default what the suffix says.", show_default=False)
    ] = None,
    source: Annotated[str | None, typer.Option(help="Channel of rows without one.", show_default="file_import")] = None,
    occurred_at: Annotated[
        str | None,
        typer.Option(metavar="RFC3339", help="Time of rows without one.", show_default="the file's modification time"),
    ] = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Events a second at most.", show_default=False)] = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Send every line again, with the same ids.")] = False,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Where progress is kept.", show_default="~/.local/state/feedback-stream/imports"),
    ] = None,
    topic: TopicOption = EVENTS,
    as_json: JsonOption = False,
) -> None:
    """Publish a file: JSON Lines (objects with at least `text`), CSV with a header, or text with one message a line.

    Interrupted or killed, the same command goes on after the last line that Kafka acknowledged without a gap. Ids come
    from the file's content and the line number (CSV: the record, the header being 1), so what is sent twice is the
    same event. Import complete files only: a longer file is another file, with other ids.

    Exit codes: 0 all sent, 1 some lines were bad and left out, 2 bad arguments or an unusable file, 3 Kafka stopped
    taking events.
    """
    default_time = _time(occurred_at)
    if source is not None and not 0 < len(source) <= MAX_SOURCE_CHARS:
        fail(f"--source must have 1 to {MAX_SOURCE_CHARS} characters", USAGE)
    try:
        wanted_format = file_format or format_of(path)
        with (
            path.open("rb") as opened,
            ImportDisplay(err, path.stat().st_size) as display,
            FeedbackPublisher(kafka_connection(), topic=topic) as publisher,
        ):
            cluster_id = publisher.check()
            identity = FileIdentity.of(opened, display.hashed)
            first = ImportState(
                file_sha256=identity.sha256,
                topic=topic,
                cluster_id=cluster_id,
                format=wanted_format,
                source=source or "file_import",
                occurred_at=default_time or identity.modified_at,
            )
            progress = resume(
                state_dir or default_state_dir(), first, source=source, occurred_at=default_time, from_start=from_start
            )
            result = FileImport(
                publisher,
                opened,
                identity,
                progress,
                events_per_s=rate,
                on_problem=display.problem,
                on_progress=display.show,
            ).run()
    except UnusableFileError as error:
        fail(f"{path}: {error}", USAGE)
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE)
    except PublishError as error:
        fail(str(error), NO_KAFKA)
    except KeyboardInterrupt:
        fail("interrupted: the same command goes on after the last acknowledged line", INTERRUPTED)
    _print_result(path, result, display.problems, as_json)
    if result.stopped is not None:
        raise typer.Exit(NO_KAFKA)
    if result.state.bad_lines:
        raise typer.Exit(1)


def _print_result(path: Path, result: ImportResult, problems: list[dict[str, str | int]], as_json: bool) -> None:
    state = result.state
    if as_json:
        document = {
            "path": str(path),
            "format": state.format.value,
            "file_sha256": state.file_sha256,
            "topic": state.topic,
            "sent_events": result.sent_events,
            "sent_events_all_attempts": state.sent_events,
            "bad_lines": state.bad_lines,
            "acknowledged_line": state.acknowledged_line,
            "resumed_after_line": result.resumed_after_line,
            "complete": result.stopped is None,
            "stopped": result.stopped,
            "elapsed_s": round(result.elapsed_s, 3),
            "problems": problems,
        }
        sys.stdout.write(json.dumps(document) + "\n")
        return
    if result.stopped is not None:
        err.print(
            f"stopped: {result.stopped}. Everything up to line {state.acknowledged_line} is done; "
            "the same command goes on from there",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        return
    parts = [f"{result.sent_events:,} events sent to {state.topic} in {result.elapsed_s:.1f} s"]
    if result.resumed_after_line:
        parts.append(
            f"everything up to line {result.resumed_after_line:,} was done before (--from-start sends it again)"
        )
    if state.bad_lines:
        parts.append(f"{state.bad_lines:,} bad lines left out")
    out.print("; ".join(parts), highlight=False, markup=False, soft_wrap=True)


def _metadata(pairs: list[str]) -> dict[str, str]:
    metadata = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            fail("--meta takes KEY=VALUE", USAGE)
        metadata[key] = value
    return metadata


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return TypeAdapter[datetime](UtcDatetime).validate_python(text)
    except ValidationError:
        fail("--occurred-at must be RFC 3339 with an offset, such as 2026-01-31T09:30:00Z", USAGE)


if __name__ == "__main__":
    command_line.run(app, "python -m producer")
