"""`python -m consumer`: run the stream processor, check its configuration, classify without Kafka."""

import json
import os
import re
import resource
import signal
import sys
import time
from types import FrameType
from typing import Annotated, Any, Final, NoReturn

import structlog
import typer
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from consumer.app import APP_VERSION, Consumer, build
from consumer.classify import classify_lines
from consumer.errors import FatalError
from consumer.inference.places import shown as shown_url
from consumer.logs import configure_logs
from consumer.operations import dlq_commands
from consumer.operations.erasure.command import erase
from consumer.operations.reconcile_command import reconcile
from consumer.operations.retention import command as retention_commands
from consumer.operations.session import fail
from consumer.settings import ConsumerSettings, explain, refuse_secrets
from consumer.watchdog import Watchdog
from schemas import command_line

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(dlq_commands.app, name="dlq")
app.add_typer(retention_commands.app, name="retention")
app.command()(reconcile)
app.command()(erase)
log = structlog.get_logger("consumer")

# Their flags are the settings' fields: pydantic-settings parses them and prints their help.
_FORWARD = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
_LAST_SPANS_S: Final = 3.0
_MASKED: Final = "**********"
_SECRET_PROPERTY: Final = re.compile(r"password|secret|token|\.pem$|oauthbearer\.config|key\.pem|assertion")


def _settings(context: typer.Context) -> ConsumerSettings:
    try:
        refuse_secrets(context.args)
    except ValueError as refused:
        fail(str(refused), 2)
    try:
        return ConsumerSettings(
            _cli_parse_args=context.args,
            _cli_prog_name=f"python -m consumer {context.info_name}",
            _cli_exit_on_error=False,
        )
    except (ValidationError, SettingsError) as invalid:
        fail(explain(invalid), 2)


@app.command(context_settings=_FORWARD)
def run(context: typer.Context) -> None:
    """Consume, classify, store and publish until SIGTERM. Flags: `run --help`."""
    settings = _settings(context)
    configure_logs(settings.log_format, settings.log_level)
    # A core file holds passwords and customers' texts. The hard limit stays: `prlimit` can still ask for one.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    received: list[str] = []

    def request_stop(number: int, _: FrameType | None) -> None:
        # It may interrupt a log line half written, under a lock that this thread holds: it must take none.
        received.append(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    consumer: Consumer | None = None
    try:
        consumer = build(settings)
        Watchdog(consumer.health, _end_hung).start()
        consumer.engine.start()
        consumer.health.wait_for(None)
        log.info("started", version=APP_VERSION, group=settings.group_id, replica=settings.replica_id)
        while not received:
            consumer.engine.turn()
        log.info("stopping", signal=received[0])
        spans_by_s = time.monotonic() + settings.shutdown_budget_s
        consumer.engine.stop()
    except FatalError as fatal:
        log.error("fatal", reason=str(fatal))
        _exit_now(1, consumer)
    except Exception as error:  # noqa: BLE001 (whatever it is: the process ends, the orchestrator restarts it)
        # Its message may quote an event; where it happened may be told, with what data may not.
        log.error("crashed", error=type(error).__name__, at=_origin(error))
        _exit_now(1, consumer)
    consumer.tracing.close(min(_LAST_SPANS_S, max(0.0, spans_by_s - time.monotonic())))
    consumer.http.close()
    consumer.models.close()
    log.info("stopped")


@app.command(name="check-config", context_settings=_FORWARD)
def check_config(context: typer.Context) -> None:
    """Print the effective configuration as JSON, secrets masked; exit 2 if it does not hold together."""
    settings = _settings(context)
    sys.stdout.write(json.dumps(_shown(settings), indent=2) + "\n")


@app.command()
def classify(
    bundle: Annotated[str | None, typer.Option(help="Bundle (path or URL); the one that ships if absent.")] = None,
) -> None:
    """Classify lines from stdin, JSON or plain text, to one JSON object a line on stdout. Needs no Kafka.

    Exits 1 if a line could not be classified; its output line holds the error.
    """
    configure_logs("auto", "warning")
    try:
        failed = classify_lines(sys.stdin.buffer, sys.stdout, bundle)
    except FatalError as fatal:
        fail(str(fatal))
    if failed:
        raise typer.Exit(1)


def _shown(settings: ConsumerSettings) -> dict[str, Any]:
    shown = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        if isinstance(getattr(settings, name), SecretStr):
            shown[name] = _MASKED
        if field.validation_alias == "DATABASE_URL":
            shown[name] = settings.database_address()
    shown["bundle_url"] = None if settings.bundle_url is None else shown_url(settings.bundle_url)
    shown["bundle_allowed_prefixes"] = [shown_url(prefix) for prefix in settings.bundle_allowed_prefixes]
    for name in settings.librdkafka:
        if _SECRET_PROPERTY.search(name):
            shown["librdkafka"][name] = _MASKED
    return shown


def _origin(error: BaseException) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "unknown" if frame is None else f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"


def _end_hung(reason: str) -> None:
    log.error("hung", reason=reason)
    sys.stderr.flush()
    os._exit(1)


def _exit_now(code: int, consumer: Consumer | None) -> NoReturn:
    if consumer is not None:
        # The spans of what went wrong are those that somebody will look for.
        consumer.tracing.close(_LAST_SPANS_S)
    # A hung inference thread would keep a normal exit waiting for ever; nothing in flight is worth saving.
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    command_line.run(app, "python -m consumer")
