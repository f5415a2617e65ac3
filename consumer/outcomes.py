"""What we propose to record about a source record, and what stands once the ledger has spoken."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from consumer.errors import PoisonEvent
from consumer.results import FeedbackRow

Outcome = Literal["classified", "duplicate", "conflict", "dead_letter", "erased"]

CONFLICT_STAGE = "identity"
CONFLICT_CLASS = "event_id_conflict"
CONFLICT_MESSAGE = "another record with this event_id and other content came first; publish under a new event_id"


@dataclass(frozen=True, slots=True)
class Coordinates:
    """A record of the events topic, ordered as the ledger's primary key is."""

    partition: int
    offset: int

    @property
    def sort_key(self) -> tuple[int, int]:
        """Every writer inserts in this order, so that two of them never deadlock."""
        return self.partition, self.offset


@dataclass(frozen=True, slots=True, repr=False)
class Proposal:
    """What this process would record, if nobody recorded anything before.

    Exactly one of `row` (classified), `failure` (dead letter) or neither (a further publication of `event_id`: the
    ledger decides between duplicate and conflict by the content's hash) is set. `other_sha256` is a second hash under
    which the same content may stand; see `consumer.decode.DecodedEvent`.
    """

    coordinates: Coordinates
    event_id: UUID | None = None
    payload_sha256: bytes | None = None
    row: FeedbackRow | None = None
    failure: PoisonEvent | None = None
    attempts: int = 1
    other_sha256: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class StandingOutcome:
    """The verdict on a record that stands, whoever wrote it. `row` is the owner's row of a classified record."""

    outcome: Outcome
    row: FeedbackRow | None
    stage: str | None
    error_class: str | None
    error_message: str | None
    attempts: int
    app_version: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class KnownRecords:
    """What the database already knows about a window before anything is classified.

    `recorded`: coordinates that have a verdict. `owners`: event ids that have a row, with its content's hash. `erased`:
    event ids whose customer was erased.
    """

    recorded: frozenset[Coordinates]
    owners: dict[UUID, bytes]
    erased: frozenset[UUID] = frozenset()
