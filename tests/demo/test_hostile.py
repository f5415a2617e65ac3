"""The table of hostile records that the project promises to survive, and that the demonstration sends all of it."""

import json
from collections import defaultdict

import pytest

from demo.hostile import HostileRecord, hostile_records
from demo.records import Ending

PARTITIONS = 6
MAX_MESSAGE_BYTES = 1_048_588

C, D, X, L = Ending.CLASSIFIED, Ending.DUPLICATE, Ending.CONFLICT, Ending.DEAD_LETTER
PROMISED: dict[str, list[set[Ending]]] = {
    "not_json": [{L}],
    "wrong_shape": [{L}],
    "missing_text": [{L}],
    "empty_text": [{L}],
    "blank_text": [{L}],
    "non_utf8": [{L}],
    "tombstone": [{L}],
    "unknown_schema_version": [{L}],
    "invalid_event_id": [{L}],
    "rating_out_of_range": [{L}],
    "text_over_limit": [{C}],
    "nul_characters": [{C}],
    "lone_surrogates": [{C}],
    "nan_in_metadata": [{C}],
    "deep_nesting": [{C}],
    "far_future": [{C}],
    "far_past": [{C}],
    "no_event_id": [{C}],
    "same_event_in_one_window": [{C}, {D}, {D}],
    "same_event_across_windows": [{C}, {D}],
    "same_event_across_partitions": [{C, D}, {C, D}],
    "same_event_across_partitions_and_windows": [{C}, {D}],
    "same_id_other_text": [{C}, {X}],
    "same_id_other_text_across_windows": [{C}, {X}],
    "size_limit_not_json": [{L}],
    "size_limit_event": [{C, L}],
}


@pytest.fixture(scope="module")
def by_kind() -> dict[str, list[HostileRecord]]:
    kinds: dict[str, list[HostileRecord]] = defaultdict(list)
    for record in hostile_records(PARTITIONS, MAX_MESSAGE_BYTES):
        kinds[record.kind].append(record)
    return kinds


def test_every_promised_kind_is_sent_and_no_other(by_kind: dict[str, list[HostileRecord]]) -> None:
    assert {kind: [set(record.expectation.endings) for record in sent] for kind, sent in by_kind.items()} == PROMISED


def test_what_must_be_flagged_says_which_flag(by_kind: dict[str, list[HostileRecord]]) -> None:
    unusual = [kind for kind in PROMISED if PROMISED[kind] == [{C}]]
    assert all(sent.expectation.flags for kind in unusual for sent in by_kind[kind])


def test_copies_are_byte_for_byte_the_same_and_conflicts_are_not(by_kind: dict[str, list[HostileRecord]]) -> None:
    for kind, sent in by_kind.items():
        assert len({record.expectation.event_id for record in sent}) == 1
        assert len({record.value for record in sent}) == (2 if X in sent[-1].expectation.endings else 1), kind


def test_copies_lie_where_their_kind_says(by_kind: dict[str, list[HostileRecord]]) -> None:
    for kind, sent in by_kind.items():
        if len(sent) > 1:
            partitions = {record.partition for record in sent}
            assert len(partitions) == (len(sent) if "partitions" in kind else 1), kind
            assert [record.late for record in sent[1:]] == ["across_windows" in kind or "and_windows" in kind] * (
                len(sent) - 1
            )


def test_hostile_bytes_are_what_their_kind_says(by_kind: dict[str, list[HostileRecord]]) -> None:
    def value(kind: str) -> bytes:
        return by_kind[kind][0].value or b""

    with pytest.raises(UnicodeDecodeError):
        value("non_utf8").decode()
    assert by_kind["tombstone"][0].value is None
    assert "\x00" in json.loads(value("nul_characters"))["text"]
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        json.loads(value("lone_surrogates"))["text"].encode()
    assert b"NaN" in value("nan_in_metadata")
    with pytest.raises(RecursionError):
        json.loads(value("deep_nesting"))
    assert "event_id" not in json.loads(value("no_event_id"))
    assert json.loads(value("size_limit_event"))["text"]


def test_a_record_at_the_limit_fills_its_batch_to_the_byte(by_kind: dict[str, list[HostileRecord]]) -> None:
    for kind in ("size_limit_not_json", "size_limit_event"):
        record = by_kind[kind][0]
        assert record.key is not None
        # 61 bytes of batch header; the record's length (3); attributes, timestamp and offset deltas; key length and
        # key; value length (3) and value; header count; the one header's two lengths, name and value.
        header_bytes = 1 + len("demo-id") + 1 + len(kind)
        record_bytes = 3 + 3 + 1 + len(record.key) + 3 + len(record.value or b"") + 1 + header_bytes
        assert 61 + record_bytes == MAX_MESSAGE_BYTES
