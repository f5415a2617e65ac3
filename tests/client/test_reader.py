"""The reader as a downstream service meets it, on the real broker."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import TopicPartition
from pydantic import SecretStr

from consumer.client import (
    AccessRefusedError,
    ClassifiedFeedbackReader,
    KafkaUnavailableError,
    PositionLostError,
    ReaderError,
    ResultFilter,
    TopicMissingError,
    UnreadableResultError,
)
from schemas.connection import KafkaConnection
from tests.client.conftest import Publish, make_result

pytestmark = pytest.mark.kafka

CANARY = "canary-91cc"
MakeReader = Callable[..., ClassifiedFeedbackReader]
MakeTopic = Callable[..., str]


def texts(reader: ClassifiedFeedbackReader) -> list[str]:
    """All that it reads; it is closed then, as a member of a group that reads no more would hold the others up."""
    with reader:
        return [record.feedback.event.text for record in reader]


def committed(kafka: KafkaConnection, group: str, topic: str, partitions: int = 1) -> list[int]:
    """The group's next offsets; below 0 where there is none."""
    with KafkaConsumer({**kafka.as_librdkafka(), "group.id": group}) as asking:
        asked = [TopicPartition(topic, number) for number in range(partitions)]
        return [position.offset for position in asking.committed(asked, timeout=30)]


