"""The hostile records: what no publisher should send and every pipeline receives, and how each must end."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from demo.records import Ending, Expectation, Headers
from schemas import headers
from schemas.event import MAX_TEXT_CHARS
from schemas.ids import uuid7

CLASSIFIED: Final = frozenset({Ending.CLASSIFIED})
DUPLICATE: Final = frozenset({Ending.DUPLICATE})
CONFLICT: Final = frozenset({Ending.CONFLICT})
DEAD_LETTER: Final = frozenset({Ending.DEAD_LETTER})
# Copies in two partitions: whichever is read first owns the id.
EITHER_COPY: Final = frozenset({Ending.CLASSIFIED, Ending.DUPLICATE})

DEMO_ID: Final = "demo-id"
_NESTING: Final = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileRecord:
    """One record to send as it is. `late` ones follow after everything before has been answered."""

    kind: str
    partition: int
    key: bytes | None
    value: bytes | None
    expectation: Expectation
    own_headers: Headers = ()
    late: bool = False

    @property
    def headers(self) -> Headers:
        """The kind's own headers, and one that tells a reader of the topic which kind this is."""
        return (*self.own_headers, (DEMO_ID, self.kind.encode()))


def hostile_records(partitions: int, max_message_bytes: int) -> list[HostileRecord]:
    """Every kind, with fresh ids, in the order in which they must be sent.

    Args:
        partitions: of the events topic; at least 2.
        max_message_bytes: the topic's `max.message.bytes`: two records make a batch of exactly that size.
    """
    records = [record for build in (_undecodable, _unusual, _repeated) for record in build(partitions)]
    records.extend(_at_the_size_limit(partitions, max_message_bytes))
    return records


def _undecodable(partitions: int) -> Iterator[HostileRecord]:
    def dead_letter(kind: str, value: bytes | None, error_class: str, own_headers: Headers = ()) -> HostileRecord:
        return HostileRecord(
            kind=kind,
            partition=_spread(kind, partitions),
            # A key need not be text either, and comes back byte for byte.
            key=b"\xff\x00" + kind.encode(),
            value=value,
            own_headers=own_headers,
            expectation=Expectation(endings=DEAD_LETTER, error_class=error_class),
        )

    repeated_and_null = (("origin", b"first"), ("origin", b"second"), ("empty", b""), ("null", None))
    yield dead_letter("not_json", b"plain words, no JSON", "not_json", repeated_and_null)
    yield dead_letter("wrong_shape", b'["an", "array"]', "not_an_object")
    without_text = _event()
    del without_text["text"]
    yield dead_letter("missing_text", _encode(without_text), "missing_text")
    yield dead_letter("empty_text", _encode(_event(text="")), "invalid_text")
    yield dead_letter("blank_text", _encode(_event(text=" \t\n ")), "invalid_text")
    yield dead_letter("non_utf8", b'{"text": "caf\xe9"}', "not_utf8")
    yield dead_letter("tombstone", None, "tombstone")
    version_999 = ((headers.SCHEMA_VERSION, b"999"),)
    yield dead_letter("unknown_schema_version", _encode(_event()), "unknown_schema_version", version_999)
    yield dead_letter("invalid_event_id", _encode(_event(event_id="not-a-uuid")), "invalid_event_id")
    yield dead_letter("rating_out_of_range", _encode(_event(rating=6)), "invalid_rating")


