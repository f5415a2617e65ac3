"""The publisher for asyncio programs: the outcomes and guarantees of `producer.client`, and the loop never waits."""

import asyncio
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

from producer.client import FeedbackPublisher, encode_each
from producer.delivery import CloseReport, Delivery, Receipt
from producer.encoding import EncodedEvent, encode
from producer.errors import (
    BrokerError,
    DeliveryError,
    FlushTimeoutError,
    PublisherClosedError,
    QueueFullError,
    UndeliveredError,
)
from schemas.connection import KafkaConnection
from schemas.event import FeedbackEvent
from schemas.registry import SchemaRegistryConnection
from schemas.topics import EVENTS

# A turn of the event loop settles, or queues, no more records than this: some milliseconds of work.
_RECORDS_A_TURN: Final = 64


class AsyncReceipt:
    """The pending outcome of one queued event; `await` gives its `Delivery`.

    Any number of tasks may await it. Cancelling one of them, a timeout for example, changes nothing for the record,
    nor for the others: it stays in flight, and a failure that nobody has seen is raised by `flush` or `close`.
    Awaiting raises `RefusedError` or `OutcomeUnknownError`.

    Attributes:
        receipt: the same outcome for other threads, as `FeedbackPublisher` gives it.
    """

    __slots__ = ("_loop", "_settled", "_waiters", "receipt")

    def __init__(self, receipt: Receipt, loop: asyncio.AbstractEventLoop) -> None:
        self.receipt = receipt
        self._loop = loop
        self._settled = False
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def event_id(self) -> UUID:
        """The event's id, made by the publisher where the event had none."""
        return self.receipt.event_id

    def done(self) -> bool:
        """Whether awaiting it returns, or raises, at once."""
        return self._settled

    def settle(self) -> None:
        """Wake whoever awaits the outcome. The publisher's part."""
        self._settled = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def __await__(self) -> Generator[Any, None, Delivery]:
        if not self._settled:
            # A future for each who waits: cancelling a task cancels what it awaits.
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                yield from waiter
            except asyncio.CancelledError:
                if not self._settled:
                    self._waiters.remove(waiter)
                raise
        return self.receipt.result(0)


