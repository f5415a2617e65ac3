"""One reconciliation from beginning to end: what is read in which order, compared, repaired, compared again."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sqlalchemy import Connection, delete

from consumer.operations.reconciliation import staging
from consumer.operations.reconciliation.cluster import Cluster
from consumer.operations.reconciliation.comparison import (
    Comparison,
    Horizons,
    compare,
    find_resume_offsets,
    forget_other_topic_ids,
)
from consumer.operations.reconciliation.findings import Kind
from consumer.operations.reconciliation.loading import Display, Loader
from consumer.operations.reconciliation.positions import (
    PartitionPosition,
    RequestedRange,
    find_positions,
    outputs_not_before,
    resolve,
    without_deleted_verdicts,
)
from consumer.operations.reconciliation.reading import Span, SpanReader
from consumer.operations.reconciliation.repair import Repair, Repaired
from consumer.operations.retention.horizons import read_horizons
from consumer.operations.session import OperatorSession
from consumer.redaction.configured import configured_redactor
from consumer.settings import ConsumerSettings
from schemas.tables import feedback, record_outcomes

_FOREIGN: Final = (Kind.FOREIGN_RESULT, Kind.FOREIGN_DEAD_LETTER)


class NothingInRangeError(Exception):
    """There is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What a run has found.

    Attributes:
        positions: of every partition that was asked for.
        spans: the offsets that were judged, by partition.
        before: what disagreed; after a repair, what disagreed before it.
        repaired: what a repair has added; None where none was asked for.
        after: what disagrees now.
        resume_offsets: where to set partitions whose committed offset is missing or lies behind.
        visible_results: how many records of the results topic were read.
        visible_dead_letters: likewise.
    """

    positions: Sequence[PartitionPosition]
    spans: Mapping[int, Span]
    before: Comparison
    repaired: Repaired | None
    after: Comparison
    resume_offsets: Mapping[int, int]
    visible_results: int
    visible_dead_letters: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Compares one events topic, its outputs and its tables. `show` bounds the coordinates told of each kind."""

    session: OperatorSession
    display: Display
    show: int
    _started_s: float = field(default_factory=time.monotonic)

    def run(self, requested: RequestedRange, *, repair: bool) -> Reconciliation:
        """Compare, and repair if asked to.

        Raises:
            UnusableRangeError: the range makes no sense for this topic.
            NothingInRangeError: it holds no record that is committed.
            TransientError, FatalError: a server is away, or refuses.
        """
        settings = self.session.settings
        client = {**settings.as_librdkafka(), **settings.librdkafka}
        cluster = Cluster(client, settings.group_id)
        with (
            staging.reconciling_session(settings) as connection,
            SpanReader(client, settings.group_id) as reader,
        ):
            staging.create_staging(connection)
            positions = self._find_positions(cluster, connection, requested)
            with connection.begin():
                deleted = read_horizons(connection)
            spans = resolve(requested, positions, cluster, settings.events_topic)
            verdicts_gone = 0
            if record_outcomes.name in deleted:
                spans, verdicts_gone = without_deleted_verdicts(
                    connection, self.session.facts.topic_id, positions, spans
                )
            if not spans and all(position.kind is None for position in positions):
                raise NothingInRangeError
            loader = Loader(
                connection, cluster, reader, self.display, settings.events_topic, self.session.facts.topic_id, spans
            )
            loader.load_ranges()
            not_before = outputs_not_before(connection, self.session.facts.topic_id, spans)
            results = loader.load_results(settings.results_topic, not_before)
            letters = loader.load_dead_letters(settings.dead_letter_topic, not_before)
            gone = loader.load_events()
            staging.analyze(connection, staging.ranges, staging.results, staging.dead_letters, staging.events)
            other_topic_ids = forget_other_topic_ids(connection, self.session.facts.topic_id)
            horizons = Horizons(results.horizon, letters.horizon, deleted.get(feedback.name))
            not_read = {
                "results_of_other_topics": results.other_topic,
                "dead_letters_of_other_topics": letters.other_topic + other_topic_ids,
                "events_deleted_by_retention": gone,
                "verdicts_deleted_by_retention": verdicts_gone,
            }
            before = self._compare(connection, positions, horizons, not_read)
            repaired, after = None, before
            if repair:
                repaired = Repair(
                    connection,
                    reader,
                    self.display,
                    self.session.facts.topic_id,
                    settings.events_topic,
                    settings.results_topic,
                    settings.dead_letter_topic,
                    configured_redactor(settings),
                ).run()
                positions = self._find_positions(cluster, connection, requested)
                after = self._compare(connection, positions, horizons, not_read)
            resume_offsets = find_resume_offsets(
                connection, self.session.facts.topic_id, positions, spans, _in_flight_records(settings)
            )
        return Reconciliation(
            positions=positions,
            spans=spans,
            before=before,
            repaired=repaired,
            after=after,
            resume_offsets=resume_offsets,
            visible_results=results.visible,
            visible_dead_letters=letters.visible,
            elapsed_s=time.monotonic() - self._started_s,
        )

    def _find_positions(
        self, cluster: Cluster, connection: Connection, requested: RequestedRange
    ) -> list[PartitionPosition]:
        settings = self.session.settings
        return find_positions(
            cluster,
            connection,
            topic=settings.events_topic,
            topic_id=self.session.facts.topic_id,
            partitions=requested.partitions,
            in_flight_records=_in_flight_records(settings),
        )

    def _compare(
        self,
        connection: Connection,
        positions: Sequence[PartitionPosition],
        horizons: Horizons,
        not_read: Mapping[str, int],
    ) -> Comparison:
        settings = self.session.settings
        self.display.begin("comparing", 0)
        with connection.begin():
            found = staging.findings.c.kind
            connection.execute(delete(staging.findings).where(found.not_in([kind.value for kind in _FOREIGN])))
            staging.stage(
                connection,
                staging.findings,
                [
                    {
                        "kind": position.kind.value,
                        "at_partition": position.partition,
                        "at_offset": position.committed or 0,
                    }
                    for position in positions
                    if position.kind is not None
                ],
            )
        comparison = compare(
            connection,
            topic=settings.events_topic,
            topic_id=self.session.facts.topic_id,
            outputs={
                Kind.FOREIGN_RESULT: settings.results_topic,
                Kind.FOREIGN_DEAD_LETTER: settings.dead_letter_topic,
            },
            horizons=horizons,
            show=self.show,
        )
        not_judged = {**comparison.not_judged, **{reason: count for reason, count in not_read.items() if count}}
        return replace(comparison, not_judged=not_judged)


def _in_flight_records(settings: ConsumerSettings) -> int:
    """What a crash may leave between ledger and group: the windows that a consumer works on at once."""
    return 2 * settings.max_window_records
