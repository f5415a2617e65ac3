"""The asyncio publisher against a real broker, and against none."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from producer.aio import AsyncFeedbackPublisher, AsyncReceipt
from producer.errors import (
    FlushTimeoutError,
    InvalidEventError,
    OutcomeUnknownError,
    PublisherClosedError,
    QueueFullError,
    RefusedError,
    UndeliveredError,
)
from schemas.connection import KafkaConnection
from tests.conftest import Servers
from tests.producer.test_client import EVENT
from tests.producer.test_client import nowhere as nowhere  # noqa: PLC0414 (a fixture)
from tests.producer.topic_reader import read_topic

TOO_LARGE = {**EVENT, "text": "".join(map(str, range(2000)))}
# A broker that starts on a busy machine may take a minute.
DEADLINE_S = 150.0


def run(main: Coroutine[Any, Any, None]) -> None:
    """What `asyncio.run` does, with complaints about blocked turns and forgotten futures as errors."""

    async def within_deadline() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(DEADLINE_S):
            await main

    complaints: list[dict[str, Any]] = []
    asyncio.run(within_deadline())
    assert complaints == []


def texts_by_key(kafka: KafkaConnection, topic: str) -> dict[bytes, list[str]]:
    found: dict[bytes, list[str]] = {}
    for record in read_topic(kafka, topic):
        found.setdefault(record.key() or b"", []).append(json.loads(record.value() or b"")["text"])
    return found


@pytest.mark.kafka
def test_many_tasks_keep_the_order_of_their_calls_through_a_small_queue(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(partitions=3)
    events = [{**EVENT, "text": f"message {n}", "customer_id": f"c-{n % 7}"} for n in range(1000)]
    most_in_flight = 0

    async def main() -> None:
        nonlocal most_in_flight

        async def watch() -> None:
            nonlocal most_in_flight
            while True:
                most_in_flight = max(most_in_flight, len(publisher._in_flight))
                await asyncio.sleep(0)

        async with AsyncFeedbackPublisher(kafka, topic=topic, max_queued_records=20) as publisher:
            assert await publisher.check()
            watching = asyncio.create_task(watch())
            publishing = []
            for event in events:
                publishing.append(asyncio.create_task(publisher.publish(event)))
                # Some calls meet room that others were waiting for.
                await asyncio.sleep(0)
            deliveries = await asyncio.gather(*publishing)
            watching.cancel()
            assert len({(delivery.partition, delivery.offset) for delivery in deliveries}) == 1000
            assert (await publisher.close()).delivered_records == 1000

    run(main())
    assert 0 < most_in_flight <= 20
    expected = {f"c-{c}".encode(): [f"message {n}" for n in range(c, 1000, 7)] for c in range(7)}
    assert texts_by_key(kafka, topic) == expected


def block_until_acknowledged(publisher: AsyncFeedbackPublisher, records: int) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while len(publisher._outcomes) < records:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.mark.kafka
def test_what_kafka_acknowledged_takes_room_until_the_loop_has_heard_of_it(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    async def main() -> None:
        async with AsyncFeedbackPublisher(kafka, topic=make_topic(), max_queued_records=5) as publisher:
            for _ in range(5):
                await publisher.enqueue(EVENT)
            further = [asyncio.create_task(publisher.publish(EVENT)) for _ in range(5)]
            seen: list[int] = []
            asyncio.get_running_loop().call_soon(lambda: seen.append(len(publisher._in_flight)))
            # The loop is busy while Kafka answers; the calls above run before it hears of that.
            block_until_acknowledged(publisher, 5)
            await asyncio.gather(*further)
            assert seen == [5]

    run(main())


@pytest.mark.kafka
def test_publish_many_validates_first_and_tells_all_that_failed(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(config={"max.message.bytes": "1000"})

    async def main() -> None:
        async with AsyncFeedbackPublisher(kafka, topic=topic) as publisher:
            with pytest.raises(InvalidEventError, match="event 1: rating"):
                await publisher.publish_many([EVENT, {**EVENT, "rating": 9}])
            # Apart, so that the refused one does not share its batch.
            with pytest.raises(UndeliveredError) as failed:
                await publisher.publish_many([TOO_LARGE])
            assert (failed.value.report.delivered_records, len(failed.value.report.refused)) == (0, 1)
            deliveries = await publisher.publish_many([EVENT, EVENT])
            assert [delivery.offset for delivery in deliveries] == [0, 1]

    run(main())
    assert len(read_topic(kafka, topic)) == 2


@pytest.mark.kafka
def test_a_failure_that_a_task_awaits_is_not_raised_by_flush_but_a_cancelled_one_is(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(config={"max.message.bytes": "1000"})

    async def main() -> None:
        async with AsyncFeedbackPublisher(kafka, topic=topic) as publisher:
            awaited = asyncio.create_task(publisher.publish(TOO_LARGE))
            await asyncio.sleep(0)
            await publisher.flush()
            with pytest.raises(RefusedError):
                await awaited
            receipt = await publisher.enqueue(TOO_LARGE)
            cancelled = asyncio.ensure_future(receipt)
            await asyncio.sleep(0)
            cancelled.cancel()
            with pytest.raises(UndeliveredError) as undelivered:
                await publisher.flush()
            assert undelivered.value.report.refused == (receipt.event_id,)

    run(main())


@pytest.mark.kafka
def test_cancelled_callers_lose_nothing(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic()

    async def main() -> None:
        publisher = AsyncFeedbackPublisher(kafka, topic=topic, max_queued_records=10)
        await publisher.start()
        sent = [asyncio.create_task(publisher.publish({**EVENT, "text": f"sent {n}"})) for n in range(10)]
        waiting = [asyncio.create_task(publisher.publish({**EVENT, "text": "never"})) for _ in range(10)]
        shared = asyncio.create_task(publisher.enqueue({**EVENT, "text": "shared"}))
        await asyncio.sleep(0)
        # All that has room is in flight, the others queue up; nothing can be acknowledged within this turn.
        for task in (*sent[:5], *waiting):
            task.cancel()
        receipt = await shared
        impatient, patient = asyncio.ensure_future(receipt), asyncio.ensure_future(receipt)
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).event_id == receipt.event_id
        assert receipt.done()
        assert await receipt == await patient
        outcomes = await asyncio.gather(*sent, *waiting, return_exceptions=True)
        assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 15
        assert (await publisher.close()).delivered_records == 11
        assert publisher._in_flight == {}

    run(main())
    texts = [json.loads(record.value() or b"")["text"] for record in read_topic(kafka, topic)]
    assert texts == [*(f"sent {n}" for n in range(10)), "shared"]


@pytest.mark.kafka
def test_other_tasks_run_while_twenty_thousand_records_pass(
    kafka: KafkaConnection, make_topic: Callable[..., str]
) -> None:
    topic = make_topic(partitions=3)
    records = 20_000

    async def main() -> None:
        longest_queueing = longest_settling = ticks = 0
        async with AsyncFeedbackPublisher(kafka, topic=topic) as publisher:
            queued_records = 0

            async def tick() -> None:
                nonlocal longest_queueing, longest_settling, ticks
                queued = settled = 0
                while True:
                    now_queued = queued_records
                    now_settled = now_queued - len(publisher._in_flight)
                    longest_queueing = max(longest_queueing, now_queued - queued)
                    longest_settling = max(longest_settling, now_settled - settled)
                    queued, settled = now_queued, now_settled
                    ticks += 1
                    await asyncio.sleep(0)

            ticking = asyncio.create_task(tick())
            for number in range(records):
                await publisher.enqueue({**EVENT, "text": f"message {number}"})
                queued_records += 1
            await publisher.flush()
            ticking.cancel()
        # What a turn of the loop may do is bounded, so other tasks get theirs; time itself depends on the machine.
        assert longest_queueing <= 100
        assert longest_settling <= 200
        assert ticks >= records / 100

    run(main())
    assert len(read_topic(kafka, topic)) == records


@pytest.mark.kafka
def test_the_loop_turns_while_the_broker_is_away_and_everything_arrives_in_order(
    kafka: KafkaConnection, make_topic: Callable[..., str], servers: Servers
) -> None:
    if servers.stack is None:
        pytest.skip("the broker is not ours to stop")
    topic, broker = make_topic(), servers.stack.kafka

    async def main() -> None:
        async with AsyncFeedbackPublisher(
            kafka, topic=topic, max_queued_records=50, queue_timeout_s=DEADLINE_S
        ) as publisher:
            await publisher.publish({**EVENT, "text": "0", "customer_id": "c"})
            await asyncio.to_thread(broker.kill)
            publishing = [
                asyncio.create_task(publisher.publish({**EVENT, "text": str(n), "customer_id": "c"}))
                for n in range(1, 100)
            ]
            starting = asyncio.create_task(asyncio.to_thread(broker.start))
            ticks = 0
            while not starting.done():
                ticks += 1
                await asyncio.sleep(0.01)
            await starting
            # The server needs seconds; a loop that waited for it would have ticked a few times.
            assert ticks >= 30
            await asyncio.gather(*publishing)

    run(main())
    assert texts_by_key(kafka, topic) == {b"c": [str(n) for n in range(100)]}


@pytest.mark.kafka
def test_a_program_that_forgets_to_close_still_delivers(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    program = (
        "import asyncio\n"
        "from producer.aio import AsyncFeedbackPublisher\n"
        "async def main():\n"
        f"    publisher = AsyncFeedbackPublisher(topic={topic!r})\n"
        "    await publisher.start()\n"
        f"    await publisher.enqueue({EVENT!r})\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=environment, check=True, timeout=60, capture_output=True
    )
    assert done.stderr == b""
    assert len(read_topic(kafka, topic)) == 1


def test_without_a_broker_the_queue_fills_and_close_says_what_is_left(nowhere: KafkaConnection) -> None:
    async def main() -> None:
        publisher = AsyncFeedbackPublisher(nowhere, queue_timeout_s=0.5, max_queued_records=3)
        await publisher.start()
        with pytest.raises(QueueFullError, match="Connection refused") as full:
            await publisher.publish_many([EVENT] * 5)
        assert len(full.value.queued) == 3
        with pytest.raises(FlushTimeoutError, match="3 records"):
            await publisher.flush(timeout_s=0.1)
        waiting = asyncio.create_task(publisher.publish(EVENT))
        await asyncio.sleep(0)
        closing = asyncio.create_task(publisher.close(timeout_s=0.5))
        with pytest.raises(PublisherClosedError):
            await waiting
        assert not full.value.queued[0].done()
        with pytest.raises(UndeliveredError, match="3 with unknown outcome") as undelivered:
            await closing
        assert set(undelivered.value.report.unknown) == {receipt.event_id for receipt in full.value.queued}
        assert await publisher.close() == undelivered.value.report
        with pytest.raises(PublisherClosedError):
            await publisher.publish(EVENT)

    run(main())


def test_a_timeout_around_publish_leaves_the_outcome_to_close(nowhere: KafkaConnection) -> None:
    receipts: list[AsyncReceipt] = []

    async def enqueue_and_lose_patience() -> None:
        async with AsyncFeedbackPublisher(nowhere, delivery_timeout_s=0.5) as publisher:
            receipts.append(await publisher.enqueue(EVENT))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receipts[0], 0.05)

    async def main() -> None:
        with pytest.raises(UndeliveredError) as undelivered:
            await enqueue_and_lose_patience()
        assert undelivered.value.report.unknown == (receipts[0].event_id,)
        with pytest.raises(OutcomeUnknownError):
            await receipts[0]

    run(main())


def test_an_error_in_the_block_is_not_hidden_by_what_was_not_delivered(nowhere: KafkaConnection) -> None:
    async def fail() -> None:
        async with AsyncFeedbackPublisher(nowhere, delivery_timeout_s=0.2) as publisher:
            await publisher.enqueue(EVENT)
            raise KeyError("the caller's own")

    async def main() -> None:
        with pytest.raises(KeyError) as raised:
            await fail()
        assert any("1 with unknown outcome" in note for note in raised.value.__notes__)

    run(main())


def test_misuse_is_refused_with_what_to_do(nowhere: KafkaConnection) -> None:
    publisher = AsyncFeedbackPublisher(nowhere)

    async def use() -> None:
        with pytest.raises(RuntimeError, match="await start"):
            await publisher.publish(EVENT)
        assert (await publisher.close()).delivered_records == 0
        await publisher.start()
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, publisher.publish(EVENT))
        with pytest.raises(RuntimeError, match="started before"):
            await publisher.start()
        await publisher.close()

    run(use())


@pytest.mark.kafka
def test_the_example_works_as_it_stands(kafka: KafkaConnection, make_topic: Callable[..., str]) -> None:
    topic = make_topic()
    example = Path(__file__).parents[2] / "examples" / "publish_async.py"
    # Only the default topic is another one: the real one may be in use.
    program = (
        "import runpy\n"
        "from producer.aio import AsyncFeedbackPublisher\n"
        f"AsyncFeedbackPublisher.__init__.__kwdefaults__['topic'] = {topic!r}\n"
        f"runpy.run_path({str(example)!r}, run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    stored = {(record.partition(), record.offset()) for record in read_topic(kafka, topic)}
    assert len(stored) == 4
    assert len(done.stdout.splitlines()) == 4
