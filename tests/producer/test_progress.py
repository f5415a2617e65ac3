"""Resuming: nothing before the first line without an acknowledgement is sent again, nothing after it is left out."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from confluent_kafka import KafkaError

from producer.delivery import Delivery, Receipt, delivery_error
from producer.files.progress import ImportState, resume
from producer.files.reading import FileFormat, Line, UnusableFileError

FIRST = ImportState(
    file_sha256="0" * 64,
    topic="feedback.events",
    cluster_id="c1",
    format=FileFormat.TEXT,
    source="web",
    occurred_at=datetime(2026, 1, 31, tzinfo=UTC),
)


def line(number: int) -> Line:
    return Line(number, number * 10, {"text": "x"}, None)


def delivered(receipt: Receipt) -> None:
    receipt.set_result(Delivery(receipt.event_id, "feedback.events", 0, 0))


def test_only_an_unbroken_row_of_acknowledgements_counts(tmp_path: Path) -> None:
    progress = resume(tmp_path, FIRST)
    receipts = [Receipt(uuid4()) for _ in range(4)]
    for number, receipt in zip((1, 3, 5, 6), receipts, strict=True):
        progress.add(line(number), receipt)
    progress.add(line(7), None)
    delivered(receipts[0])
    delivered(receipts[2])
    progress.advance()
    assert resume(tmp_path, FIRST).state.acknowledged_line == 1
    delivered(receipts[1])
    delivered(receipts[3])
    progress.drain()
    resumed = resume(tmp_path, FIRST)
    assert (resumed.state.acknowledged_line, resumed.state.sent_events, resumed.state.bad_lines) == (7, 4, 1)


def test_a_failed_line_stops_the_row(tmp_path: Path) -> None:
    progress = resume(tmp_path, FIRST)
    receipts = [Receipt(uuid4()) for _ in range(3)]
    for number, receipt in enumerate(receipts, start=1):
        progress.add(line(number), receipt)
    delivered(receipts[0])
    receipts[1].set_exception(delivery_error(receipts[1].event_id, KafkaError(KafkaError._MSG_TIMED_OUT)))
    delivered(receipts[2])
    progress.drain()
    assert progress.failure is not None
    assert progress.failure[0] == 2
    assert resume(tmp_path, FIRST).state.acknowledged_line == 1


def test_defaults_of_the_first_attempt_stand(tmp_path: Path) -> None:
    resume(tmp_path, FIRST).save()
    touched = FIRST.model_copy(update={"occurred_at": datetime(2026, 2, 1, tzinfo=UTC)})
    assert resume(tmp_path, touched).state == FIRST
    assert resume(tmp_path, touched, source="web", from_start=True).state == FIRST
    with pytest.raises(UnusableFileError, match="--source web"):
        resume(tmp_path, FIRST, source="email")
    with pytest.raises(UnusableFileError, match="--format text"):
        resume(tmp_path, FIRST.model_copy(update={"format": FileFormat.JSONL}))


def test_another_cluster_topic_or_file_starts_afresh(tmp_path: Path) -> None:
    resume(tmp_path, FIRST.model_copy(update={"acknowledged_line": 9})).save()
    for key, value in (("cluster_id", "c2"), ("topic", "other"), ("file_sha256", "1" * 64)):
        fresh = FIRST.model_copy(update={key: value})
        assert resume(tmp_path, fresh).state == fresh
    assert resume(tmp_path, FIRST).state.acknowledged_line == 9


def test_a_damaged_state_is_not_guessed_at(tmp_path: Path) -> None:
    progress = resume(tmp_path, FIRST)
    progress.save()
    (state_file,) = tmp_path.iterdir()
    state_file.write_text('{"acknowledged_line": 3')
    with pytest.raises(UnusableFileError, match=r"\.json cannot be read"):
        resume(tmp_path, FIRST)


def test_outcomes_are_sure_only_where_no_attempt_can_have_been_stored() -> None:
    event_id = UUID(int=1)
    sure = {
        code
        for code in (
            KafkaError.MSG_SIZE_TOO_LARGE,
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
            KafkaError._MSG_TIMED_OUT,
            KafkaError._PURGE_INFLIGHT,
            KafkaError._PURGE_QUEUE,
            KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        )
        if type(delivery_error(event_id, KafkaError(code))).__name__ == "RefusedError"
    }
    assert sure == {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.TOPIC_AUTHORIZATION_FAILED}
