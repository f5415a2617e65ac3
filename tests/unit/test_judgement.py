"""Limits, start positions, suspects, routing, database errors: decisions that need no server to be tried."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg2
import pytest
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from consumer.dead_letter_limit import DeadLetterLimit, DeadLetterLimitError
from consumer.dead_letters import to_dead_letter
from consumer.errors import FatalError, PoisonEvent
from consumer.health import Health
from consumer.http_server import HttpServer
from consumer.outcomes import Coordinates, Proposal
from consumer.policy import load_policy
from consumer.preparation import PreparedWindow
from consumer.records import SourceRecord
from consumer.settings import ConsumerSettings, explain
from consumer.sinks.sqlstate import meaning_of
from consumer.sinks.window_marks import Mark
from consumer.start_positions import StartPositions
from consumer.suspects import MAX_ATTEMPTS, Suspects
from consumer.transport.kafka_config import KafkaOptions
from consumer.transport.outage import OutageBudget
from consumer.watchdog import Watchdog

POISON = PoisonEvent("decode", "not_json", "the value is not JSON")


class History:
    def __init__(self, newest_first: list[bool], *, accepted: bool = False) -> None:
        self._newest_first = newest_first
        self._accepted = accepted

    def recent(self, partition: int, before_offset: int, limit_records: int) -> list[bool]:
        assert partition == 0
        assert before_offset == 1000
        return self._newest_first[:limit_records]

    def is_accepted(self) -> bool:
        return self._accepted


def proposals(pattern: str) -> list[Proposal]:
    """One for each character: x is a dead letter."""
    return [
        Proposal(Coordinates(0, 1000 + index), event_id=uuid4(), failure=POISON if mark == "x" else None)
        for index, mark in enumerate(pattern)
    ]


@pytest.mark.parametrize(
    ("history", "window", "broken"),
    [
        ([], "xxx.", False),
        ([], "xxxx", True),
        ([True, True], "xx", True),
        ([True, True, False], "x.xx", False),
        ([True, True, True, True], "....", False),  # the past alone stops nothing
        ([False, True] * 100, "x.x", False),
        ([True, True, False] * 100, "x", True),  # two thirds of three hundred
    ],
)
def test_the_limits_judge_the_window_with_its_past(history: list[bool], window: str, *, broken: bool) -> None:
    limit = DeadLetterLimit(max_share=0.6, max_run=3, history=History(history))
    if broken:
        with pytest.raises(DeadLetterLimitError):
            limit.judge(proposals(window))
        DeadLetterLimit(0.6, 3, History(history, accepted=True)).judge(proposals(window))
    else:
        limit.judge(proposals(window))


class Recorded:
    """A ledger that holds every offset of partition 0 up to `next_offset`."""

    def __init__(self, next_offset: int | None) -> None:
        self._next_offset = next_offset

    def next_offsets(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return {} if self._next_offset is None else dict.fromkeys(partitions, self._next_offset)

    def count_from(self, partition: int, offset: int, limit_records: int) -> int:
        assert partition == 0
        return max(0, min(limit_records, (self._next_offset or 0) - offset))


@pytest.mark.parametrize(
    ("committed", "recorded", "beginning", "complaint"),
    [
        (None, None, 0, None),
        (None, None, 40, None),
        (40, None, 40, None),
        (41, None, 40, "lost rows"),
        (100, 100, 0, None),
        (100, 110, 0, None),  # a crash between the ledger and the commit
        (100, 111, 0, "reset"),
        (0, 1000, 0, "reset"),
        (None, 5, 0, "no committed offset"),
        (101, 100, 0, "lost rows"),
    ],
)
def test_offsets_and_ledger_must_tell_one_story(
    committed: int | None, recorded: int | None, beginning: int, complaint: str | None
) -> None:
    def check(*, accept: bool) -> dict[int, int]:
        positions = StartPositions(Recorded(recorded), in_flight_records=10, accept_mismatch=accept)
        positions.add({0: committed})
        return positions.check({0: beginning})

    if complaint is None:
        assert check(accept=False) == ({0: beginning} if committed is None else {})
    else:
        with pytest.raises(FatalError, match=complaint):
            check(accept=False)
    assert check(accept=True) == ({0: beginning} if committed is None else {})


class Marks:
    def __init__(self, left: dict[int, Mark]) -> None:
        self.stored = dict(left)

    def load(self, partitions: list[int]) -> dict[int, Mark]:
        return {partition: mark for partition, mark in self.stored.items() if partition in partitions}

    def set(self, marks: Mapping[int, Mark]) -> None:
        self.stored.update(marks)

    def clear(self, partitions: list[int]) -> None:
        for partition in partitions:
            self.stored.pop(partition, None)


def window(*offsets: int, partition: int = 0) -> PreparedWindow:
    records = [SourceRecord(partition, offset, 0, None, b"", (), 1) for offset in offsets]
    return PreparedWindow(records, [POISON] * len(records), range(len(records)), [False] * len(records))


def test_a_mark_covers_what_is_in_flight() -> None:
    store = Marks({})
    suspects = Suspects(store)
    first, second = window(5, 6), window(7, 8)
    suspects.mark(first, ())
    suspects.mark(second, first.records)
    assert store.stored == {0: Mark(5, 9, 1)}
    suspects.clear([0])
    assert store.stored == {}


def test_a_suspect_is_tried_singly_and_then_given_up() -> None:
    store = Marks({0: Mark(5, 9, 1)})
    for attempt in range(1, MAX_ATTEMPTS + 1):
        suspects = Suspects(store)  # a new process, after the one before died
        suspects.load([0])
        assert suspects.is_suspect(window(6).records[0])
        assert not suspects.is_suspect(window(9).records[0])
        assert suspects.mark(window(6), ()).attempts == attempt
        assert store.stored == {0: Mark(6, 7, attempt)}
    suspects = Suspects(store)
    suspects.load([0])
    given_up = suspects.mark(window(6), ())
    assert given_up.attempts == MAX_ATTEMPTS
    assert given_up.to_classify == ()
    [failure] = given_up.decoded
    assert isinstance(failure, PoisonEvent)
    assert failure.error_class == "repeated_crash"


def test_what_nobody_has_tried_yet_stays_for_the_next_owner() -> None:
    store = Marks({0: Mark(5, 9, 1), 1: Mark(5, 6, 2)})
    suspects = Suspects(store)
    suspects.load([0, 1])
    suspects.mark(window(9, 10), ())  # partition 0 is past its suspects

    suspects.clear([0, 1])

    assert store.stored == {1: Mark(5, 6, 2)}
    passing_by = Suspects(store)  # it had the partition for a moment, and not the time to read what was left
    passing_by.clear([1])
    assert store.stored == {1: Mark(5, 6, 2)}


def test_a_ledger_that_forgot_what_was_committed_stops_it_after_a_doubt() -> None:
    recorded = Recorded(100)
    positions = StartPositions(recorded, in_flight_records=10, accept_mismatch=False)
    positions.advanced({0: 100})
    recorded._next_offset = 90
    positions.recheck()  # nothing failed: nothing is asked
    positions.doubt()
    with pytest.raises(FatalError, match="before offset 100: the database lost rows"):
        positions.recheck()
    recorded._next_offset = 100
    positions.recheck()
    positions.doubt()
    positions.remove([0])
    recorded._next_offset = 0
    positions.recheck()
    allowed = StartPositions(recorded, in_flight_records=10, accept_mismatch=True)
    allowed.advanced({0: 100})
    allowed.doubt()
    allowed.recheck()


def test_a_hung_loop_ends_the_process_and_a_thawed_one_does_not() -> None:
    now = [0.0]
    ended: list[str] = []
    health = Health(lambda: now[0])
    watchdog = Watchdog(health, ended.append)
    health.turned(is_joined=True)
    now[0] = 1_000
    watchdog.look()  # frozen for a long time, and just awake
    health.turned(is_joined=True)
    watchdog.look()
    assert ended == []
    now[0] = 2_000
    watchdog.look()
    watchdog.look()
    assert ended == ["the loop has not turned for 1000 s"]


def test_routing_follows_the_policy() -> None:
    policy = load_policy()

    def decide(text: str, category: str, sentiment: str = "neutral") -> tuple[str, str, str | None]:
        routing = policy.decide(text, category=category, sentiment=sentiment, constructive="no")
        return routing.queue, routing.priority, routing.suggested_reply

    assert decide("It crashes", "bug", "negative")[:2] == ("engineering", "high")
    assert decide("It crashes", "bug")[:2] == ("engineering", "normal")
    assert decide("hm", "other")[2] is None
    assert "password" in (decide("How do I reset my PASSWORD?", "question")[2] or "")
    assert "invoices" in (decide("Where is my refund, I was charged twice", "question")[2] or "")
    assert decide("How tall is it?", "question")[2] is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("route = [", "not TOML"),
        ('[[route]]\nqueue = "a"\npriority = "asap"', "priority"),
        ('[[route]]\ncategory = "bug"\nqueue = "a"\npriority = "low"', "no condition"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_by_name(tmp_path: Path, content: str, complaint: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(content)
    with pytest.raises(FatalError, match=complaint) as refused:
        load_policy(path)
    assert str(path) in str(refused.value)


def test_dead_letters_keep_every_header_and_fit() -> None:
    record = SourceRecord(2, 7, 0, b"\x00k", b"v" * 1000, (("a", b"1"), ("a", None), ("dlq-attempt", b"0")), 1)

    def letter(max_bytes: int) -> tuple[bytes | None, tuple[tuple[str, bytes | None], ...]]:
        made = to_dead_letter(
            record,
            "dead",
            source_topic="events",
            stage="decode",
            error_class="not_json",
            error_message="m",
            attempts=1,
            first_failed_at=datetime(2026, 1, 1, tzinfo=UTC),
            app_version="1",
            max_bytes=max_bytes,
        )
        assert made.size_bytes <= max_bytes
        return made.value, made.headers

    value, headers = letter(4_000)
    assert value == record.value
    assert headers[:3] == record.headers
    value, headers = letter(1_000)
    assert value is None
    assert dict(headers)["dlq-value-omitted-bytes"] == b"1000"


def test_settings_are_checked_together_and_refused_by_name() -> None:
    for changes, name in (
        ({"replica_id": "a b"}, "replica_id"),
        ({"transaction_timeout_ms": 30_000}, "transaction_timeout_ms"),
        ({"results_topic": "feedback.events"}, "five different topics"),
        ({"database_url": "mysql://root:secret@h/d"}, "database_url"),
    ):
        with pytest.raises(ValidationError) as refused:
            ConsumerSettings(**changes)
        assert name in explain(refused.value)
        assert "secret" not in explain(refused.value) + str(refused.value)


def test_safety_keys_cannot_be_set_from_outside() -> None:
    def options(**librdkafka: str) -> KafkaOptions:
        return KafkaOptions({}, "g", "0", "events", False, 6_000, 60_000, 8_000, 1, 1_000, librdkafka)

    with pytest.raises(FatalError, match=r"enable\.auto\.commit"):
        options(**{"enable.auto.commit": "true"})
    consumer, producer = options(**{"client.rack": "a"}).consumer(), options().producer()
    assert (consumer["client.rack"], consumer["enable.auto.commit"], consumer["auto.offset.reset"]) == (
        "a",
        False,
        "error",
    )
    assert (producer["transactional.id"], producer["acks"], producer["retry.backoff.ms"]) == ("g-0", "all", 10)


def test_an_outage_is_forgiven_until_the_budget_ends() -> None:
    now = [0.0]
    outage = OutageBudget("Kafka", 10, clock=lambda: now[0])
    outage.failed("away")
    now[0] = 9
    outage.failed("away")
    outage.recovered()
    now[0] = 100
    outage.failed("away")
    now[0] = 111
    with pytest.raises(FatalError, match="away for 11 s"):
        outage.failed("away")


class ServerError(psycopg2.OperationalError):
    """psycopg2 sets the code from C; a subclass can say it too."""

    def __init__(self, message: str, code: str | None) -> None:
        super().__init__(message)
        self.code = code

    @property
    def pgcode(self) -> str | None:  # type: ignore[override]
        return self.code


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("22021", "data"),
        ("54000", "data"),
        ("40001", "transient"),
        ("40P01", "transient"),
        ("53100", "transient"),
        ("57P01", "transient"),
        ("25006", "transient"),
        ("55P03", "transient"),
        ("28P01", "fatal"),
        ("42P01", "fatal"),
        ("3D000", "fatal"),
    ],
)
def test_a_sqlstate_says_what_to_do(code: str, meaning: str) -> None:
    assert meaning_of(OperationalError("INSERT", {}, ServerError("x", code))) == meaning


def test_a_refused_login_does_not_wait_for_better_times() -> None:
    refused = psycopg2.OperationalError('FATAL:  password authentication failed for user "x"')
    away = psycopg2.OperationalError("could not connect to server: Connection refused")
    assert meaning_of(OperationalError("", {}, refused)) == "fatal"
    assert meaning_of(OperationalError("", {}, away)) == "transient"


def test_a_taken_port_is_named() -> None:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from consumer.health import Health  # noqa: PLC0415

    def serve(port: int) -> HttpServer:
        return HttpServer("127.0.0.1", port, health=Health(), registry=CollectorRegistry(), info=dict)

    first = serve(0)
    with pytest.raises(FatalError, match=f"127.0.0.1:{first.port}"):
        serve(first.port)
    first.close()


def test_health_tells_a_stuck_loop_from_a_long_start() -> None:
    from consumer.health import Health  # noqa: PLC0415

    now = [0.0]
    health = Health(clock=lambda: now[0])
    now[0] = 1_000
    assert health.why_not_live() is None
    assert health.why_not_ready() == "not joined the consumer group yet"
    health.turned(is_joined=True)
    assert health.why_not_ready() is None
    now[0] = 1_100
    assert "100 s" in (health.why_not_live() or "")


def test_check_config_masks_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner  # noqa: PLC0415

    from consumer.__main__ import app  # noqa: PLC0415

    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hunter2@db.example:5433/feedback")
    shown = CliRunner().invoke(app, ["check-config", "--max-wait-ms", "7", "--group-id", "g"])
    assert shown.exit_code == 0
    assert "hunter2" not in shown.output
    document = json.loads(shown.output)
    assert (document["max_wait_ms"], document["group_id"]) == (7, "g")
    assert document["database_url"] == "postgresql://db.example:5433/feedback"
    assert CliRunner().invoke(app, ["check-config", "--max-wait-ms", "-7"]).exit_code == 2
