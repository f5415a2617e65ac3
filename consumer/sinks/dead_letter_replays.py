"""Replays of dead letters, as the database remembers them: what each one claimed, and what of it went out."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, Engine, Update, delete, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, IntegrityError

from consumer.errors import FatalError
from consumer.outcomes import Coordinates
from consumer.sinks.database import connected
from consumer.sinks.dead_letter_selection import DeadLetterSelection
from consumer.sinks.sqlstate import to_consumer_error
from schemas.tables import dead_letter_decisions, dead_letter_replays

OVERTAKEN: Final = "another `dlq replay` took this one over: what this one had not sent is open"


@dataclass(frozen=True, slots=True)
class ReplayRun:
    """One run of `dlq replay`."""

    id: UUID
    started_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A dead letter that is about to be sent, and where in the dead-letter topic its bytes were read."""

    coordinates: Coordinates
    dead_letter_partition: int
    dead_letter_offset: int


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of the claims that an interrupted replay left in flight, in records.

    `in_doubt` of the released ones may have gone out: Kafka has forgotten the position.
    """

    sent: int
    released: int
    in_doubt: int


class ReplayJournal:
    """The replays of one events topic. Not thread-safe.

    A claim is written before the Kafka transaction that sends it, and confirmed after that committed. Between the two
    the committed offset of the replays' group says which it is: it is part of the same transaction.
    """

    def __init__(self, database: Engine, topic_id: UUID) -> None:
        self._database = database
        self._topic_id = topic_id

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """Hold the right to replay this topic; the server takes it back when this process ends.

        Raises:
            FatalError: another process holds it.
            TransientError: the database is away.
        """
        key = int.from_bytes(self._topic_id.bytes[:8], signed=True)
        try:
            # Not in a transaction, which the server would end for being idle.
            connection = self._database.connect().execution_options(isolation_level="AUTOCOMMIT")
        except DBAPIError as error:
            raise to_consumer_error(error) from None
        with connection:
            # Out of the pool: closing it ends its session, and the lock with it, even where the server is gone.
            connection.detach()
            try:
                is_mine = connection.scalar(select(func.pg_try_advisory_lock(key)))
            except DBAPIError as error:
                raise to_consumer_error(error) from None
            if not is_mine:
                raise FatalError(self._running())
            yield

    def unfinished(self) -> ReplayRun | None:
        """The replay that did not come to its end, if there is one.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        unfinished = select(
            dead_letter_replays.c.id, dead_letter_replays.c.started_at, dead_letter_replays.c.reason
        ).where(dead_letter_replays.c.source_topic_id == self._topic_id, dead_letter_replays.c.finished_at.is_(None))
        with connected(self._database) as connection:
            found = connection.execute(unfinished).first()
        return None if found is None else ReplayRun(*found)

    def begin(self, selection: DeadLetterSelection, reason: str) -> ReplayRun:
        """Write down a new replay.

        Raises:
            FatalError: one is unfinished, or the database refuses.
            TransientError: the database is away.
        """
        statement = (
            insert(dead_letter_replays)
            .values(id=uuid.uuid4(), source_topic_id=self._topic_id, selection=selection.as_json(), reason=reason)
            .returning(dead_letter_replays.c.id, dead_letter_replays.c.started_at, dead_letter_replays.c.reason)
        )
        try:
            with self._database.begin() as connection:
                return ReplayRun(*connection.execute(statement).one())
        except IntegrityError:
            raise FatalError(self._running()) from None
        except DBAPIError as error:
            raise to_consumer_error(error) from None

    def claim(self, replay: ReplayRun, claims: Sequence[Claim]) -> set[Coordinates]:
        """Claim dead letters for a replay, before they are sent.

        Returns:
            Those that are the replay's; for the others somebody decided first.

        Raises:
            FatalError: the replay was taken over, or the database refuses.
            TransientError: the database is away.
        """
        rows = [
            {
                "source_topic_id": self._topic_id,
                "source_partition": claim.coordinates.partition,
                "source_offset": claim.coordinates.offset,
                "decision": "replay",
                "reason": replay.reason,
                "replay_id": replay.id,
                "dead_letter_partition": claim.dead_letter_partition,
                "dead_letter_offset": claim.dead_letter_offset,
            }
            for claim in sorted(claims, key=lambda claim: claim.coordinates.sort_key)
        ]
        statement = (
            insert(dead_letter_decisions)
            .on_conflict_do_nothing()
            .returning(dead_letter_decisions.c.source_partition, dead_letter_decisions.c.source_offset)
        )
        with connected(self._database) as connection:
            # Locked against `settle`: a process that slept through it must not claim what nobody would send.
            going_on = select(dead_letter_replays.c.id).where(
                dead_letter_replays.c.id == replay.id, dead_letter_replays.c.finished_at.is_(None)
            )
            if connection.execute(going_on.with_for_update(read=True)).first() is None:
                raise FatalError(OVERTAKEN)
            return {Coordinates(*row) for row in connection.execute(statement, rows)}

    def confirm(self, replay: ReplayRun) -> None:
        """The transaction with everything claimed so far has committed.

        Raises:
            TransientError, FatalError: the database is away, or refuses; `settle` does it later.
        """
        with connected(self._database) as connection:
            _confirm(connection, replay.id)

    def finish(self, replay: ReplayRun) -> None:
        """The replay is over, and nothing of it is in flight.

        Raises:
            TransientError, FatalError: the database is away, or refuses; `settle` does it later.
        """
        with connected(self._database) as connection:
            connection.execute(_finish(replay.id))

    def settle(self, replay: ReplayRun, next_offsets: Mapping[int, int]) -> Settlement:
        """End an interrupted replay, whose process can commit nothing any more.

        Args:
            replay: the interrupted one.
            next_offsets: what its group committed in each partition of the dead-letter topic. What was claimed below
                was sent; the rest was not, and is open again.

        Raises:
            TransientError, FatalError: the database is away, or refuses.
        """
        decisions = dead_letter_decisions.c
        committed = or_(
            false(),
            *(
                (decisions.dead_letter_partition == partition) & (decisions.dead_letter_offset < offset)
                for partition, offset in next_offsets.items()
            ),
        )
        with connected(self._database) as connection:
            connection.execute(_finish(replay.id))
            released = connection.execute(
                delete(dead_letter_decisions).where(
                    decisions.replay_id == replay.id, decisions.sent_at.is_(None), ~committed
                )
            )
            return Settlement(
                sent=_confirm(connection, replay.id),
                released=released.rowcount,
                # A replay commits its first position before it claims anything.
                in_doubt=0 if next_offsets else released.rowcount,
            )

    def _running(self) -> str:
        running = self.unfinished()
        since = "" if running is None else f" since {running.started_at:%Y-%m-%d %H:%M:%S} UTC"
        if not since:
            return "a `dlq replay`, `erase` or `retention apply` runs: wait for its end, or stop it (Ctrl-C, SIGTERM)"
        return f"another `dlq replay` runs{since}: wait for its end, or stop it first (Ctrl-C, SIGTERM)"


def _confirm(connection: Connection, replay_id: UUID) -> int:
    in_flight = (dead_letter_decisions.c.replay_id == replay_id) & dead_letter_decisions.c.sent_at.is_(None)
    return connection.execute(update(dead_letter_decisions).where(in_flight).values(sent_at=func.now())).rowcount


def _finish(replay_id: UUID) -> Update:
    return (
        update(dead_letter_replays)
        .where(dead_letter_replays.c.id == replay_id, dead_letter_replays.c.finished_at.is_(None))
        .values(finished_at=func.now())
    )
