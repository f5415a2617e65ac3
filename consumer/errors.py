"""The three kinds of error that the engine knows, and nothing else.

    ConsumerError
    +-- PoisonEvent     this record can never be classified: dead letter, go on
    +-- TransientError  something is away for now: pause, back off, try again, lose nothing
    +-- FatalError      this process cannot go on: exit non-zero, the orchestrator restarts it

Messages reach logs and dead-letter headers: they never hold input, keys or secrets.
"""

from typing import Literal

Stage = Literal["decode", "classify", "encode", "persist", "identity"]


class ConsumerError(Exception):
    """Base of all errors that the engine handles by kind."""


class PoisonEvent(ConsumerError):  # noqa: N818 (named for what it says of the record)
    """A record that can never be classified.

    Attributes:
        stage: the step that refused it.
        error_class: a short stable name that operators filter by, in snake_case or an exception's class name.
        message: what is wrong and what to do, without any input.
    """

    def __init__(self, stage: Stage, error_class: str, message: str) -> None:
        super().__init__(f"{stage}: {error_class}: {message}")
        self.stage: Stage = stage
        self.error_class = error_class
        self.message = message


class TransientError(ConsumerError):
    """A dependency is away or busy; the same work may succeed later."""


class FatalError(ConsumerError):
    """This process cannot continue safely and must be restarted, or an operator must decide."""
