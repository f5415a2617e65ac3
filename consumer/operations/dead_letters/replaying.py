"""`dlq replay` from the first question to the last record: one replay at a time, an interrupted one settled first."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consumer.errors import TransientError
from consumer.operations.dead_letters.connections import KafkaClients
from consumer.operations.dead_letters.replay import Replay, ReplayReport, Sender
from consumer.operations.dead_letters.topic_reader import TopicReader
from consumer.operations.session import OperatorSession, err
from consumer.sinks.dead_letter_catalogue import DeadLetterCatalogue
from consumer.sinks.dead_letter_replays import ReplayJournal
from consumer.sinks.dead_letter_selection import DeadLetterSelection


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What an operator asks for."""

    selection: DeadLetterSelection
    limit_records: int | None
    rate_per_s: float | None
    beyond_guard: bool


def rehearse(session: OperatorSession, options: ReplayOptions) -> ReplayReport:
    """What `replay_now` would do; nothing is claimed or sent. Raises as it does."""
    clients = KafkaClients(session)
    with clients.dead_letters() as reader, _prepared(session, options, clients, reader) as replay:
        report = replay.select()
        return replay.rehearse() if report.selected else report


def replay_now(session: OperatorSession, options: ReplayOptions, reason: str) -> ReplayReport:
    """Settle what an interrupted replay left, and replay until the end or until SIGINT or SIGTERM.

    Raises:
        FatalError: another replay runs, or a server refuses.
        TransientError: a server is away. Nothing is lost or doubled: the next replay settles what is in flight.
    """
    journal = ReplayJournal(session.database, session.facts.topic_id)
    clients = KafkaClients(session)
    with journal.only_one(), clients.dead_letters() as reader:
        sender = clients.sender(reader)
        sender.take_over()
        _settle(journal, sender, reader)
        with _prepared(session, options, clients, reader) as replay:
            report = replay.select()
            if not report.selected:
                return report
            try:
                return replay.run(journal, journal.begin(replay.selection, reason), sender)
            except TransientError as away:
                raise TransientError(f"{away}; the same command goes on, nothing is lost or doubled") from None


def _settle(journal: ReplayJournal, sender: Sender, reader: TopicReader) -> None:
    interrupted = journal.unfinished()
    if interrupted is None:
        return
    settlement = sender.settle(journal, interrupted, reader.ends())
    doubt = " (Kafka has forgotten whether they went out: some may go twice)" if settlement.in_doubt else ""
    err.print(
        f"the replay of {interrupted.started_at:%Y-%m-%d %H:%M:%S} UTC was interrupted; of what it had in flight, "
        f"{settlement.sent:,} went out and {settlement.released:,} are open again{doubt}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@contextmanager
def _prepared(
    session: OperatorSession, options: ReplayOptions, clients: KafkaClients, reader: TopicReader
) -> Iterator[Replay]:
    with (
        _bar() as show,
        _stop_requests() as should_stop,
        clients.screening(beyond_guard=options.beyond_guard) as screening,
    ):
        yield Replay(
            topic=session.settings.events_topic,
            reader=reader,
            catalogue=DeadLetterCatalogue(session.database, session.facts.topic_id),
            screening=screening,
            selection=options.selection,
            limit_records=options.limit_records,
            rate_per_s=options.rate_per_s,
            should_stop=should_stop,
            on_progress=show,
        )


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    bar = Progress(
        TextColumn("dead letters"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    received: list[int] = []

    def request_stop(number: int, _: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
