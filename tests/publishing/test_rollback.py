"""Going back: step by step, to what still stands, and by what the topic says where the table forgot."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from consumer.inference.manifest import MODEL_FILE
from model_export.publishing.history import Action, Entry, previous
from schemas.announcement import Announcement
from schemas.tables import model_announcements, model_versions
from tests.publishing.conftest import Desk

Bundles = Callable[[str], Path]


def announcement(version: int, share: float = 1.0) -> Announcement:
    digest = f"{version:064x}"
    return Announcement.model_validate(
        {
            "role": "shadow",
            "name": "tiny",
            "version": str(version),
            "url": f"file:///store/{version}",
            "manifest_sha256": digest,
            "model_sha256": digest,
            "share": share,
            "announced_at": "2026-01-01T00:00:00Z",
        }
    )


def history(steps: Iterable[str]) -> tuple[list[Entry], list[str | None]]:
    """The entries of `1` (publish version 1), `-` (withdraw), `<` (roll back), and what was announced after each."""
    entries: list[Entry] = []
    states: list[str | None] = []
    for step in steps:
        action: Action = "publish"
        shown: Announcement | None = None
        if step == "<":
            shown, action = previous(entries, "shadow"), "rollback"
            if shown is None:
                continue
        elif step == "-":
            action = "withdraw"
        else:
            shown = announcement(int(step))
        entries.append(Entry("shadow", shown, action))
        states.append(None if shown is None else shown.version)
    return entries, states


@pytest.mark.parametrize(
    ("steps", "states"),
    [
        ("123<<<", ["1", "2", "3", "2", "1"]),  # ever further back, and then no more
        ("12<3<<", ["1", "2", "1", "3", "1"]),  # what was taken back does not come back
        ("121<<", ["1", "2", "1", "2", "1"]),
        ("112<<", ["1", "1", "2", "1"]),  # announced twice in a row it is one step
        ("12-<<", ["1", "2", None, "2", "1"]),  # a withdrawal is taken back first
        ("1--<", ["1", None, None, "1"]),
    ],
)
def test_each_rollback_goes_one_further_back(steps: str, states: list[str | None]) -> None:
    assert history(steps)[1] == states


@given(st.lists(st.sampled_from("123-"), max_size=8))
def test_rollbacks_end_and_never_repeat_a_step(steps: list[str]) -> None:
    published, _ = history(steps)
    _, states = history([*steps, *"<" * 20])

    taken_back = states[len(published) :]
    standing = [version for place, version in enumerate(steps) if version != "-" and version != _before(steps, place)]
    if published and published[-1].announcement is not None:
        standing = standing[:-1]
    assert taken_back == standing[::-1]


def _before(steps: list[str], place: int) -> str | None:
    return next((step for step in reversed(steps[:place]) if step != "-"), None)


def test_a_share_that_grew_is_a_step_of_its_own() -> None:
    entries = [Entry("shadow", announcement(1, share), "publish") for share in (0.01, 0.5)]

    found = previous(entries, "shadow")

    assert found is not None
    assert found.share == 0.01
    assert previous(entries, "canary") is None


@pytest.mark.kafka
@pytest.mark.postgres
def test_back_to_the_one_before(desk: Desk, bundles: Bundles) -> None:
    nothing = desk.run("rollback")
    for version in "123":
        assert desk.publish(bundles(version), "--live", "--force", "a test").exit_code == 0

    first = desk.run("rollback", "--reason", "3 is slow", "--json")
    second = desk.run("rollback")
    third = desk.run("rollback")

    assert nothing.exit_code == third.exit_code == 4
    assert "no live bundle was ever announced" in nothing.err
    assert "no live bundle came before tiny 1" in third.err
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.document["announced"]["version"] == "2"
    assert first.document["replaced"]["version"] == "3"
    assert "tiny 1 is live again" in second.out
    assert desk.versions_announced() == ["1", "2", "3", "2", "1"]
    moments = [each.announcement.announced_at for each in desk.announced() if each.announcement is not None]
    assert moments == sorted(moments)
    assert [row["reason"] for row in desk.rows()][3:] == ["3 is slow", None]


@pytest.mark.kafka
@pytest.mark.postgres
def test_what_no_longer_stands_whole_is_not_announced(desk: Desk, bundles: Bundles) -> None:
    for version in "12":
        assert desk.publish(bundles(version), "--live", "--force", "a test").exit_code == 0
    [model] = desk.store.glob(f"tiny-1-*/{MODEL_FILE}")
    content = model.read_bytes()

    model.write_bytes(content[:-1] + b"?")
    damaged = desk.run("rollback")
    model.unlink()
    gone = desk.run("rollback")

    assert (damaged.exit_code, gone.exit_code) == (1, 1)
    assert f"{model}: it is not what manifest.json says" in damaged.err
    assert f"{model}: no such file" in gone.err
    assert desk.versions_announced() == ["1", "2"]
    model.write_bytes(content)
    assert desk.run("rollback").exit_code == 0


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_rollback_that_was_cut_off_is_not_made_twice(desk: Desk, bundles: Bundles) -> None:
    for version in "123":
        assert desk.publish(bundles(version), "--live", "--force", "a test").exit_code == 0
    killed = subprocess.run(
        [sys.executable, "-m", "tests.publishing.dying_publish", "after the announcement", "rollback"],
        env={**os.environ, **desk.environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == 86

    again = desk.run("rollback")
    once_more = desk.run("rollback")

    assert again.exit_code == once_more.exit_code == 0
    assert "tiny 2 is live again, at offset 3: an earlier rollback announced it" in again.out
    assert "tiny 1 is live again, at offset 4" in once_more.out
    assert desk.versions_announced() == ["1", "2", "3", "2", "1"]


@pytest.mark.kafka
@pytest.mark.postgres
def test_withdrawn_and_brought_back(desk: Desk, bundles: Bundles) -> None:
    nothing = desk.run("withdraw", "--role", "canary")
    assert desk.publish(bundles("1"), "--canary", "--share", "0.05").exit_code == 0

    withdrawn = desk.run("withdraw", "--role", "canary", "--reason", "enough seen")
    twice = desk.run("withdraw", "--role", "canary")
    back = desk.run("rollback", "--role", "canary")

    assert nothing.exit_code == twice.exit_code == 4
    assert "no canary bundle is announced" in twice.err
    assert withdrawn.exit_code == back.exit_code == 0
    assert "tiny 1 is withdrawn" in withdrawn.out
    assert desk.versions_announced() == ["1", "-", "1"]
    last = desk.announced()[-1].announcement
    assert last is not None
    assert last.share == 0.05
    assert desk.run("withdraw", "--role", "live").exit_code == 2


@pytest.mark.kafka
@pytest.mark.postgres
def test_what_the_table_forgot_the_topic_knows(desk: Desk, bundles: Bundles) -> None:
    for version in "12":
        assert desk.publish(bundles(version), "--live", "--force", "a test").exit_code == 0
    with desk.database.begin() as connection:
        connection.execute(delete(model_announcements))
        connection.execute(delete(model_versions))
    # Another program announces too, with a secret that shall not spread, and one of them talks nonsense.
    other = announcement(9).model_copy(update={"role": "live", "url": "s3://key:hunter2@bucket/9?token=hunter2"})
    producer = Producer(desk.kafka.as_librdkafka())
    for value in (other.model_dump_json().encode(), b"nonsense"):
        producer.produce(desk.environment["CONSUMER_MODELS_TOPIC"], value, key="live")
    assert producer.flush(30) == 0

    shown = desk.run("list")
    document = desk.run("list", "--json").document

    assert shown.exit_code == 0
    assert "tiny 9" in shown.out
    assert shown.err.count("the table is behind the topic") == 3
    assert "1 records of the topic are no announcements" in shown.err
    assert len(document["disagreements"]) == 3
    assert "hunter2" not in shown.out + shown.err + json.dumps(document)
    assert desk.rows() == [], "list changes nothing"

    back = desk.run("rollback")

    assert back.exit_code == 0
    assert "tiny 2 is live again" in back.out
    actions = [(row["action"], row["announcement"]["version"]) for row in desk.rows()]
    assert actions == [("found", "1"), ("found", "2"), ("found", "9"), ("rollback", "2")]
    assert "hunter2" not in str(desk.rows())
    assert desk.run("list", "--json").document["disagreements"] == []
