"""`python -m demo`: the whole pipeline on this machine, real messages and hostile ones, audited from outside."""

import json
import os
import signal
import sys
import time
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer
from confluent_kafka import KafkaException
from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from demo.environment import LOG_PATH, environment
from demo.processes import ConsumerProcess, SetupError
from demo.progress import Progress
from demo.scenario import Outcome, run_scenario
from demo.summary import as_json, print_summary
from devstack.errors import DevstackError
from producer.errors import PublishError

_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    as_json_line: Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")] = False,
) -> None:
    """Start everything, publish real and hostile messages, and count what came of them.

    Exit status: 0 when every promise was kept, 1 when one was broken, 2 when the demonstration could not run.
    """
    for number in _STOP_SIGNALS:
        # nohup and background jobs ignore some of them on purpose.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    progress_console = Console(stderr=True)
    started_s = time.monotonic()
    try:
        outcome = _run(Progress(progress_console))
    except SetupError as error:
        _fail(progress_console, str(error), error.log)
    except (DevstackError, PublishError) as error:
        _fail(progress_console, str(error))
    except KafkaException as error:
        _fail(progress_console, f"Kafka: {error.args[0].str()}")
    except SQLAlchemyError as error:
        _fail(progress_console, f"PostgreSQL: {str(error.__cause__ or error).strip().splitlines()[0]}")
    seconds = time.monotonic() - started_s
    if as_json_line:
        sys.stdout.write(json.dumps(as_json(outcome, seconds)) + "\n")
    else:
        print_summary(Console(), outcome, seconds)
    if not outcome.report.ok:
        progress_console.print(f"What the consumer said: {LOG_PATH}", highlight=False)
        raise typer.Exit(1)


def _run(progress: Progress) -> Outcome:
    with environment(progress) as place, ConsumerProcess(place.variables, LOG_PATH) as consumer:
        with progress.step("Consumer: joined the group, model warm"):
            consumer.start()
            consumer.wait_until_ready()
        return run_scenario(place, consumer, progress)


def _stop(number: int, _: FrameType | None) -> NoReturn:
    # Once: a second Ctrl-C must not cut short the stopping of what runs.
    for each in _STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    # Not through sys.stderr, which the interrupted code may be writing to.
    os.write(2, b"\nstopping everything\n")
    raise SystemExit(128 + number)


def _fail(console: Console, message: str, log: str = "") -> NoReturn:
    console.print(message, style="red", markup=False, highlight=False)
    if log:
        console.print(log, style="dim", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
