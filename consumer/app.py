"""Puts the consumer together from its settings. The one place that knows every part."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import KafkaException
from sqlalchemy import Engine as DatabaseEngine
from stamina import RetryingCaller

from consumer.checkpoint import Checkpoint, Topics, VerdictLedger
from consumer.dead_letter_limit import DeadLetterLimit
from consumer.engine import Budgets, Engine
from consumer.errors import FatalError, TransientError
from consumer.health import Health
from consumer.http_access import HttpAccess, is_loopback, open_access
from consumer.http_server import HttpServer
from consumer.inference.bundle import Bundle
from consumer.inference.classifier import Classifier
from consumer.inference.isolation import classify_isolating
from consumer.metrics import Metrics
from consumer.models.announcements import AnnouncementReader
from consumer.models.follower import ModelFollower
from consumer.models.loading import BundleLoader
from consumer.models.reports import Reporter
from consumer.models.shadow import Shadow
from consumer.models.tidings import Tidings
from consumer.policy import load_policy
from consumer.preparation import Preparation
from consumer.redaction.configured import configured_redactor
from consumer.settings import ConsumerSettings
from consumer.sinks.database import TLS_ADVICE, create_database, host_without_tls
from consumer.sinks.dead_letter_history import DeadLetterHistory
from consumer.sinks.ledger import Ledger
from consumer.sinks.revision import check_revision
from consumer.sinks.rights import check_rights
from consumer.sinks.shadow_comparisons import ShadowComparisons
from consumer.sinks.window_marks import WindowMarks
from consumer.start_positions import StartPositions
from consumer.suspects import Suspects
from consumer.tracing.base import NO_TRACING, Tracing
from consumer.transport.base import Transport
from consumer.transport.kafka import KafkaTransport
from consumer.transport.kafka_config import KafkaOptions
from consumer.transport.kafka_errors import refused_settings
from consumer.transport.topic_check import TopicFacts, check_topics
from consumer.window import WindowBuffer
from schemas.announcement import LIVE, SHADOW, Role
from schemas.connection import LibrdkafkaConfig

log = structlog.get_logger(__name__)
APP_VERSION = version("feedback-stream")
_READ_TO_END_S: Final = 10.0
_HTTP_ADVICE: Final = (
    "keep this port inside a private network, or set CONSUMER_HTTP_USERNAME, CONSUMER_HTTP_PASSWORD_FILE, "
    "CONSUMER_HTTP_CERTIFICATE_FILE and CONSUMER_HTTP_KEY_FILE"
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer ready to start. `http` already serves, and says not ready."""

    engine: Engine
    http: HttpServer
    health: Health
    models: ModelFollower
    tracing: Tracing


def _unchanged(part: T) -> T:
    return part


def open_tracing(settings: ConsumerSettings) -> Tracing:
    """Where spans go. OpenTelemetry is imported only where tracing is on.

    Raises:
        FatalError: it is on, and the extra is missing or an `OTEL_*` variable makes no sense.
    """
    if not settings.tracing:
        return NO_TRACING
    try:
        from consumer.tracing.otel import OpenTelemetryTracing  # noqa: PLC0415

        return OpenTelemetryTracing(
            topic=settings.events_topic,
            group_id=settings.group_id,
            replica_id=settings.replica_id,
            app_version=APP_VERSION,
        )
    except ModuleNotFoundError as missing:
        raise FatalError(
            f"tracing is on, but {missing.name} is not installed: pip install 'feedback-stream[consumer,otel]'"
        ) from None
    except ValueError as error:
        raise FatalError(f"tracing is on, but an OTEL_* variable makes no sense: {error}") from None