def test_committed_results_come_typed_and_in_order_and_until_end_ends(
    publish: Publish, make_topic: MakeTopic, make_reader: MakeReader
) -> None:
    topic = make_topic()
    trace = {"traceparent": b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    publish(topic, make_result("one"), make_result("two", category="praise"), headers=trace)
    publish(topic, make_result("never"), end="abort")
    publish(topic, {**make_result("three"), "since_a_later_version": 1})
    unfinished = publish(topic, make_result("not yet"), end="open")
    with make_reader(topic, until_end=True) as reader:
        records = list(reader)
        assert [record.feedback.event.text for record in records] == ["one", "two", "three"]
        assert records[1].feedback.category.label == "praise"
        assert [(record.partition, record.offset) for record in records[:2]] == [(0, 0), (0, 1)]
        assert records[0].trace_context == {"traceparent": trace["traceparent"].decode()}
        assert records[2].trace_context == {}
        # Past what was aborted, and up to what is not decided yet.
        assert reader.position == {0: records[2].next_offset}
    unfinished.abort_transaction(30)


def test_a_group_goes_on_after_what_was_committed(
    publish: Publish, make_topic: MakeTopic, make_reader: MakeReader
) -> None:
    topic, group = make_topic(partitions=2), uuid4().hex
    for partition in (0, 1):
        publish(topic, *(make_result(f"{partition}/{n}") for n in range(5)), partition=partition)
    with make_reader(topic, group_id=group, until_end=True) as reader:
        records = list(reader)
        assert len(records) == 10
        reader.commit(next(record for record in records if record.feedback.event.text == "0/2"))
        reader.commit(next(record for record in records if record.feedback.event.text == "1/0"))
    again = texts(make_reader(topic, group_id=group, until_end=True))
    assert sorted(again) == ["0/3", "0/4", "1/1", "1/2", "1/3", "1/4"]
    with make_reader(topic, group_id=group, until_end=True) as reader:
        for _ in reader.batches():
            reader.commit()
    publish(topic, make_result("new"))
    assert texts(make_reader(topic, group_id=group, until_end=True)) == ["new"]


def test_what_is_left_out_moves_the_position_but_never_past_open_work(
    publish: Publish, make_topic: MakeTopic, make_reader: MakeReader, kafka: KafkaConnection
) -> None:
    topic = make_topic(partitions=2)
    for partition in (0, 1):
        praise = [make_result(category="praise") for _ in range(20)]
        publish(topic, *praise, make_result(f"bug {partition}"), *praise, partition=partition)
    only_bugs = ResultFilter(category="bug")
    group = uuid4().hex
    with make_reader(topic, group_id=group, where=only_bugs, until_end=True) as reader:
        records = list(reader)
        assert sorted(record.feedback.event.text for record in records) == ["bug 0", "bug 1"]
        reader.commit(next(record for record in records if record.partition == 0))
    # Partition 0 is done to its end; in partition 1 the bug is still open, and what came before it is not.
    assert committed(kafka, group, topic, 2) == [41, 20]
    assert texts(make_reader(topic, group_id=group, where=only_bugs, until_end=True)) == ["bug 1"]


def test_the_caller_may_keep_the_position(publish: Publish, make_topic: MakeTopic, make_reader: MakeReader) -> None:
    topic = make_topic(partitions=2)
    publish(topic, *(make_result(f"{n}") for n in range(6)))
    publish(topic, make_result("other partition"), partition=1)
    reader = make_reader(topic, until_end=True)
    assert reader.position == {0: 0, 1: 0}
    seen: list[str] = []
    stored: dict[int, int] = {}
    for batch in reader.batches(4):
        seen += [record.feedback.event.text for record in batch]
        stored = reader.position
        break
    rest = texts(make_reader(topic, start=stored, until_end=True))
    assert sorted(seen + rest) == ["0", "1", "2", "3", "4", "5", "other partition"]
    # A partition that the stored position does not know yet is new: nothing of it was read.
    assert texts(make_reader(topic, start={0: 6}, until_end=True)) == ["other partition"]
    with pytest.raises(RuntimeError, match="store `position`"):
        reader.commit()


@pytest.mark.parametrize(("position", "reason"), [({0: 99}, "outside what it holds"), ({7: 0}, "partition 7")])
def test_a_position_of_another_topic_is_not_guessed_at(
    publish: Publish, make_topic: MakeTopic, make_reader: MakeReader, position: dict[int, int], reason: str
) -> None:
    topic = make_topic()
    publish(topic, make_result())
    with pytest.raises(PositionLostError, match=reason):
        texts(make_reader(topic, start=position))


def test_reading_begins_at_a_time_or_at_the_end(
    publish: Publish, make_topic: MakeTopic, make_reader: MakeReader
) -> None:
    topic = make_topic(partitions=2)
    publish(topic, make_result("before"))
    time.sleep(0.01)
    between = datetime.now(UTC)
    live = make_reader(topic, start="end")
    assert live.position[0] > 0
    publish(topic, make_result("after"))
    assert [record.feedback.event.text for record in live.read(timeout_s=30)] == ["after"]
    assert texts(make_reader(topic, start=between, until_end=True)) == ["after"]
    assert texts(make_reader(topic, start=datetime.now(UTC), until_end=True)) == []
    with pytest.raises(ValueError, match="zone"):
        make_reader(topic, start=datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="without a group"):
        make_reader(topic, group_id="g", start={0: 0})


UNREADABLE: list[tuple[bytes | None, dict[str, bytes], str]] = [
    (None, {}, "no value"),
    (CANARY.encode(), {}, "Invalid JSON"),
    (b'{"event": {"metadata": {"' + CANARY.encode() + b'": []}}}', {}, "event"),
    (b"{}", {"schema-version": b"2"}, "upgrade"),
]


def test_what_is_no_result_is_never_passed_over_unasked(
    publish: Publish, make_topic: MakeTopic, make_reader: MakeReader
) -> None:
    topic = make_topic()
    publish(topic, make_result("before"))
    for value, headers, _ in UNREADABLE:
        publish(topic, value, headers=headers)
    publish(topic, make_result("after"))
    reader = make_reader(topic)
    assert [record.feedback.event.text for record in reader.read(timeout_s=30)] == ["before"]
    for _ in range(2):
        with pytest.raises(UnreadableResultError, match="no value") as caught:
            reader.read(timeout_s=30)
        assert (caught.value.topic, caught.value.partition, caught.value.offset) == (topic, 0, 2)
    skipped: list[UnreadableResultError] = []
    assert texts(make_reader(topic, on_unreadable=skipped.append, until_end=True)) == ["before", "after"]
    assert [reason in str(error) for error, (_, _, reason) in zip(skipped, UNREADABLE, strict=True)] == [True] * 4
    assert CANARY not in "".join(map(str, skipped))


def test_a_filter_that_fails_loses_nothing(publish: Publish, make_topic: MakeTopic, make_reader: MakeReader) -> None:
    topic = make_topic()
    publish(topic, make_result("one"), make_result("two"))
    is_broken = True

    def where(result: Any) -> bool:
        if is_broken and result.event.text == "two":
            raise KeyError
        return True

    reader = make_reader(topic, where=where, until_end=True)
    assert [record.feedback.event.text for record in reader.read(timeout_s=30)] == ["one"]
    with pytest.raises(KeyError):
        reader.read(timeout_s=30)
    is_broken = False
    assert texts(reader) == ["two"]


def test_filters_combine(publish: Publish, make_topic: MakeTopic, make_reader: MakeReader) -> None:
    topic = make_topic()
    publish(
        topic,
        make_result("a", sentiment="negative", source="web"),
        make_result("b", category="praise", constructive="yes"),
        make_result("c", needs_review=True, source="email"),
    )
    for where, expected in [
        (ResultFilter(category=["bug", "praise"]), "abc"),
        (ResultFilter(sentiment="negative"), "a"),
        (ResultFilter(constructive="yes", source=["web", "email"]), "b"),
        (ResultFilter(needs_review=False), "ab"),
        (ResultFilter(source="email", category="praise"), ""),
        (ResultFilter(min_scores={"category": 0.5}), "ac"),
        (lambda result: result.event.text > "a", "bc"),
    ]:
        assert "".join(texts(make_reader(topic, where=where, until_end=True))) == expected
    with pytest.raises(ValueError, match="category: no label 'bugs'; there are bug, feature_request"):
        ResultFilter(category="bugs")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="probability"):
        ResultFilter(min_scores={"category": 80})


