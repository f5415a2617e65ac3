"""Hostile bundles by the front door: announced to a running consumer, and configured for one that starts."""

import json
import signal
from pathlib import Path

import pytest

from schemas.announcement import CANARY, LIVE, SHADOW, NoAnnouncementError, Role, read_announcement
from tests.inference.tiny_bundle import build_tiny_bundle
from tests.integration.harness import Bench, make_event, turn_until
from tests.models.announcing import Announcer, announcement, running
from tests.security.bundles import hostile

ANNOUNCED: dict[str, tuple[Role, hostile.Case]] = {
    "a graph of a million nodes": (LIVE, hostile.GRAPHS["a million nodes"]),
    "external data": (SHADOW, hostile.GRAPHS["external data elsewhere"]),
    "a custom operator": (CANARY, hostile.GRAPHS["custom domain"]),
    "a tokenizer that explodes": (LIVE, hostile.TOKENIZERS["catastrophic backtracking"]),
    "a pipe": (CANARY, hostile.FILES["a pipe"]),
    "a link": (SHADOW, hostile.FILES["a link to /etc/passwd"]),
    "memory": (LIVE, hostile.BOMBS["memory"]),
}


@pytest.mark.kafka
@pytest.mark.postgres
def test_announced_it_is_reported_as_refused_and_the_consumer_goes_on(
    bench: Bench, announcer: Announcer, tmp_path: Path
) -> None:
    consumer = running(bench)
    for number, (name, (role, (breaking, file, _))) in enumerate(ANNOUNCED.items()):
        folder = build_tiny_bundle(tmp_path / str(number), version="2", seed=1)
        breaking(folder)
        offset = announcer.write(role.encode(), announcement(folder, role, 0.5 if role != LIVE else 1.0))
        report = announcer.wait_for_report(bench, consumer, offset)
        assert report.state == "refused", name
        assert file in (report.reason or ""), name
        assert (report.reason or "").isprintable()
        bench.publish([make_event(f"number {number}")])
        turn_until(lambda count=number + 1: bench.has_settled(count), consumer)  # type: ignore[misc]
    assert {row["model_version"] for row in bench.rows()} == {"1"}
    assert list(consumer.models.info()) == [LIVE]


@pytest.mark.kafka
@pytest.mark.postgres
def test_configured_it_keeps_the_consumer_from_starting_in_one_line(bench: Bench, tmp_path: Path) -> None:
    folder = build_tiny_bundle(tmp_path / "configured")
    hostile.GRAPHS["10^12 numbers in 100 bytes"][0](folder)
    process = bench.process(bundle_url=str(folder))
    fatal = process.wait_for_log("fatal")
    assert "bundle refused" in fatal["reason"]
    assert "1,000,000,000,000 numbers" in fatal["reason"]
    assert process.end(signal.SIGTERM) == 1


@pytest.mark.parametrize(
    "value",
    [
        b"\xff",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"role":"live"}',
        b'{"role":"live","role":"shadow"}',
        b"1" * 1_000_000,
    ],
)
def test_what_is_no_announcement_is_ignored(value: bytes) -> None:
    with pytest.raises(NoAnnouncementError):
        read_announcement(b"live", value)


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "https://h/" + "a" * 5_000},
        {"name": "a" * 1_000},
        {"name": "tiny\x1b[2J"},
        {"version": "../1"},
        {"version": "1\n"},
        {"manifest_sha256": "0" * 63},
        {"manifest_sha256": "A" * 64},
        {"share": float("nan")},
        {"share": 2.0},
    ],
    ids=lambda changes: next(f"{name} {str(value)[:10]!a}" for name, value in changes.items()),
)
def test_an_announcement_says_only_what_a_publisher_writes(folder: Path, changes: dict[str, object]) -> None:
    good = announcement(folder, SHADOW, 0.5)
    assert read_announcement(b"shadow", good)[1] is not None
    spoilt = json.dumps({**json.loads(good), **changes}).encode()
    with pytest.raises(NoAnnouncementError):
        read_announcement(b"shadow", spoilt)
