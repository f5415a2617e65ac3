"""librdkafka's own log lines, as structured records like all others."""

import logging

import structlog

log = structlog.get_logger("librdkafka")


class _ToStructlog(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        # librdkafka speaks of brokers, groups and topics, never of a record's content.
        log.log(record.levelno, "kafka_client", message=record.getMessage())


def client_logger() -> logging.Logger:
    """A logger to hand to a confluent-kafka client: without one it writes to stderr by itself."""
    logger = logging.getLogger("consumer.librdkafka")
    if not logger.handlers:
        logger.addHandler(_ToStructlog())
        logger.propagate = False
        logger.setLevel(logging.DEBUG)  # structlog filters by the level that was asked for
    return logger
