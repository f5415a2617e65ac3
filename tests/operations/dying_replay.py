"""The real `dlq` command with a seam before the steps of a replay, where a signal hits the process.

Usage: `python -m tests.operations.dying_replay SIGNAL STEP N ARGUMENT...`: runs `python -m consumer dlq ARGUMENT...`,
and sends itself SIGKILL or SIGSTOP before step STEP for the Nth time. Steps: claim, produce, commit, confirm,
finish.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from consumer.__main__ import app
from consumer.operations.dead_letters import replay
from consumer.sinks.dead_letter_replays import ReplayJournal
from consumer.transport.kafka_transactions import TransactionalProducer

OWNERS = {
    "claim": ReplayJournal,
    "produce": TransactionalProducer,
    "commit": TransactionalProducer,
    "confirm": ReplayJournal,
    "finish": ReplayJournal,
}
TRANSACTION_RECORDS = 20


def main(number: signal.Signals, step: str, times: int, arguments: list[str]) -> None:
    left = times
    original: Callable[..., Any] = getattr(OWNERS[step], step)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)
        return original(*args, **kwargs)

    setattr(OWNERS[step], step, interrupted)
    replay.MAX_TRANSACTION_RECORDS = TRANSACTION_RECORDS  # type: ignore[misc]
    app(["dlq", *arguments])


if __name__ == "__main__":
    main(signal.Signals[sys.argv[1]], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
