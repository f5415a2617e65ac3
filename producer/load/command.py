"""`python -m producer load`."""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from producer.errors import PublishError
from producer.files.reading import FileFormat, UnusableFileError, format_of
from producer.load.display import LoadDisplay
from producer.load.events import EventSource, FileFeedback, MadeUpFeedback
from producer.load.run import LoadRun
from producer.load.schedule import MAX_EVENTS, Schedule
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
from schemas.topics import DEAD_LETTERS, EVENTS, RESULTS


def load(
    *,
    rate: Annotated[float, typer.Option(min=0.01, help="Events a second.", show_default=False)],
    duration: Annotated[float, typer.Option(min=0.01, metavar="SECONDS", help="How long.", show_default=False)],
    texts: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="Send these messages, over and over."),
    ] = None,
    file_format: Annotated[
        FileFormat | None, typer.Option("--format", help="Of --texts; by default what the suffix says.")
    ] = None,
    results: Annotated[bool, typer.Option("--results/--no-results", help="Wait for results and measure them.")] = True,
    grace: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Wait so long for what is missing.")] = 30.0,
    topic: TopicOption = EVENTS,
    results_topic: Annotated[str, typer.Option(help="Where results come.")] = RESULTS,
    dead_letter_topic: Annotated[str, typer.Option(help="Where dead letters come.")] = DEAD_LETTERS,
    as_json: JsonOption = False,
) -> None:
    """Publish events at a fixed rate, and measure how long each takes until its result is visible.

    Event k is due k / rate seconds after the start, whatever became of those before it, and latency counts from then.
    The events are real ones for everybody who reads the topics; metadata.load_run names the run.

    Exit codes: 0 all came back, 1 some are missing, 2 bad arguments or an unusable file, 3 Kafka did not take all
    events or cannot be read, 130 interrupted, with the figures so far.
    """
    schedule = Schedule(rate, duration)
    if schedule.events > MAX_EVENTS:
        fail(f"{schedule.events:,} events are more than {MAX_EVENTS:,}: lower --rate or --duration", USAGE)
    source = MadeUpFeedback() if texts is None else _read(texts, file_format, schedule)
    with LoadDisplay(err, schedule.events) as display:
        run = LoadRun(
            kafka_connection(),
            schedule,
            source,
            topic=topic,
            results_topics=(results_topic, dead_letter_topic) if results else None,
            grace_s=grace,
            show=display.show,
        )
        try:
            with _interrupted_by_ctrl_c(run):
                report = run.run()
        except PublishError as error:
            fail(str(error), NO_KAFKA)
        except KeyboardInterrupt:
            fail("interrupted twice: no figures", INTERRUPTED)
    if as_json:
        sys.stdout.write(json.dumps(report.as_json()) + "\n")
    else:
        out.print(report.as_text(), markup=False, highlight=False, soft_wrap=True)
    for warning in report.warnings():
        err.print(warning, style="bold red", markup=False, highlight=False, soft_wrap=True)
    if report.interrupted:
        raise typer.Exit(INTERRUPTED)
    if report.stopped is not None:
        raise typer.Exit(NO_KAFKA)
    if report.missing:
        raise typer.Exit(1)


def _read(path: Path, file_format: FileFormat | None, schedule: Schedule) -> EventSource:
    try:
        return FileFeedback.read(path, file_format or format_of(path), schedule.events)
    except UnusableFileError as error:
        fail(f"{path}: {error}", USAGE)
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE)


@contextmanager
def _interrupted_by_ctrl_c(run: LoadRun) -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        run.interrupt()
        # A second one ends it at once.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
