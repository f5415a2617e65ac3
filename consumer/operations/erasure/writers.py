"""Waits until whoever was writing verdicts when we asked has finished, without holding anybody up."""

import time
from typing import Final

from sqlalchemy import Connection, text

from consumer.errors import TransientError

_PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.05
# One transaction each; its virtual id is not used again while the server runs.
_WRITERS: Final = text(
    """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND relation = 'record_outcomes'::regclass
      AND pid IS DISTINCT FROM pg_backend_pid()
    """
)


def wait_for_writers(connection: Connection, patience_s: float = _PATIENCE_S) -> None:
    """Wait for the end of every transaction that holds claims in the ledger now.

    Whoever claims a record afterwards sees what was committed before the call: the ledger asks for erased events only
    once it holds its claims. `CREATE INDEX CONCURRENTLY` waits in the same way.

    Raises:
        TransientError: one of them goes on for too long.
    """
    deadline_s = time.monotonic() + patience_s
    writers = _writing(connection)
    while writers := writers & _writing(connection):
        if time.monotonic() >= deadline_s:
            raise TransientError(
                f"PostgreSQL: a transaction that writes to the ledger goes on for {patience_s:.0f} s already: what was "
                "found is kept away, but not deleted yet; end it (pg_stat_activity), and run the same command again"
            )
        time.sleep(_PAUSE_S)


def _writing(connection: Connection) -> set[str]:
    with connection.begin():
        return set(connection.scalars(_WRITERS))