def test_members_share_and_what_was_not_committed_comes_again(
    publish: Publish, make_topic: MakeTopic, make_reader: MakeReader, kafka: KafkaConnection
) -> None:
    topic, group = make_topic(partitions=4), uuid4().hex
    for partition in range(4):
        publish(topic, *(make_result(f"{partition}/{n}") for n in range(10)), partition=partition)
    first, second = make_reader(topic, group_id=group), make_reader(topic, group_id=group)
    done: list[str] = []
    open_work: list[str] = []
    deadline_s = time.monotonic() + 60
    while len(done) + len(open_work) < 40:
        assert time.monotonic() < deadline_s
        for record in first.read(7):
            # Of each partition the first half is processed, the rest is in hand when the second member comes.
            (done if record.offset < 5 else open_work).append(record.feedback.event.text)
            if record.offset < 5:
                first.commit(record)
    taken: list[str] = []
    while len(taken) < 10:
        assert time.monotonic() < deadline_s, "the second member gets nothing"
        first.read(timeout_s=0.1)
        for record in second.read(timeout_s=0.1):
            taken.append(record.feedback.event.text)
            second.commit(record)
    assert not set(taken) & set(done), "what was committed came again"
    assert set(taken) <= set(open_work)
    # The first member may go on to commit what it still has, and nothing else.
    first.commit()
    assert sorted(committed(kafka, group, topic, 4)) == [10, 10, 10, 10]


def test_stop_ends_the_iteration_from_another_thread(make_topic: MakeTopic, make_reader: MakeReader) -> None:
    reader = make_reader(make_topic())
    threading.Timer(0.3, reader.stop).start()
    assert texts(reader) == []
    reader.close()
    with pytest.raises(RuntimeError, match="closed"):
        reader.read()


def test_each_refusal_is_one_clear_error(
    kafka: KafkaConnection, guarded_kafka: KafkaConnection, make_reader: MakeReader
) -> None:
    with pytest.raises(TopicMissingError, match=r"there is no topic not-there.*schemas topics apply"):
        texts(make_reader("not-there"))
    away = KafkaConnection(bootstrap_servers="127.0.0.1:1")
    started_s = time.monotonic()
    with pytest.raises(KafkaUnavailableError, match=r"127\.0\.0\.1:1.*refused"):
        texts(make_reader("t", connection=away, outage_timeout_s=1))
    assert time.monotonic() - started_s < 15
    wrong = guarded_kafka.model_copy(update={"sasl_password": SecretStr(CANARY)})
    with pytest.raises(AccessRefusedError, match="login") as refused:
        texts(make_reader("t", connection=wrong))
    assert CANARY not in str(refused.value)
    unusable = kafka.model_copy(update={"security_protocol": "SSL", "ssl_ca_location": "/no-such.pem"})
    with pytest.raises(ReaderError, match=r"ssl\.ca\.location"):
        make_reader("t", connection=unusable)


def test_it_needs_the_plain_install_only() -> None:
    program = (
        "import sys, consumer.client, consumer.client.__main__\n"
        "heavy = {'onnxruntime', 'tokenizers', 'numpy', 'sqlalchemy', 'psycopg2', 'alembic', 'fsspec',\n"
        "         'prometheus_client', 'structlog', 'stamina', 'opentelemetry'}\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "ours = {name for name in sys.modules if name.startswith('consumer.') and 'consumer.client' not in name}\n"
        "print(sorted(heavy & loaded), sorted(ours))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[] []"
