"""One run: sends on schedule, watches what comes back, reports."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import timedelta
from typing import Final

from producer.client import FeedbackPublisher
from producer.encoding import EncodedEvent
from producer.errors import PublishError, UndeliveredError
from producer.load.events import EventSource, LoadEvents
from producer.load.latency import Latency
from producer.load.report import LoadReport
from producer.load.returns import ReturnReader
from producer.load.schedule import RunIds, Schedule
from producer.load.tally import Tally
from schemas.connection import KafkaConnection
from schemas.event import utc_now

_QUEUE_TIMEOUT_S: Final = 30.0
_FULL_QUEUE_PAUSE_S: Final = 0.001
_SHOW_EVERY_S: Final = 0.1
# The first event is due a little after everything is ready, so that getting ready does not make it late.
_LEAD_S: Final = 0.1

ShowProgress = Callable[[Tally, str, float, bool], None]


class LoadRun:
    """Publishes a schedule of events and measures how long each takes.

    Args:
        connection: the brokers and the login.
        schedule: when events are due.
        source: what they say.
        topic: where to publish.
        results_topics: topics of results and of dead letters, None to measure publishing alone.
        grace_s: how long after the last event was due to wait for what is still on its way.
        show: called about ten times a second: the tally, what the run does, events sent a second, results read or not.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        schedule: Schedule,
        source: EventSource,
        *,
        topic: str,
        results_topics: tuple[str, str] | None,
        grace_s: float,
        show: ShowProgress,
    ) -> None:
        self._connection = connection
        self._schedule = schedule
        self._source = source
        self._topic = topic
        self._results_topics = results_topics
        self._grace_s = grace_s
        self._show = show
        self._ids = RunIds.fresh()
        self._tally = Tally(schedule, self._ids)
        self._interrupted = False
        self._stopped: str | None = None
        self._waited_for_room = 0
        self._next_show_s = 0.0
        self._last_sent_s = 0.0

    def interrupt(self) -> None:
        """End early; a signal handler may call it."""
        self._interrupted = True

    def run(self) -> LoadReport:
        """Send everything, wait for the rest, report.

        Raises:
            BrokerError: Kafka, the login or a topic does not let us begin; later trouble stands in the report.
        """
        with ExitStack() as cleanup:
            publisher = FeedbackPublisher(self._connection, topic=self._topic, on_settled=self._tally.add_settled)
            cleanup.callback(self._give_up_the_rest, publisher)
            publisher.check()
            reader = None
            if self._results_topics is not None:
                reader = cleanup.enter_context(ReturnReader(self._connection, *self._results_topics, self._tally))
            try:
                self._send(publisher)
            except PublishError as error:
                self._stopped = str(error)
            self._wait_for_the_rest(reader)
            self._give_up_the_rest(publisher)
            elapsed_s = time.monotonic() - self._tally.started_s
            fault = None if reader is None else reader.fault
        return self._report(elapsed_s, fault)

    def _send(self, publisher: FeedbackPublisher) -> None:
        started_at = utc_now() + timedelta(seconds=_LEAD_S)
        self._tally.started_s = self._last_sent_s = time.monotonic() + _LEAD_S
        events = LoadEvents(self._source, self._ids, self._schedule, started_at)
        for index in range(self._schedule.events):
            # Made before it is due, so that making it costs no time then.
            record = events.make(index)
            if not self._wait_until(self._tally.started_s + self._schedule.due_s(index)):
                return
            if not self._queue(publisher, record):
                return
            self._tally.add_sent(index)
            self._last_sent_s = time.monotonic()

    def _queue(self, publisher: FeedbackPublisher, record: EncodedEvent) -> bool:
        if publisher.offer(record) is not None:
            return True
        self._waited_for_room += 1
        deadline_s = time.monotonic() + _QUEUE_TIMEOUT_S
        while not self._interrupted:
            if publisher.offer(record) is not None:
                return True
            if time.monotonic() > deadline_s:
                raise publisher.why_full()
            time.sleep(_FULL_QUEUE_PAUSE_S)
            self._tell("Kafka is slow")
        return False

    def _wait_until(self, at_s: float) -> bool:
        while (left_s := at_s - time.monotonic()) > 0 and not self._interrupted:
            time.sleep(min(left_s, _SHOW_EVERY_S))
            self._tell("sending")
        self._tell("sending")
        return not self._interrupted

    def _wait_for_the_rest(self, reader: ReturnReader | None) -> None:
        deadline_s = time.monotonic() + self._grace_s
        while not self._interrupted and time.monotonic() < deadline_s:
            if not self._tally.without_outcome and (reader is None or not self._tally.missing):
                return
            time.sleep(_SHOW_EVERY_S)
            self._tell("waiting for the rest")

    def _give_up_the_rest(self, publisher: FeedbackPublisher) -> None:
        # Every failure was looked at as it came; those of the records given up now are counted too.
        with suppress(UndeliveredError):
            publisher.close(0)

    def _tell(self, doing: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_show_s:
            self._next_show_s = now_s + _SHOW_EVERY_S
            self._show(self._tally, doing, self._sent_per_s(), self._results_topics is not None)

    def _sent_per_s(self) -> float:
        # The last event stands for the time up to the next one.
        took_s = self._last_sent_s - self._tally.started_s + 1 / self._schedule.rate_per_s
        return self._tally.sent / took_s if self._tally.sent else 0.0

    def _report(self, elapsed_s: float, reading_fault: str | None) -> LoadReport:
        tally, reading = self._tally, self._results_topics is not None
        missing = tally.missing if reading else None
        return LoadReport(
            run_id=self._ids.run_id,
            topic=self._topic,
            planned=self._schedule.events,
            offered_per_s=self._schedule.rate_per_s,
            duration_s=self._schedule.duration_s,
            grace_s=self._grace_s,
            elapsed_s=elapsed_s,
            sent_per_s=self._sent_per_s(),
            sent=tally.sent,
            acknowledged=tally.acknowledged,
            refused=tally.refused,
            unknown=tally.unknown,
            waited_for_room=self._waited_for_room,
            results=tally.results if reading else None,
            dead_letters=tally.dead_letters if reading else None,
            missing=missing,
            duplicates=tally.duplicates if reading else None,
            lateness=Latency.of(tally.lateness_s, 0),
            acknowledgement=Latency.of(tally.acknowledged_s, tally.sent - tally.acknowledged),
            visibility=None if missing is None else Latency.of(tally.visible_s, missing),
            interrupted=self._interrupted,
            stopped=self._stopped or tally.first_failure,
            reading_fault=reading_fault if missing else None,
        )
