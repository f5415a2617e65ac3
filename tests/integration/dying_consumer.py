"""The real consumer with a seam around its checkpoint's steps that kills the process, without any clean-up.

Usage: `python -m tests.integration.dying_consumer STEP N`: die before step STEP of the Nth window. Steps: persist,
read_back, begin, produce, send_offsets, commit, committed.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence

from consumer.app import build
from consumer.checkpoint import VerdictLedger
from consumer.logs import configure_logs
from consumer.outcomes import Coordinates, Proposal, StandingOutcome
from consumer.records import OutboundRecord, SourceRecord
from consumer.settings import ConsumerSettings
from consumer.transport.base import AssignmentListener, Transport

STEPS = ("persist", "read_back", "begin", "produce", "send_offsets", "commit", "committed")


class Reaper:
    def __init__(self, step: str, window: int) -> None:
        self._step = step
        self._left = window

    def reached(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DyingLedger:
    def __init__(self, ledger: VerdictLedger, reaper: Reaper) -> None:
        self._ledger = ledger
        self._reaper = reaper

    def persist(self, proposals: Sequence[Proposal]) -> None:
        self._reaper.reached("persist")
        self._ledger.persist(proposals)

    def read_back(self, coordinates: Sequence[Coordinates]) -> Mapping[Coordinates, StandingOutcome]:
        self._reaper.reached("read_back")
        return self._ledger.read_back(coordinates)


class DyingTransport:
    def __init__(self, transport: Transport, reaper: Reaper) -> None:
        self._transport = transport
        self._reaper = reaper

    @property
    def assignment(self) -> Mapping[int, int]:
        return self._transport.assignment

    @property
    def is_joined(self) -> bool:
        return self._transport.is_joined

    def start(self, listener: AssignmentListener) -> None:
        self._transport.start(listener)

    def poll(self, max_records: int, timeout_s: float) -> list[SourceRecord]:
        return self._transport.poll(max_records, timeout_s)

    def pause(self) -> None:
        self._transport.pause()

    def resume(self) -> None:
        self._transport.resume()

    def begin(self) -> None:
        self._reaper.reached("begin")
        self._transport.begin()

    def produce(self, record: OutboundRecord) -> None:
        self._reaper.reached("produce")
        self._transport.produce(record)

    def send_offsets(self, next_offsets: Mapping[int, int]) -> None:
        self._reaper.reached("send_offsets")
        self._transport.send_offsets(next_offsets)

    def commit(self) -> None:
        self._reaper.reached("commit")
        self._transport.commit()
        self._reaper.reached("committed")

    def rewind(self) -> None:
        self._transport.rewind()

    def beginnings(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return self._transport.beginnings(partitions)

    def lag(self) -> Mapping[int, int]:
        return self._transport.lag()

    def close(self) -> None:
        self._transport.close()


def main(step: str, window: int) -> None:
    settings = ConsumerSettings()
    configure_logs("json", "info")
    reaper = Reaper(step, window)
    consumer = build(
        settings,
        around_ledger=lambda ledger: DyingLedger(ledger, reaper),
        around_transport=lambda transport: DyingTransport(transport, reaper),
    )
    consumer.engine.start()
    while True:
        consumer.engine.turn()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
