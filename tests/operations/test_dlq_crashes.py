"""A replay that is killed, frozen or stopped at any point loses nothing and doubles nothing."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from consumer.outcomes import Coordinates
from consumer.sinks.dead_letter_replays import Claim, ReplayJournal
from consumer.sinks.dead_letter_selection import DeadLetterSelection
from tests.integration.harness import Bench, wait_until
from tests.operations.command import Command
from tests.operations.dead_letter_seed import seed, source_record, topic_id_of
from tests.operations.dying_replay import TRANSACTION_RECORDS

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

REPLAY = ("replay", "--all", "--reason", "the parser was mended")
# The first transaction of a replay holds its first position only; these hit the second one with records.
STEPS = {"claim": 2, "produce": 30, "commit": 3, "confirm": 2, "finish": 1}

ConsumerCommand = Callable[..., Command]


def replayed(bench: Bench) -> list[bytes | None]:
    return sorted((event.value for event in bench._read(bench.topics.events)), key=str)


def assert_each_replayed_once(bench: Bench, count: int) -> None:
    assert replayed(bench) == sorted((source_record(number).value for number in range(count)), key=str)
    states = text(
        "SELECT count(*) FILTER (WHERE sent_at IS NOT NULL), count(*), "
        "(SELECT count(*) FROM dead_letter_replays WHERE finished_at IS NULL) FROM dead_letter_decisions"
    )
    with bench.engine.connect() as connection:
        assert tuple(connection.execute(states).one()) == (count, count, 0)


def dying(consumer_command: ConsumerCommand, signal_name: str, step: str) -> Command:
    arguments = (signal_name, step, str(STEPS[step]), *REPLAY)
    return consumer_command(*arguments, module="tests.operations.dying_replay")


@pytest.mark.parametrize("step", STEPS)
def test_killed_before_a_step_of_a_replay(
    bench: Bench, consumer_command: ConsumerCommand, dlq: Callable[..., tuple[int, str, str]], step: str
) -> None:
    count = 3 * TRANSACTION_RECORDS
    seed(bench, [source_record(number) for number in range(count)])
    assert dying(consumer_command, "SIGKILL", step).wait() == -signal.SIGKILL

    code, _, err = dlq(*REPLAY)
    # All had gone out before it could say that it is finished; else the same command goes on.
    assert code == (4 if step == "finish" else 0), err
    in_flight = {"produce": (0, 20), "commit": (0, 20), "confirm": (20, 0)}
    sent, released = in_flight.get(step, (0, 0))
    assert f"{sent} went out and {released} are open again" in err
    assert_each_replayed_once(bench, count)


def test_killed_and_stopped_in_the_middle_of_hundreds(
    bench: Bench, consumer_command: ConsumerCommand, dlq: Callable[..., tuple[int, str, str]]
) -> None:
    count = 700
    seed(bench, [source_record(number) for number in range(count)])

    def has_claimed(number: int) -> bool:
        with bench.engine.connect() as connection:
            return (connection.scalar(text("SELECT count(*) FROM dead_letter_decisions")) or 0) >= number

    for reached, number in ((50, signal.SIGKILL), (250, signal.SIGTERM), (400, signal.SIGKILL)):
        running = consumer_command("dlq", *REPLAY, "--rate", "100", "--json")
        wait_until(partial(has_claimed, reached), "some progress", alive=running.process)
        if number == signal.SIGTERM:
            assert running.end(number) == 1
            assert running.document["stopped"] is True
            # Killed before its first commit, the one before may have replayed nothing.
            assert 0 < running.document["replayed_records"] < running.document["selected_records"] <= count
        else:
            assert running.end(number) == -number
    assert dlq(*REPLAY)[0] == 0
    assert_each_replayed_once(bench, count)


def test_an_operator_is_told_when_kafka_has_forgotten_what_went_out(
    bench: Bench, dlq: Callable[..., tuple[int, str, str]]
) -> None:
    letters = [source_record(number) for number in range(3)]
    seed(bench, letters)
    # As a replay that died long ago left it: claims, and a group whose offsets have expired.
    journal = ReplayJournal(bench.engine, topic_id_of(bench))
    run = journal.begin(DeadLetterSelection(), "long ago")
    journal.claim(run, [Claim(Coordinates(letter.partition, letter.offset), 0, 0) for letter in letters])
    code, _, err = dlq(*REPLAY)
    assert code == 0
    assert "3 are open again (Kafka has forgotten whether they went out" in err
    assert_each_replayed_once(bench, 3)


@pytest.mark.parametrize("step", ["claim", "commit"])
def test_a_second_replay_is_refused_while_one_runs_and_takes_over_from_one_that_lost_its_lock(
    bench: Bench, consumer_command: ConsumerCommand, dlq: Callable[..., tuple[int, str, str]], step: str
) -> None:
    count = 3 * TRANSACTION_RECORDS
    seed(bench, [source_record(number) for number in range(count)])
    frozen = dying(consumer_command, "SIGSTOP", step)
    wait_until(lambda: _is_stopped(frozen.process.pid), "the replay to freeze", alive=frozen.process)

    code, out, err = dlq(*REPLAY)
    assert (code, out) == (1, "")
    assert "another `dlq replay` runs since" in err
    assert len(err.splitlines()) == 1

    with bench.engine.connect() as connection:
        # A network that drops idle connections takes the lock away; the frozen process knows nothing of it.
        ended = text(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
            "WHERE datname = current_database() AND locktype = 'advisory' AND granted"
        )
        assert connection.scalar(ended) == 1
    assert dlq(*REPLAY)[0] == 0
    assert frozen.end(signal.SIGCONT) == 1
    assert "another `dlq replay` took this one over" in frozen.err
    assert len(frozen.err.splitlines()) == 1
    assert_each_replayed_once(bench, count)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
