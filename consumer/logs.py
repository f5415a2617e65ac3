"""Structured logs on stderr: JSON for machines, aligned text for a person at a terminal."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor


def configure_logs(format_: Literal["auto", "json", "console"], level: str) -> None:
    """Set structlog up once, for the whole process."""
    as_text = format_ == "console" or (format_ == "auto" and sys.stderr.isatty())
    # A traceback's frames may hold a customer's text in their locals: plain tracebacks only.
    renderers: list[Processor] = (
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
