"""`python -m consumer.client`: watch the results topic."""

import signal
import sys
from types import FrameType
from typing import Annotated, Final, NoReturn, cast

import typer
from pydantic import ValidationError
from rich.console import Console

from consumer.client.display import ResultTable, as_json_line
from consumer.client.errors import ReaderError, UnreadableResultError
from consumer.client.filters import ResultFilter
from consumer.client.reader import ClassifiedFeedbackReader
from consumer.client.records import ResultRecord
from consumer.client.starts import Start
from schemas import command_line
from schemas.connection import KafkaConnection
from schemas.labels import Category, Constructive, Head, Sentiment
from schemas.moments import EXPECTED, parse_moment
from schemas.topics import RESULTS

_KAFKA: Final = 1
_USAGE: Final = 2
_NOTHING: Final = 4
_INTERRUPTED: Final = 130
_PATIENCE_S: Final = 10.0

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Watch classified feedback. The brokers and the login come from KAFKA_BOOTSTRAP_SERVERS, "
    "KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD(_FILE), KAFKA_SSL_*.",
)
err = Console(stderr=True)


@app.callback()
def _commands() -> None:
    # Keeps `tail` a command of its own while it is the only one.
    pass


@app.command()
def tail(
    *,
    category: Annotated[list[str] | None, typer.Option(help="Only this category; repeatable.")] = None,
    sentiment: Annotated[list[str] | None, typer.Option(help="Only this sentiment; repeatable.")] = None,
    constructive: Annotated[str | None, typer.Option(help="Only `yes` or `no`.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Only this channel; repeatable.")] = None,
    needs_review: Annotated[
        bool | None, typer.Option("--needs-review/--no-needs-review", help="Only what the model was (not) unsure of.")
    ] = None,
    min_score: Annotated[
        list[str] | None, typer.Option(metavar="HEAD=P", help="Least probability, as category=0.8; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin then: RFC 3339, or 90s, 15m, 2h, 3d ago.")
    ] = None,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest result.")] = False,
    until_end: Annotated[bool, typer.Option("--until-end", help="Stop at the last result that is there now.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    topic: Annotated[str, typer.Option(help="Where to read.")] = RESULTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Print results as they become visible; by default those from now on, until Ctrl-C.

    Joins no group and changes nothing. Exit codes: 0 done, 1 Kafka is away or refuses, 2 bad arguments, 4 --until-end
    and nothing matched, 130 interrupted.
    """
    try:
        where = ResultFilter(
            # ResultFilter says which labels there are.
            category=cast("list[Category] | None", category),
            sentiment=cast("list[Sentiment] | None", sentiment),
            constructive=cast("Constructive | None", constructive),
            source=source,
            needs_review=needs_review,
            min_scores=_scores(min_score or []),
        )
    except ValueError as error:
        _fail(str(error), _USAGE)
    show = _print_json if as_json else ResultTable(Console()).show
    try:
        with ClassifiedFeedbackReader(
            _connection(),
            start=_start(since, from_beginning),
            where=where,
            until_end=until_end,
            on_unreadable=_tell,
            topic=topic,
            outage_timeout_s=_PATIENCE_S,
        ) as reader:
            received = _stop_on_signal(reader)
            shown = 0
            for shown, record in enumerate(reader, start=1):
                show(record)
                if shown == limit:
                    break
    except ReaderError as error:
        _fail(str(error), _KAFKA)
    if received:
        raise typer.Exit(_INTERRUPTED)
    if shown == 0:
        _fail("nothing there" if where == ResultFilter() else "nothing matches", _NOTHING)


def _stop_on_signal(reader: ClassifiedFeedbackReader) -> list[int]:
    """The signals that came; the reader ends in good order at the first."""
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        reader.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return received


def _print_json(record: ResultRecord) -> None:
    sys.stdout.write(as_json_line(record) + "\n")
    sys.stdout.flush()


def _tell(unreadable: UnreadableResultError) -> None:
    err.print(f"left out: {unreadable}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def _fail(message: str, code: int) -> NoReturn:
    err.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def _connection() -> KafkaConnection:
    try:
        return KafkaConnection()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        _fail(f"{first['loc'][0]}: {first['msg']}", _USAGE)


def _scores(pairs: list[str]) -> dict[Head, float]:
    scores: dict[Head, float] = {}
    for pair in pairs:
        head, _, score = pair.partition("=")
        try:
            scores[cast("Head", head)] = float(score)
        except ValueError:
            _fail("--min-score takes HEAD=P, such as category=0.8", _USAGE)
    return scores


def _start(since: str | None, from_beginning: bool) -> Start:
    if since is None:
        return "beginning" if from_beginning else "end"
    if from_beginning:
        _fail("--since and --from-beginning exclude each other", _USAGE)
    try:
        return parse_moment(since)
    except (ValueError, OverflowError):
        _fail(f"--since takes {EXPECTED}", _USAGE)


if __name__ == "__main__":
    command_line.run(app, "python -m consumer.client")
