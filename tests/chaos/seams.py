"""The points of a window's way at which a consumer process can be told to fail, around the shipped parts."""

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Final, Self

from sqlalchemy import event

from consumer import app, engine
from consumer.checkpoint import VerdictLedger
from consumer.errors import PoisonEvent
from consumer.inference.classifier import Verdict
from consumer.inference.isolation import TextClassifier, classify_isolating
from consumer.outcomes import Coordinates, Proposal, StandingOutcome
from consumer.records import OutboundRecord, SourceRecord
from consumer.sinks.ledger import Ledger
from consumer.transport.base import AssignmentListener, Transport
from tests.chaos.orders import Order, Orders, Step

CRASH_WORD: Final = "crash "
# Long enough for the records of the open transaction to be on the broker when the process dies.
_DELIVERY_S: Final = 0.1


class Saboteur:
    """Obeys orders at the steps that it is told of."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def reached(self, step: Step) -> None:
        order = self._orders.take(step)
        if order is not None:
            self._obey(order)

    def _obey(self, order: Order) -> None:
        if order.step in {"produced", "offsets"}:
            time.sleep(_DELIVERY_S)
        match order.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
            case "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "block":
                time.sleep(order.seconds)
            case "raise":
                raise MemoryError
            case "clock":
                JumpingClock.ahead += timedelta(seconds=order.seconds)


class JumpingClock(datetime):
    """The wall clock as the engine reads it. The monotonic one goes on as it was."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + cls.ahead


def install_clock() -> None:
    engine.datetime = JumpingClock  # type: ignore[attr-defined]


def install_inference(saboteur: Saboteur) -> None:
    """The model's call reaches its step, and a text with the crash word takes the process down as a library may."""

    def classify(classifier: TextClassifier, texts: Sequence[str]) -> list[Verdict | PoisonEvent]:
        if any(text.startswith(CRASH_WORD) for text in texts):
            os.kill(os.getpid(), signal.SIGKILL)

        class Disturbed:
            def classify(self, texts: Sequence[str]) -> list[Verdict]:
                saboteur.reached("inference")
                return classifier.classify(texts)

            def probe(self) -> bool:
                return classifier.probe()

        return classify_isolating(Disturbed(), texts)

    app.classify_isolating = classify  # type: ignore[attr-defined]


class SeamedLedger:
    def __init__(self, ledger: VerdictLedger, saboteur: Saboteur) -> None:
        self._ledger = ledger
        self._saboteur = saboteur
        self._is_persisting = False
        if isinstance(ledger, Ledger):
            event.listen(ledger._database, "commit", lambda _: self._before_commit())

    def persist(self, proposals: Sequence[Proposal]) -> None:
        self._saboteur.reached("classified")
        self._is_persisting = True
        try:
            self._ledger.persist(proposals)
        finally:
            self._is_persisting = False
        self._saboteur.reached("rows")

    def read_back(self, coordinates: Sequence[Coordinates]) -> Mapping[Coordinates, StandingOutcome]:
        return self._ledger.read_back(coordinates)

    def _before_commit(self) -> None:
        if self._is_persisting:
            self._saboteur.reached("inserted")


class SeamedTransport:
    def __init__(self, transport: Transport, saboteur: Saboteur) -> None:
        self._transport = transport
        self._reached: Callable[[Step], None] = saboteur.reached

    @property
    def assignment(self) -> Mapping[int, int]:
        return self._transport.assignment

    @property
    def is_joined(self) -> bool:
        return self._transport.is_joined

    def start(self, listener: AssignmentListener) -> None:
        self._transport.start(listener)

    def poll(self, max_records: int, timeout_s: float) -> list[SourceRecord]:
        polled = self._transport.poll(max_records, timeout_s)
        if polled:
            self._reached("polled")
        return polled

    def pause(self) -> None:
        self._transport.pause()

    def resume(self) -> None:
        self._transport.resume()

    def begin(self) -> None:
        self._transport.begin()

    def produce(self, record: OutboundRecord) -> None:
        self._transport.produce(record)

    def send_offsets(self, next_offsets: Mapping[int, int]) -> None:
        self._reached("produced")
        self._transport.send_offsets(next_offsets)
        self._reached("offsets")

    def commit(self) -> None:
        self._transport.commit()
        self._reached("committed")

    def rewind(self) -> None:
        self._transport.rewind()

    def beginnings(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return self._transport.beginnings(partitions)

    def lag(self) -> Mapping[int, int]:
        return self._transport.lag()

    def close(self) -> None:
        self._transport.close()