def _unusual(partitions: int) -> Iterator[HostileRecord]:
    def classified(
        kind: str, *flags: str, edit: Callable[[bytes], bytes] = lambda value: value, **fields: object
    ) -> HostileRecord:
        event_id = uuid7()
        return HostileRecord(
            kind=kind,
            partition=_spread(kind, partitions),
            key=event_id.bytes,
            value=edit(_encode(_event(event_id=str(event_id), **fields))),
            expectation=Expectation(endings=CLASSIFIED, event_id=event_id, flags=frozenset(flags)),
        )

    yield classified("text_over_limit", "text_truncated", text="The export stops halfway. " * (MAX_TEXT_CHARS // 20))
    yield classified("nul_characters", "text_cleaned", text="The page \x00shows a box\x00 after every name.")
    # json.dumps escapes what has no UTF-8 form; that is how such text reaches a topic.
    yield classified("lone_surrogates", "text_cleaned", text="Half an emoji \ud83d at the end \udc4d")
    yield classified("nan_in_metadata", "value_cleaned", metadata={"score": float("nan"), "limit": float("-inf")})
    deep = b"[" * _NESTING + b"]" * _NESTING
    yield classified(
        "deep_nesting", "nesting_bounded", edit=lambda value: value.replace(b'"@"', deep), unknown_field="@"
    )
    now = datetime.now(UTC)
    yield classified("far_future", "occurred_at_future", occurred_at=(now + timedelta(days=365 * 200)).isoformat())
    yield classified("far_past", "occurred_at_past", occurred_at="1970-01-01T00:00:00+00:00")
    yield HostileRecord(
        kind="no_event_id",
        partition=_spread("no_event_id", partitions),
        key=None,
        value=_encode(_event()),
        expectation=Expectation(endings=CLASSIFIED, flags=frozenset({"id_derived"})),
    )


def _repeated(partitions: int) -> Iterator[HostileRecord]:
    def versions(
        kind: str, *endings: frozenset[Ending], texts: tuple[str, ...] = (), step: int = 0, late: bool = False
    ) -> Iterator[HostileRecord]:
        event_id = uuid7()
        event = _event(event_id=str(event_id))
        first_partition = _spread(kind, partitions)
        for index, allowed in enumerate(endings):
            content = event | {"text": texts[index]} if texts else event
            yield HostileRecord(
                kind=kind,
                partition=(first_partition + index * step) % partitions,
                key=event_id.bytes,
                value=_encode(content),
                expectation=Expectation(
                    endings=allowed,
                    event_id=event_id,
                    error_class="event_id_conflict" if allowed == CONFLICT else None,
                ),
                late=late and index > 0,
            )

    texts = ("The new search is excellent.", "The new search is unusable.")
    yield from versions("same_event_in_one_window", CLASSIFIED, DUPLICATE, DUPLICATE)
    yield from versions("same_event_across_windows", CLASSIFIED, DUPLICATE, late=True)
    yield from versions("same_event_across_partitions", EITHER_COPY, EITHER_COPY, step=1)
    yield from versions("same_event_across_partitions_and_windows", CLASSIFIED, DUPLICATE, step=1, late=True)
    yield from versions("same_id_other_text", CLASSIFIED, CONFLICT, texts=texts)
    yield from versions("same_id_other_text_across_windows", CLASSIFIED, CONFLICT, texts=texts, late=True)


def _at_the_size_limit(partitions: int, max_message_bytes: int) -> Iterator[HostileRecord]:
    def record(kind: str, fill: Callable[[int], bytes], expectation: Expectation) -> HostileRecord:
        empty = HostileRecord(
            kind=kind, partition=_spread(kind, partitions), key=b"at-the-limit", value=b"", expectation=expectation
        )
        return replace(empty, value=fill(_room_for_value_bytes(empty, max_message_bytes)))

    yield record(
        "size_limit_not_json", lambda room: b"x" * room, Expectation(endings=DEAD_LETTER, error_class="not_json")
    )
    event_id = uuid7()

    def padded_event(room: int) -> bytes:
        event = _event(event_id=str(event_id))
        room -= len(_encode(event | {"padding": ""}))
        # Two bytes each in UTF-8 and six where a writer escapes them: the result is larger than the record.
        return _encode(event | {"padding": "é" * (room // 2) + "e" * (room % 2)})

    yield record("size_limit_event", padded_event, Expectation(endings=CLASSIFIED | DEAD_LETTER, event_id=event_id))


def _room_for_value_bytes(record: HostileRecord, max_message_bytes: int) -> int:
    """The longest value with which this record alone, uncompressed, makes a batch of `max_message_bytes`.

    Kafka's record format, version 2: a batch header of 61 bytes; then the record's length, one byte each of
    attributes, timestamp delta and offset delta, key, value and headers, all lengths and counts as zigzag varints.
    """
    key = record.key or b""
    fixed = 3 + _varint_bytes(len(key)) + len(key) + _varint_bytes(len(record.headers))
    for name, value in record.headers:
        fixed += _varint_bytes(len(name)) + len(name) + _varint_bytes(len(value or b"")) + len(value or b"")
    room = max_message_bytes - 61
    for value_bytes in range(room, 0, -1):
        body = fixed + _varint_bytes(value_bytes) + value_bytes
        if _varint_bytes(body) + body <= room:
            return value_bytes
    raise ValueError("max_message_bytes leaves no room for a value")


def _varint_bytes(length: int) -> int:
    return max(1, -(-(length << 1).bit_length() // 7))


def _event(**fields: object) -> dict[str, Any]:
    # Always a readable date: a hostile record has one fault, so that its dead letter can have but one reason.
    return {
        "occurred_at": datetime.now(UTC).isoformat(),
        "source": "web",
        "text": "The settings page loses my changes.",
        **fields,
    }


def _encode(event: dict[str, Any]) -> bytes:
    escaped = any(_has_surrogate(value) for value in event.values())
    return json.dumps(event, ensure_ascii=escaped).encode()


def _has_surrogate(value: object) -> bool:
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)


def _spread(kind: str, partitions: int) -> int:
    return uuid.uuid5(uuid.NAMESPACE_OID, kind).int % partitions
