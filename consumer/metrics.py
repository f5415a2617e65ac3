"""Every metric of the consumer, in a registry of its own. Labels are bounded; none holds text or an id."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.gc_collector import GCCollector

from consumer.inference.manifest import Manifest
from consumer.records import SourceRecord
from consumer.results import FeedbackRow

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LATENCY_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
_AGE_SECONDS = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0)
_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_TOKENS = (16, 64, 256, 512, 1024, 2048, 4096, 8192, 16_384)
_DIFFERENCE = (-0.5, -0.2, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_PROBABILITY = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Metrics:
    """The metrics of one consumer process."""

    def __init__(self, events_topic: str) -> None:
        self._topic = events_topic
        self._lag_partitions: set[int] = set()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.records = Counter(
            "feedback_records", "Records by the outcome that stands.", ["outcome"], registry=self.registry
        )
        self.redactions = Counter(
            "feedback_redactions",
            "Placeholders put into events as they were read.",
            ["kind"],
            registry=self.registry,
        )
        self.window_records = Histogram(
            "feedback_window_records", "Records in a window.", buckets=_RECORDS, registry=self.registry
        )
        self.batch_records = Histogram(
            "feedback_batch_records", "Texts in an inference batch.", buckets=_RECORDS, registry=self.registry
        )
        self.batch_tokens = Histogram(
            "feedback_batch_tokens",
            "Tokens in an inference batch, padding included.",
            buckets=_TOKENS,
            registry=self.registry,
        )
        self.inference_seconds = Histogram(
            "feedback_inference_seconds", "Time to run one batch.", buckets=_SECONDS, registry=self.registry
        )
        self.database_seconds = Histogram(
            "feedback_database_seconds",
            "Time in the database, by operation.",
            ["operation"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "feedback_commit_seconds", "Time of a Kafka transaction.", buckets=_SECONDS, registry=self.registry
        )
        self.latency_seconds = Histogram(
            "feedback_latency_seconds",
            "From the Kafka record's timestamp to its visible result.",
            buckets=_LATENCY_SECONDS,
            registry=self.registry,
        )
        self.event_age_seconds = Histogram(
            "feedback_event_age_seconds",
            "From occurred_at to the visible result.",
            buckets=_AGE_SECONDS,
            registry=self.registry,
        )
        self.lag_records = Gauge(
            "feedback_partition_lag_records",
            "Records not read yet. Under transactions the client's own figure is stale; this one is not.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self.ready = Gauge("feedback_ready", "1 while /health/ready says so.", registry=self.registry)
        self.assigned_partitions = Gauge(
            "feedback_assigned_partitions", "Partitions assigned to this process.", registry=self.registry
        )
        self.paused_partitions = Gauge(
            "feedback_paused_partitions", "Assigned partitions that are paused.", registry=self.registry
        )
        self.rebalances = Counter("feedback_rebalances", "Changes of the assignment.", ["kind"], registry=self.registry)
        self.transactions = Counter(
            "feedback_transactions", "Kafka transactions by outcome.", ["outcome"], registry=self.registry
        )
        self.retries = Counter(
            "feedback_retries", "Steps that failed for now and were tried again.", registry=self.registry
        )
        self.dead_letters = Counter(
            "feedback_dead_letters", "Dead letters.", ["stage", "error_class"], registry=self.registry
        )
        self.dead_letter_limit_tripped = Gauge(
            "feedback_dead_letter_limit_tripped",
            "1 while the consumer waits for an operator to accept its dead letters.",
            registry=self.registry,
        )
        self.predictions = Counter(
            "feedback_predictions", "Results by label.", ["head", "label"], registry=self.registry
        )
        self.confidence = Histogram(
            "feedback_confidence",
            "Probability of the label that was chosen.",
            ["head"],
            buckets=_PROBABILITY,
            registry=self.registry,
        )
        self.needs_review = Counter(
            "feedback_needs_review", "Results that the model is unsure of.", registry=self.registry
        )
        self.model = Info("feedback_model", "The bundle of each role.", ["role"], registry=self.registry)
        self.model_changes = Counter(
            "feedback_model_changes",
            "Announced bundles by what became of them.",
            ["role", "outcome"],
            registry=self.registry,
        )
        self.model_refused = Gauge(
            "feedback_model_refused",
            "1 while the bundle announced for a role is refused, and another one or none serves.",
            ["role"],
            registry=self.registry,
        )
        self.models_topic_readable = Gauge(
            "feedback_models_topic_readable", "1 while announcements can be read.", registry=self.registry
        )
        self.announcements_ignored = Counter(
            "feedback_announcements_ignored", "Records that announce nothing.", ["reason"], registry=self.registry
        )
        self.shadow_events = Counter(
            "feedback_shadow_events",
            "Events of the shadow's share: compared, dropped because it was behind, or failed.",
            ["outcome"],
            registry=self.registry,
        )
        self.shadow_comparisons = Counter(
            "feedback_shadow_comparisons",
            "Events by the label that went out and the shadow's.",
            ["head", "live_label", "shadow_label"],
            registry=self.registry,
        )
        self.shadow_score_difference = Histogram(
            "feedback_shadow_score_difference",
            "The shadow's probability of the label that went out, less the probability that it went out with.",
            ["head"],
            buckets=_DIFFERENCE,
            registry=self.registry,
        )
        self.shadow_inference_seconds = Histogram(
            "feedback_shadow_inference_seconds",
            "Time to run one batch of the shadow.",
            buckets=_SECONDS,
            registry=self.registry,
        )

    def describe_model(self, role: str, manifest: Manifest | None) -> None:
        """Say which bundle a role has; None for no bundle."""
        if manifest is None:
            with suppress(KeyError):
                self.model.remove(role)
            return
        self.model.labels(role).info({"name": manifest.name, "version": manifest.version, "sha256": manifest.sha256})

    def observe_shadow_batch(self, _records: int, _tokens: int, seconds: float) -> None:
        """Count one inference batch of the shadow."""
        self.shadow_inference_seconds.observe(seconds)

    def observe_batch(self, records: int, tokens: int, seconds: float) -> None:
        """Count one inference batch; `tokens` includes padding."""
        self.batch_records.observe(records)
        self.batch_tokens.observe(tokens)
        self.inference_seconds.observe(seconds)

    def count_outcomes(self, outcomes: Mapping[str, int]) -> None:
        """Count records of one committed window by outcome."""
        for outcome, count in outcomes.items():
            self.records.labels(outcome).inc(count)

    def observe_result(self, record: SourceRecord, row: FeedbackRow) -> None:
        """Count one visible result."""
        now = datetime.now(UTC)
        self.latency_seconds.observe(max(0.0, now.timestamp() - record.timestamp_ms / 1000))
        self.event_age_seconds.observe(max(0.0, (now - row["occurred_at"]).total_seconds()))
        for head in ("sentiment", "category", "constructive"):
            label = row[head]
            self.predictions.labels(head, label).inc()
            self.confidence.labels(head).observe(row[f"{head}_scores"][label])
        if row["needs_review"]:
            self.needs_review.inc()

    def show_lag(self, lag: Mapping[int, int]) -> None:
        """Set the lag of the assigned partitions, and remove the series of those that went away."""
        for partition in self._lag_partitions - set(lag):
            self.lag_records.remove(self._topic, str(partition))
        for partition, records in lag.items():
            self.lag_records.labels(self._topic, str(partition)).set(records)
        self._lag_partitions = set(lag)