class AsyncFeedbackPublisher:
    """Publishes feedback events from an event loop, with the outcomes and guarantees of `FeedbackPublisher`.

    A full queue is awaited, in the order of the calls; whatever could block runs in a thread. One publisher serves one
    event loop, and all of its tasks. It may be made anywhere, before a fork too; it opens, and belongs to the loop
    that runs, with `async with` or `start`.

        async with AsyncFeedbackPublisher() as publisher:
            delivery = await publisher.publish({"source": "web", "text": "...", "occurred_at": "2026-01-31T09:30:00Z"})

    Cancelling a task that publishes loses nothing: either the event was not queued, or it stays in flight and its
    outcome is accounted for; a failure is then raised by `flush`, `close` or leaving the block. Who wants to
    publish a cancelled event again gives it an `event_id` of its own at first.

    Args:
        connection: the brokers and the login; by default from the environment (`KAFKA_BOOTSTRAP_SERVERS`, ...).
        topic: where to publish.
        delivery_timeout_s: how long a record may take, all retries included, before its outcome is unknown.
        queue_timeout_s: how long a call waits for room in a full queue.
        max_queued_records: records without an outcome at one time; 64 MiB is a second limit.
        schema_registry: see `FeedbackPublisher`.
    """

    def __init__(
        self,
        connection: KafkaConnection | None = None,
        *,
        topic: str = EVENTS,
        delivery_timeout_s: float = 120.0,
        queue_timeout_s: float = 30.0,
        max_queued_records: int = 10_000,
        schema_registry: SchemaRegistryConnection | None = None,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._delivery_timeout_s = delivery_timeout_s
        self._queue_timeout_s = queue_timeout_s
        self._max_queued_records = max_queued_records
        self._schema_registry = schema_registry
        self._publisher: FeedbackPublisher | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._in_flight: dict[Receipt, AsyncReceipt] = {}
        self._outcomes: deque[Receipt] = deque()
        self._taking_outcomes = False
        self._turn = asyncio.Lock()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._waiting_records = 0
        self._records_this_turn = 0
        self._closing: asyncio.Task[CloseReport] | None = None
        self._undelivered_was_raised = False

    async def start(self) -> None:
        """Open the publisher in the running loop; `async with` does it by itself. Brokers may be away: see `check`.

        Raises:
            BrokerError: see `FeedbackPublisher`.
        """
        if self._loop is not None:
            raise RuntimeError("this publisher was started before: make a new one")
        self._loop = asyncio.get_running_loop()
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            self._publisher = await asyncio.shield(opening)
        except asyncio.CancelledError:
            with suppress(BrokerError):
                await asyncio.to_thread((await opening).close, 0)
            raise

    async def publish(
        self,
        event: FeedbackEvent | Mapping[str, Any],
        *,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> Delivery:
        """Publish one event and wait until Kafka has acknowledged it.

        Args:
            event: one without an `event_id` gets a UUIDv7. To repeat an event, use the id that the error names.
            traceparent: W3C trace context of the caller, carried to the result.
            tracestate: likewise.

        Raises:
            RefusedError: not stored.
            OutcomeUnknownError: perhaps stored.
            InvalidEventError: the event breaks the contract; nothing was sent.
            EventTooLargeError: it does not fit into the topic; nothing was sent.
            QueueFullError: no room in time; nothing was sent.
            UndeliveredError: too many failures that nobody looked at; nothing was sent.
            PublisherClosedError: the publisher was closed.
            BrokerError: the producer failed for good: close this publisher and make a new one.
        """
        receipt = await self._queue(encode(event, traceparent=traceparent, tracestate=tracestate))
        return await receipt

    async def enqueue(
        self,
        event: FeedbackEvent | Mapping[str, Any],
        *,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> AsyncReceipt:
        """Queue one event, waiting for room only; await the receipt for its outcome, now, later or never.

        Args:
            event: see `publish`.
            traceparent: see `publish`.
            tracestate: see `publish`.

        Raises:
            PublishError: what `publish` raises, but for the outcome: the receipt raises that.
        """
        receipt = await self._queue(encode(event, traceparent=traceparent, tracestate=tracestate))
        await self._let_others_run()
        return receipt

    async def publish_many(self, events: Iterable[FeedbackEvent | Mapping[str, Any]]) -> list[Delivery]:
        """Publish many events and wait until all have their outcome; deliveries in their order.

        All of them are validated before the first is queued, so that an invalid one stops them all. For a stream
        without end call `enqueue` in a loop.

        Raises:
            UndeliveredError: some were not delivered; `report` says which, and how many of this call were.
            InvalidEventError: see `publish`; `position` says which event.
            EventTooLargeError: see `publish`.
            QueueFullError: see `publish`; `queued` holds the receipts of those queued before.
        """
        records = []
        for record in encode_each(events):
            records.append(record)
            await self._let_others_run()
        receipts: list[AsyncReceipt] = []
        for record in records:
            try:
                receipts.append(await self._queue(record))
            except QueueFullError as error:
                error.queued = [receipt.receipt for receipt in receipts]
                raise
            await self._let_others_run()
        deliveries: list[Delivery] = []
        failures: list[DeliveryError] = []
        for receipt in receipts:
            try:
                deliveries.append(await receipt)
            except DeliveryError as failure:
                failures.append(failure)
            await self._let_others_run()
        if failures:
            raise UndeliveredError(CloseReport.of(len(deliveries), failures), failures[0].reason)
        return deliveries

    async def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every record has its outcome, those that other tasks publish meanwhile included.

        Raises:
            FlushTimeoutError: some had none in time; they stay queued.
            UndeliveredError: some were not delivered, and nobody had looked at their receipts.
        """
        publisher = self._opened()
        await self._wait_until_idle(timeout_s)
        if self._in_flight:
            raise FlushTimeoutError(len(self._in_flight), timeout_s)
        publisher.flush(0)

    async def check(self, timeout_s: float = 10.0) -> str:
        """Ask the brokers for the topic, to learn now what the first delivery would show much later.

        Returns:
            The cluster's id.

        Raises:
            BrokerError: no broker answers, they refuse the login, or there is no such topic.
        """
        return await asyncio.to_thread(self._opened().check, timeout_s)

    async def close(self, timeout_s: float = 30.0) -> CloseReport:
        """Wait for outcomes, give up what has none in time, and free everything. Calling it again changes nothing.

        Calls that wait for room raise `PublisherClosedError`. Cancelled, closing goes on, and the next call awaits it.

        Returns:
            What was delivered, and what was not but had been looked at.

        Raises:
            UndeliveredError: as `flush`, and for the records given up; `report` says which. Raised once.
        """
        if self._publisher is None:
            return CloseReport(0, (), ())
        publisher = self._opened()
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(publisher, timeout_s))
        try:
            return await asyncio.shield(self._closing)
        except UndeliveredError as undelivered:
            if self._undelivered_was_raised:
                return undelivered.report
            self._undelivered_was_raised = True
            raise

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except UndeliveredError as undelivered:
            if raised is None:
                raise
            raised.add_note(str(undelivered))

    def _open(self) -> FeedbackPublisher:
        return FeedbackPublisher(
            self._connection,
            topic=self._topic,
            delivery_timeout_s=self._delivery_timeout_s,
            max_queued_records=self._max_queued_records,
            schema_registry=self._schema_registry,
            on_settled=self._hear,
        )

    async def _close(self, publisher: FeedbackPublisher, timeout_s: float) -> CloseReport:
        self._room.set()
        await self._wait_until_idle(timeout_s)
        return await asyncio.to_thread(publisher.close, 0)

    def _opened(self) -> FeedbackPublisher:
        if self._publisher is None:
            raise RuntimeError("this publisher is not open: use `async with`, or await start() at first")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this publisher belongs to another event loop, or to the process before a fork")
        return self._publisher

    async def _queue(self, record: EncodedEvent) -> AsyncReceipt:
        publisher = self._opened()
        if not self._waiting_records and (receipt := self._offer(publisher, record)) is not None:
            return receipt
        self._waiting_records += 1
        try:
            # The lock is fair: records are queued in the order of the calls.
            async with asyncio.timeout(self._queue_timeout_s), self._turn:
                while (receipt := self._offer(publisher, record)) is None:
                    self._room.clear()
                    await self._room.wait()
                return receipt
        except TimeoutError:
            raise publisher.why_full() from None
        finally:
            self._waiting_records -= 1

    def _offer(self, publisher: FeedbackPublisher, record: EncodedEvent) -> AsyncReceipt | None:
        if self._closing is not None:
            raise PublisherClosedError("the publisher is closed")
        # Records that Kafka has acknowledged count until the loop has told who waits for them.
        if len(self._in_flight) >= self._max_queued_records or (queued := publisher.offer(record)) is None:
            return None
        receipt = AsyncReceipt(queued, asyncio.get_running_loop())
        self._in_flight[queued] = receipt
        return receipt

    async def _let_others_run(self) -> None:
        self._records_this_turn += 1
        if self._records_this_turn >= _RECORDS_A_TURN:
            self._records_this_turn = 0
            await asyncio.sleep(0)

    async def _wait_until_idle(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while self._in_flight:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return

    def _hear(self, receipts: Sequence[Receipt]) -> None:
        self._outcomes.extend(receipts)
        if self._taking_outcomes or self._loop is None:
            return
        self._taking_outcomes = True
        try:
            # Wakes the loop by a system call: once for many records.
            self._loop.call_soon_threadsafe(self._take_outcomes)
        except RuntimeError:
            # The loop has ended and nobody is left to tell. What failed is logged when the process ends.
            self._outcomes.clear()

    def _take_outcomes(self) -> None:
        for _ in range(min(len(self._outcomes), _RECORDS_A_TURN)):
            self._in_flight.pop(self._outcomes.popleft()).settle()
        self._room.set()
        if not self._in_flight:
            self._idle.set()
        # The order matters: the other thread looks at the flag after it has appended.
        self._taking_outcomes = False
        if self._outcomes:
            self._taking_outcomes = True
            asyncio.get_running_loop().call_soon(self._take_outcomes)
