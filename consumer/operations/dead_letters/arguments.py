"""What operators type to say which dead letters they mean. What makes no sense ends the command with one line."""

import re
from typing import Annotated, Final, NoReturn, get_args

import typer

from consumer.errors import Stage
from consumer.operations.moments import parse_time
from consumer.operations.session import USAGE_EXIT_CODE, fail
from consumer.outcomes import Coordinates
from consumer.sinks.dead_letter_selection import DeadLetterSelection, State

_COORDINATES: Final = re.compile(r"([0-9]{1,9}):([0-9]{1,18})")


StageOption = Annotated[
    list[str] | None,
    typer.Option("--stage", help=f"Only of this stage; may be repeated: {', '.join(get_args(Stage))}.", metavar="NAME"),
]
ClassOption = Annotated[
    list[str] | None, typer.Option("--class", help="Only of this error class; may be repeated.", metavar="NAME")
]
SinceOption = Annotated[
    str | None,
    typer.Option(help="Recorded at this time or later: RFC 3339, or how long ago (90m, 2h, 3d).", metavar="TIME"),
]
UntilOption = Annotated[str | None, typer.Option(help="Recorded before this time, likewise.", metavar="TIME")]
CoordinatesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Dead letters by the coordinates of the record in the events topic.", metavar="PARTITION:OFFSET"
    ),
]


def parse_coordinates(text: str) -> Coordinates:
    """`PARTITION:OFFSET` of a record of the events topic.

    Raises:
        typer.Exit: it is none.
    """
    found = _COORDINATES.fullmatch(text)
    if found is None:
        _refuse("a dead letter is named PARTITION:OFFSET, such as 2:1734, as `dlq list` shows it")
    return Coordinates(int(found[1]), int(found[2]))


def select_filtered(
    stages: list[str] | None, classes: list[str] | None, since: str | None, until: str | None, state: State | None
) -> DeadLetterSelection:
    """The dead letters that the filters leave.

    Raises:
        typer.Exit: a time makes no sense.
    """
    if not set(stages or ()) <= set(get_args(Stage)):
        _refuse(f"--stage is one of {', '.join(get_args(Stage))}")
    begin, end = parse_time("--since", since), parse_time("--until", until)
    if begin is not None and end is not None and begin >= end:
        _refuse("--since must be before --until")
    return DeadLetterSelection(tuple(stages or ()), tuple(classes or ()), begin, end, state=state)


def select_to_decide(
    named: list[str] | None,
    stages: list[str] | None,
    classes: list[str] | None,
    since: str | None,
    until: str | None,
    *,
    everything: bool,
) -> DeadLetterSelection:
    """The open dead letters to decide about: named ones, filtered ones, or on demand all of them.

    Raises:
        typer.Exit: nothing is chosen, or two ways of choosing are mixed.
    """
    is_filtered = any((stages, classes, since, until))
    if sum((bool(named), is_filtered, everything)) != 1:
        _refuse(
            "choose one: PARTITION:OFFSET ..., filters (--stage, --class, --since, --until), or --all for all open ones"
        )
    if named:
        return DeadLetterSelection(coordinates=tuple(dict.fromkeys(parse_coordinates(text) for text in named)))
    return select_filtered(stages, classes, since, until, "open")


def require_reason(reason: str | None) -> str:
    """The operator's reason.

    Raises:
        typer.Exit: there is none.
    """
    if reason is None or not reason.strip():
        _refuse("say why with --reason; it is recorded")
    return reason.strip()


def _refuse(message: str) -> NoReturn:
    fail(message, USAGE_EXIT_CODE)
