"""An erasure in words, and as one JSON document. Customers by their number: no text, key or id of one."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from consumer.operations.dead_letters.display import address, columns, moment
from consumer.operations.erasure.erasing import CustomerErasure, ErasureReport
from consumer.operations.erasure.holdings import Holding
from consumer.operations.erasure.matching import Match
from consumer.operations.retention.topic_limits import TopicLimit

_COUNTED: Final = {
    "feedback_rows": ("feedback row", "feedback rows"),
    "labels": ("label", "labels"),
    "ledger_entries": ("verdict set to erased", "verdicts set to erased"),
    "event_ids": ("event kept away", "events kept away"),
}
_SHOWN: Final = 10


def to_lines(report: ErasureReport, *, dry_run: bool) -> Iterator[str]:
    """What a person reads."""
    total = len(report.customers)
    for number, customer in enumerate(report.customers, start=1):
        if total > 1:
            yield f"customer {number} of {total}"
        counted = [
            f"{count:,} {_COUNTED[name][count != 1]}" for name, count in asdict(customer.counts).items() if count
        ]
        yield f"{'would erase' if dry_run else 'erased'}: {', '.join(counted) or 'nothing'}"
        if customer.earlier:
            yield f"erased before: {', '.join(moment(at) for at in customer.earlier)}"
        yield from _left_lines(customer)
        held = customer.holdings.matched(Match.OWN, Match.KEY)
        if held:
            yield "the topics hold until their retention deletes it:"
            yield from _held_lines(held, report.limits)
    if any(customer.holdings.matched(Match.OWN, Match.KEY) for customer in report.customers):
        yield "Kafka deletes no single record: docs/privacy.md tells what kafka-delete-records would take with it"


def to_document(report: ErasureReport, *, dry_run: bool) -> dict[str, Any]:
    """What a program reads."""
    return {
        "dry_run": dry_run,
        "customers": [
            {
                "number": number,
                "would_erase" if dry_run else "erased": asdict(customer.counts),
                "erasure_id": None if customer.erasure_id is None else str(customer.erasure_id),
                "erased_before": [at.isoformat() for at in customer.earlier],
                "rows_by_key": customer.rows_by_key,
                "unread_undecodable_records": customer.unread_undecodable,
                "held": [
                    _held_document(topic, match, holding, report.limits[topic])
                    for (topic, match), holding in customer.holdings.matched(*Match).items()
                ],
            }
            for number, customer in enumerate(report.customers, start=1)
        ],
    }


def _left_lines(customer: CustomerErasure) -> Iterator[str]:
    if customer.rows_by_key:
        yield (
            f"left: {_number(customer.rows_by_key, 'row')} without a customer, with the id as key: "
            "--by-key erases such rows as well"
        )
    if customer.unread_undecodable:
        yield (
            f"left: {_number(customer.unread_undecodable, 'record')} that no consumer has read yet, and that will be "
            "refused: run the command again then"
        )
    for (topic, _), holding in customer.holdings.matched(Match.MENTION).items():
        some = ", ".join(address(at) for at in holding.named[:_SHOWN])
        more = ", ..." if holding.records > _SHOWN else ""
        yield (
            f"left: {_number(holding.records, 'record')} of {topic} with the id somewhere in bytes that cannot be "
            f"decoded: look with `dlq show`, and `dlq drop` what is theirs: {some}{more}"
        )


def _held_lines(held: Mapping[tuple[str, Match], Holding], limits: Mapping[str, TopicLimit]) -> Iterator[str]:
    rows = []
    for (topic, match), holding in held.items():
        places = [
            f"{number}:{part.first_offset}" + (f"-{part.last_offset}" if part.records > 1 else "")
            for number, part in sorted(holding.partitions.items())
        ]
        by_key = " by key" if match is Match.KEY else ""
        count = f"{_number(holding.records, 'record')}{by_key}"
        since = f"since {moment(holding.oldest)}"
        rows.append(("", topic, count, since, _until(holding, limits[topic]), ", ".join(places)))
    yield from columns(rows)


def _until(holding: Holding, limit: TopicLimit) -> str:
    earliest, latest = _period(holding, limit)
    if limit.is_compacted:
        return "compacted: never gone by age"
    if earliest is None or latest is None:
        return "no retention: never gone by age"
    return f"gone between {moment(earliest)} and {moment(latest)}"


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _period(holding: Holding, limit: TopicLimit) -> tuple[datetime | None, datetime | None]:
    return limit.gone_after(holding.newest), limit.gone_by(holding.newest)


def _held_document(topic: str, match: Match, holding: Holding, limit: TopicLimit) -> dict[str, Any]:
    earliest, latest = _period(holding, limit)
    return {
        "topic": topic,
        "match": match.value,
        "records": holding.records,
        "gone_after": earliest and earliest.isoformat(),
        "gone_by": latest and latest.isoformat(),
        "is_compacted": limit.is_compacted,
        "partitions": [
            {
                "partition": number,
                "records": part.records,
                "first_offset": part.first_offset,
                "last_offset": part.last_offset,
                "oldest": part.oldest.isoformat(),
                "newest": part.newest.isoformat(),
            }
            for number, part in sorted(holding.partitions.items())
        ],
        "first": [{"partition": at.partition, "offset": at.offset} for at in holding.named],
    }
