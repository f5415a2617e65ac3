"""The consumer with redaction on: what tables and topics hold afterwards, and that copies and repairs still work."""

import re
import urllib.request
from typing import Any

import pytest
from sqlalchemy import text

from consumer.settings import ConsumerSettings
from schemas.tables import metadata
from tests.integration.harness import Bench, make_event, turn_until
from tests.operations.reconcile_bench import reconcile

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

ADDRESS, PHONE, CARD = "canary.jane@example.com", "+44 20 7946 0018", "4111 1111 1111 1111"
PERSONAL = ("canary", "7946 0018", "4111 1111", "4111111111111111")
ON: dict[str, Any] = {"redact": ["email", "phone", "card"], "redact_key": "k" * 32}


def personal_event(**changes: object) -> dict[str, Any]:
    return make_event(
        f"Write to {ADDRESS} or call {PHONE}; my card is {CARD}.",
        customer_id=ADDRESS,
        source=f"mailto:{ADDRESS}",
        metadata={"card": 4111111111111111, ADDRESS: PHONE},
        extra_field=[{"mail": ADDRESS}],
        **changes,
    )


def stored(bench: Bench) -> str:
    """Every row of every table, as PostgreSQL writes it; keys in bytes as text."""
    with bench.engine.connect() as connection:
        rows = [
            str(row)
            for name in metadata.tables
            for (row,) in connection.execute(text(f"SELECT t::text FROM {name} t"))  # noqa: S608
        ]
        keys = connection.scalars(text("SELECT encode(record_key, 'escape') FROM feedback")).all()
    return "\n".join([*rows, *(key or "" for key in keys)])


def published(bench: Bench) -> str:
    return "\n".join(f"{result.key!r} {result.value!r} {result.headers!r}" for result in bench.results())


def run(bench: Bench, outcomes: int, **changes: object) -> None:
    consumer = bench.consumer(**changes)
    turn_until(lambda: bench.has_settled(outcomes), consumer)
    consumer.engine.stop()


def test_nothing_personal_is_stored_or_published_but_the_dead_letter_is_what_was_sent(bench: Bench) -> None:
    good, bad = personal_event(), personal_event(rating=9)
    bench.publish([good], key=ADDRESS.encode(), headers=(("tracestate", f"v={ADDRESS}".encode()),))
    bench.publish([bad], key=ADDRESS.encode())
    consumer = bench.consumer(**ON)
    turn_until(lambda: bench.has_settled(2), consumer)

    assert not [value for value in PERSONAL if value in stored(bench)]
    assert not [value for value in PERSONAL if value in published(bench)]
    [row], [letter] = bench.rows(), bench.dead_letters()
    assert row["text"] == "Write to <email> or call <phone>; my card is <card>."
    assert row["customer_id"].encode() == bytes(row["record_key"]) == bench.results()[0].key
    # Byte for byte, as without redaction: it goes back to the events topic as it is.
    assert letter.key == ADDRESS.encode()
    assert letter.document == bad
    assert b"canary" not in b"".join(value or b"" for name, value in letter.headers.items() if name.startswith("dlq-"))
    with urllib.request.urlopen(f"http://127.0.0.1:{consumer.http.port}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    counts = dict(re.findall(r'feedback_redactions_total\{kind="(\w+)"\} (\S+)', metrics))
    assert counts.keys() == {"email", "phone", "card"}
    assert counts["card"] == "2.0"


def test_copies_are_counted_and_conflicts_found_whatever_was_redacted_when(bench: Bench) -> None:
    before, meanwhile = personal_event(), personal_event()
    other = {**meanwhile, "text": meanwhile["text"].replace(PHONE, "+44 20 7946 0019")}
    bench.publish([before])
    run(bench, 1)
    bench.publish([before, meanwhile])
    run(bench, 3, **ON)
    # Fewer kinds, as after an upgrade that finds other things; then none, with the key kept.
    bench.publish([before, meanwhile, other])
    run(bench, 6, **{**ON, "redact": ["card"]})
    bench.publish([before, meanwhile])
    run(bench, 8, **{**ON, "redact": []})

    outcomes = [entry["outcome"] for entry in bench.outcomes()]
    assert sorted(outcomes) == ["classified"] * 2 + ["conflict"] + ["duplicate"] * 5
    assert len(bench.results()) == 2


def test_a_repair_rebuilds_redacted_rows_as_they_were(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    event = personal_event()
    bench.publish([event, event], partition=0)
    bench.publish([make_event("Nothing to hide.")], partition=1)
    run(bench, 3, **ON)

    def rows() -> list[dict[str, Any]]:
        found = [{**row, "record_key": bytes(row["record_key"]), "stored_at": None} for row in bench.rows()]
        return sorted(found, key=lambda row: str(row["event_id"]))

    before, outcomes = rows(), [(entry["outcome"], entry["payload_sha256"]) for entry in bench.outcomes()]
    with bench.engine.begin() as connection:
        connection.execute(text("DELETE FROM feedback"))
        connection.execute(text("DELETE FROM record_outcomes"))
    for name, value in {"CONSUMER_REDACT": "email,phone,card", "CONSUMER_REDACT_KEY": ON["redact_key"]}.items():
        monkeypatch.setenv(name, value)

    assert reconcile(bench, monkeypatch, "--repair").exit_code == 0
    assert rows() == before
    assert [(entry["outcome"], entry["payload_sha256"]) for entry in bench.outcomes()] == outcomes
    assert not [value for value in PERSONAL if value in stored(bench)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"redact": ["email"]}, "is needed by CONSUMER_REDACT"),
        ({"redact": ["email"], "redact_key": "short"}, "at least 32 characters"),
        ({"redact": ["iban"], "redact_key": "k" * 32}, "email"),
    ],
)
def test_settings_that_would_redact_badly_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ConsumerSettings(**changes)
