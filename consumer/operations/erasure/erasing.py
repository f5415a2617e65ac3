"""One run of `erase` from the first question to the last row, for any number of customers."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection

from consumer.operations.erasure import work
from consumer.operations.erasure.customers import fingerprint
from consumer.operations.erasure.eraser import Audit, Counts, Eraser
from consumer.operations.erasure.holdings import Holdings
from consumer.operations.erasure.keys import count_rows_by_key, stage_rows_by_key
from consumer.operations.erasure.matching import Match
from consumer.operations.erasure.scanning import Scan
from consumer.operations.erasure.writers import wait_for_writers
from consumer.operations.reconciliation.loading import Display
from consumer.operations.reconciliation.staging import reconciling_session
from consumer.operations.retention.topic_limits import TopicLimit, topic_limits
from consumer.operations.session import OperatorSession
from consumer.redaction.configured import configured_redactor
from consumer.redaction.redactor import Redactor
from consumer.sinks.dead_letter_replays import ReplayJournal


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureOptions:
    """What an operator asks for, beside whom. `key` makes fingerprints for the audit; without it there are none."""

    dry_run: bool
    by_key: bool = False
    reason: str | None = None
    key: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerErasure:
    """What became of one customer, or would.

    Attributes:
        counts: what was erased; of a dry run, what would be.
        erasure_id: the row in `erasures`; None where nothing was changed.
        earlier: when they were erased before, newest first, as far as fingerprints tell.
        rows_by_key: rows that name nobody and have the id as their key, left alone.
        unread_undecodable: records that will become dead letters once consumers read them.
        holdings: what the topics hold.
    """

    counts: Counts
    erasure_id: uuid.UUID | None
    earlier: Sequence[datetime]
    unread_undecodable: int
    holdings: Holdings
    rows_by_key: int = 0


@dataclass(frozen=True, slots=True)
class ErasureReport:
    """All customers in the order in which they were named, and how long the topics keep what they hold."""

    customers: Sequence[CustomerErasure]
    limits: Mapping[str, TopicLimit]


def erase_customers(
    session: OperatorSession, ids: Sequence[str], options: ErasureOptions, display: Display
) -> ErasureReport:
    """Count what there is of the customers, and erase it unless it is a dry run.

    The order makes it final. Their events are announced first, the ones that no consumer has read yet among them; then
    whoever may not have heard of it finishes; only then rows go. What was published before the run began cannot come
    back, whatever consumers, replays and repairs do meanwhile.

    Raises:
        FatalError: a replay or another erasure runs, or a server refuses.
        TransientError: a server is away. What was done is done: the same command goes on with what is left.
    """
    settings = session.settings
    topics = (settings.events_topic, settings.results_topic, settings.dead_letter_topic)
    limits = topic_limits(settings.as_librdkafka(), topics)
    with ExitStack() as held:
        if not options.dry_run:
            # A replay would publish again what was found to be a dead letter.
            held.enter_context(ReplayJournal(session.database, session.facts.topic_id).only_one())
        connection = held.enter_context(reconciling_session(settings))
        work.create(connection)
        staged = frozenset({Match.OWN, Match.KEY} if options.by_key else {Match.OWN})
        redactor = configured_redactor(settings)
        customers = [_names(customer_id, redactor) for customer_id in ids]
        holdings = Scan(connection, settings, session.facts.topic_id, display, staged).run(customers)
        by_key = [0] * len(ids)
        if options.by_key:
            stage_rows_by_key(connection, customers)
        else:
            by_key = count_rows_by_key(connection, customers)
        with connection.begin():
            work.analyze(connection, work.records)
        erasers = [Eraser(connection, number, names) for number, names in enumerate(customers)]
        found = [
            replace(_count(eraser, holding, options), rows_by_key=rows)
            for eraser, holding, rows in zip(erasers, holdings, by_key, strict=True)
        ]
        if not options.dry_run:
            found = _erase(connection, erasers, found, options, display)
        return ErasureReport(found, limits)


def _names(customer_id: str, redactor: Redactor | None) -> tuple[str, ...]:
    """What a customer is called: in the events by their id, in rows and results by what redaction makes of it."""
    return (customer_id,) if redactor is None else tuple(dict.fromkeys((customer_id, redactor.reference(customer_id))))


def _count(eraser: Eraser, holdings: Holdings, options: ErasureOptions) -> CustomerErasure:
    return CustomerErasure(
        counts=eraser.collect(),
        erasure_id=None,
        earlier=[] if options.key is None else eraser.earlier(fingerprint(eraser.names[0], options.key)),
        unread_undecodable=eraser.count_unread_undecodable(),
        holdings=holdings,
    )


def _erase(
    connection: Connection,
    erasers: Sequence[Eraser],
    found: Sequence[CustomerErasure],
    options: ErasureOptions,
    display: Display,
) -> list[CustomerErasure]:
    audits = [
        Audit(
            id=uuid.uuid4(),
            reason=options.reason,
            customer_hmac=None if options.key is None else fingerprint(eraser.names[0], options.key),
        )
        for eraser in erasers
    ]
    for eraser, audit in zip(erasers, audits, strict=True):
        eraser.collect()
        eraser.announce(audit)
    wait_for_writers(connection)
    erased = []
    for number, (eraser, audit, before) in enumerate(zip(erasers, audits, found, strict=True), start=1):
        # Again: consumers went on until now.
        rows = eraser.collect()
        advance = display.begin(f"erasing customer {number}", max(rows.ledger_entries, rows.feedback_rows))
        done = eraser.erase(audit, advance)
        erased.append(replace(before, counts=done, erasure_id=audit.id if done else None))
    return erased