def build(
    settings: ConsumerSettings,
    *,
    around_ledger: Callable[[VerdictLedger], VerdictLedger] = _unchanged,
    around_transport: Callable[[Transport], Transport] = _unchanged,
) -> Consumer:
    """Check everything that can be checked, warm the model up, and connect the parts.

    `around_ledger` and `around_transport` are the seams between a checkpoint's steps: a test wraps them to stop there.

    Raises:
        FatalError: a dependency refuses, or something does not fit; the message says what to do.
    """
    tracing = open_tracing(settings)
    metrics = Metrics(settings.events_topic)
    health = Health()
    health.wait_for("starting")
    metrics.ready.set_function(lambda: health.why_not_ready() is None)
    policy = load_policy(settings.policy_file)
    access = _http_access(settings)
    models = _follower(settings, metrics)
    http = HttpServer(
        settings.http_host,
        settings.http_port,
        health=health,
        registry=metrics.registry,
        info=lambda: _info(settings, models),
        access=access,
    )
    log.info("http_listening", host=settings.http_host, port=http.port, tls=access.tls is not None)
    if (access.credentials is None or access.tls is None) and not is_loopback(settings.http_host):
        log.warning(
            "http_unprotected",
            host=settings.http_host,
            password=access.credentials is not None,
            tls=access.tls is not None,
            advice=_HTTP_ADVICE,
        )
    if not settings.ssl_verify_hostname:
        log.warning("kafka_host_names_unchecked", advice="let the brokers' certificates name them, and set it back")
    connection = settings.as_librdkafka()
    facts = _patiently(
        partial(
            check_topics,
            connection,
            events=settings.events_topic,
            results=settings.results_topic,
            dead_letters=settings.dead_letter_topic,
            must_process=True,
        ),
        settings.outage_budget_s,
    )
    database = _open_database(settings)
    host = host_without_tls(settings)
    if host is not None:
        log.warning("database_tls_optional", host=host, advice=TLS_ADVICE)
    _patiently(partial(check_rights, database), settings.outage_budget_s)
    _patiently(partial(check_revision, database), settings.outage_budget_s)
    _patiently(partial(models.open, _READ_TO_END_S), settings.outage_budget_s)
    transport = around_transport(KafkaTransport(_kafka_options(settings, facts), health.is_waiting))
    ledger = Ledger(database, facts.topic_id, APP_VERSION)
    engine = Engine(
        transport=transport,
        buffer=WindowBuffer(
            max_records=settings.max_window_records,
            max_bytes=settings.max_window_bytes,
            max_wait_s=settings.max_wait_ms / 1000,
        ),
        preparation=Preparation(
            topic=settings.events_topic,
            topic_id=facts.topic_id,
            results_topic=settings.results_topic,
            max_output_bytes=facts.max_output_bytes,
            policy=policy,
            redactor=configured_redactor(settings, lambda kind: metrics.redactions.labels(kind).inc()),
        ),
        classify=models.lineup.classify,
        knowledge=ledger,
        checkpoint=Checkpoint(
            topics=Topics(
                settings.events_topic, settings.results_topic, settings.dead_letter_topic, facts.max_output_bytes
            ),
            ledger=around_ledger(ledger),
            transport=transport,
            limit=DeadLetterLimit(
                settings.dead_letter_max_share,
                settings.dead_letter_max_run,
                DeadLetterHistory(database, facts.topic_id),
            ),
            metrics=metrics,
        ),
        suspects=Suspects(WindowMarks(database, facts.topic_id, settings.group_id)),
        start_positions=StartPositions(
            ledger, in_flight_records=2 * settings.max_window_records, accept_mismatch=settings.accept_offset_mismatch
        ),
        budgets=Budgets(settings.revoke_budget_s, settings.shutdown_budget_s),
        metrics=metrics,
        health=health,
        tracing=tracing,
    )
    models.start()
    return Consumer(engine, http, health, models, tracing)


def _http_access(settings: ConsumerSettings) -> HttpAccess:
    return open_access(
        username=settings.http_username,
        password=None if settings.http_password is None else settings.http_password.get_secret_value(),
        certificate_file=settings.http_certificate_file,
        key_file=settings.http_key_file,
    )


def _open_database(settings: ConsumerSettings) -> DatabaseEngine:
    return create_database(
        settings, statement_timeout_ms=settings.statement_timeout_ms, lock_timeout_ms=settings.lock_timeout_ms
    )


def _follower(settings: ConsumerSettings, metrics: Metrics) -> ModelFollower:
    # Connections of its own: its work is never in the engine's way.
    connection: LibrdkafkaConfig = {**settings.as_librdkafka(), **settings.librdkafka}
    database = _open_database(settings)

    def open_classifier(bundle: Bundle, role: Role, threads: int | None) -> Classifier:
        return Classifier(
            bundle,
            threads=threads,
            deadline_s=settings.inference_deadline_s,
            on_batch=metrics.observe_shadow_batch if role == SHADOW else metrics.observe_batch,
        )

    try:
        reader = AnnouncementReader(connection, settings.models_topic, settings.group_id, metrics)
        reporter = Reporter(
            connection,
            settings.model_reports_topic,
            group_id=settings.group_id,
            replica_id=settings.replica_id,
            app_version=APP_VERSION,
        )
    except KafkaException as failure:
        raise refused_settings(failure) from None
    return ModelFollower(
        reader=reader,
        loader=BundleLoader(settings.bundle_url, settings.bundle_allowed_prefixes, open_classifier),
        tidings=Tidings(metrics, reporter),
        open_shadow=partial(Shadow, store=ShadowComparisons(database, settings.group_id), metrics=metrics),
        classify_texts=classify_isolating,
        threads=settings.inference_threads,
    )


def _kafka_options(settings: ConsumerSettings, facts: TopicFacts) -> KafkaOptions:
    return KafkaOptions(
        connection=settings.as_librdkafka(),
        group_id=settings.group_id,
        replica_id=settings.replica_id,
        events_topic=settings.events_topic,
        static_membership=settings.static_membership,
        session_timeout_ms=settings.session_timeout_ms,
        max_poll_interval_ms=settings.max_poll_interval_ms,
        transaction_timeout_ms=settings.transaction_timeout_ms,
        outage_budget_s=settings.outage_budget_s,
        max_output_bytes=facts.max_output_bytes,
        librdkafka=settings.librdkafka,
    )


def _patiently(operation: Callable[[], T], budget_s: float) -> T:
    """At the start too, a dependency that is away is waited for, with back-off and jitter."""
    started_s = time.monotonic()
    caller = RetryingCaller(attempts=None, timeout=budget_s, wait_initial=0.2, wait_max=5.0, wait_jitter=0.5)
    try:
        return caller(TransientError, operation)
    except TransientError as error:
        waited_s = time.monotonic() - started_s
        raise FatalError(f"gave up after {waited_s:.0f} s: {error}") from error


def _info(settings: ConsumerSettings, models: ModelFollower) -> dict[str, Any]:
    by_role = models.info()
    live = by_role.get(LIVE)
    return {
        "version": APP_VERSION,
        "group_id": settings.group_id,
        "replica_id": settings.replica_id,
        "topics": {
            "events": settings.events_topic,
            "results": settings.results_topic,
            "dead_letters": settings.dead_letter_topic,
        },
        # Null while the consumer starts.
        "model": None if live is None else {name: live[name] for name in ("name", "version", "sha256")},
        "models": by_role,
    }
