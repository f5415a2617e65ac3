"""Publishing: what is announced is there, whole, and no worse than what it replaces; whatever ends the command."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from pydantic import SecretStr

from consumer.inference.bundle import load_bundle
from consumer.inference.manifest import MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE
from model_export.publishing import registry, storage
from schemas.connection import DatabaseConnection
from tests.inference.tiny_bundle import build_tiny_bundle, write_manifest
from tests.publishing.conftest import Desk

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

Bundles = Callable[[str], Path]


def test_a_bundle_reaches_the_store_the_table_and_last_the_topic(desk: Desk, bundles: Bundles) -> None:
    done = desk.publish(bundles("1"), "--live", "--json")

    assert (done.exit_code, done.err) == (0, "")
    document = done.document
    assert document["url"].startswith(f"file://{desk.store}/tiny-1-")
    assert document["url"].endswith(document["manifest_sha256"][:12])
    [record] = desk.announced()
    assert record.announcement is not None
    assert record.role == record.announcement.role == "live"
    # What a consumer does with it.
    loaded = load_bundle(record.announcement.url, manifest_sha256=record.announcement.manifest_sha256)
    assert (loaded.manifest.version, loaded.manifest.sha256) == ("1", record.announcement.model_sha256)
    [row], [version] = desk.rows(), desk.versions()
    assert (row["id"], row["topic_offset"], row["action"], row["forced"]) == (record.id, 0, "publish", False)
    assert (version["url"], version["manifest"]["version"]) == (document["url"], "1")

    again = desk.publish(bundles("1"), "--live")

    assert again.exit_code == 0
    assert "it stood there already" in again.out
    assert "announced as live already" in again.out
    assert len(desk.announced()) == 1


def test_without_a_role_it_is_uploaded_only_and_kafka_is_not_needed(desk: Desk, bundles: Bundles) -> None:
    done = desk.publish(bundles("1"), KAFKA_BOOTSTRAP_SERVERS="localhost:1")

    assert done.exit_code == 0
    assert "not announced" in done.out
    assert len(desk.versions()) == 1
    assert desk.announced() == []
    # From where it stands now, it may be announced.
    url = desk.versions()[0]["url"]
    assert desk.publish(url, "--shadow", "--share", "0.25").exit_code == 0
    [record] = desk.announced()
    assert record.announcement is not None
    assert (record.role, record.announcement.share) == ("shadow", 0.25)


def test_a_live_bundle_is_replaced_by_one_that_is_no_worse_and_by_no_other(
    desk: Desk, bundles: Bundles, right_for_odd: Path
) -> None:
    assert desk.publish(bundles("1"), "--live").exit_code == 0

    unasked = desk.publish(bundles("2"), "--live")
    worse = desk.publish(bundles("2"), "--live", "--data", right_for_odd, "--json")
    equal = desk.publish(bundles("3"), "--live", "--data", right_for_odd, "--json")

    assert unasked.exit_code == 2
    assert "--data FILE" in unasked.err
    assert worse.exit_code == 1
    assert "category: accuracy falls from 1.0 to" in worse.err
    assert worse.document["comparison"]["may_replace"] is False
    assert equal.exit_code == 0
    assert equal.document["comparison"]["heads"]["category"]["rows"] == 200
    assert equal.document["replaced"]["version"] == "1"
    assert desk.versions_announced() == ["1", "3"]
    # A bundle that was refused is not even there, and nobody's words are kept.
    assert len(list(desk.store.iterdir())) == 2
    assert "Message" not in json.dumps(desk.rows()[-1]["comparison"])

    forced = desk.publish(bundles("2"), "--live", "--data", right_for_odd, "--force", "the old one leaks memory")

    assert forced.exit_code == 0
    assert "although no comparison passed" in forced.out
    row = desk.rows()[-1]
    assert (row["forced"], row["reason"]) == (True, "the old one leaks memory")
    assert row["comparison"]["may_replace"] is False
    assert desk.versions_announced() == ["1", "3", "2"]


def test_rows_that_cannot_tell_are_no_evidence(desk: Desk, bundles: Bundles, tmp_path: Path) -> None:
    few = tmp_path / "few.jsonl"
    few.write_text(json.dumps({"text": "a", "split": "dev", "category": "bug"}))
    assert desk.publish(bundles("1"), "--live").exit_code == 0

    refused = desk.publish(bundles("2"), "--live", "--data", few)
    missing = desk.publish(bundles("2"), "--live", "--data", tmp_path / "nothing.jsonl")

    assert (refused.exit_code, missing.exit_code) == (1, 1)
    assert "at least 100 are needed" in refused.err
    assert "nothing.jsonl" in missing.err
    assert desk.versions_announced() == ["1"]


def test_what_is_read_back_otherwise_is_not_announced(
    desk: Desk, bundles: Bundles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that loses the end of a file, and says nothing."""
    write = storage._Folder.write

    def lossy(folder: storage._Folder, source: Path, name: str) -> None:
        write(folder, source, name)
        if name == MODEL_FILE:
            [stored] = desk.store.glob(f"*/{MODEL_FILE}")
            os.truncate(stored, stored.stat().st_size - 1)

    monkeypatch.setattr(storage._Folder, "write", lossy)

    done = desk.publish(bundles("1"), "--live")

    assert done.exit_code == 1
    assert f"{MODEL_FILE}: what was read back is not what was sent" in done.err
    assert desk.announced() == []
    assert desk.versions() == []
    assert not list(desk.store.glob(f"*/{MANIFEST_FILE}")), "a folder with a manifest looks like a bundle"
    monkeypatch.undo()
    assert desk.publish(bundles("1"), "--live").exit_code == 0


@pytest.mark.parametrize("name", [MANIFEST_FILE, TOKENIZER_FILE])
def test_a_finished_folder_is_never_written_over(desk: Desk, bundles: Bundles, name: str) -> None:
    assert desk.publish(bundles("1")).exit_code == 0
    [stored] = desk.store.glob(f"*/{name}")
    stored.write_bytes(b"{}")

    done = desk.publish(bundles("1"), "--live")

    assert done.exit_code == 1
    assert f"/{name}: " in done.err
    assert "remove that folder" in done.err
    assert stored.read_bytes() == b"{}"
    assert desk.announced() == []


def test_what_a_crash_left_is_finished_by_the_same_command(desk: Desk, bundles: Bundles) -> None:
    for place, was_announced in {
        "inside a file": False,
        "before the announcement": False,
        "after the announcement": True,
    }.items():
        version = str(len(desk.versions_announced()) + 1)
        before = desk.versions_announced()
        arguments = ("publish", bundles(version), "--to", desk.store, "--live", "--force", "a test")
        killed = subprocess.run(
            [sys.executable, "-m", "tests.publishing.dying_publish", place, *map(str, arguments)],
            env={**os.environ, **desk.environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert killed.returncode == 86, killed.stderr
        # Announced is only what is there.
        assert desk.versions_announced() == [*before, *([version] if was_announced else [])], place
        for record in desk.announced():
            assert record.announcement is not None
            load_bundle(record.announcement.url, manifest_sha256=record.announcement.manifest_sha256)

        assert desk.run(*arguments).exit_code == 0

        assert desk.versions_announced() == [*before, version], place
        last = desk.rows()[-1]
        assert (last["announcement"]["version"], last["action"], last["reason"]) == (version, "publish", "a test")
        assert last["forced"] is bool(before), "the first live bundle takes nobody's place"
        assert [row["topic_offset"] for row in desk.rows()] == list(range(len(before) + 1))


def test_somebody_else_was_faster(
    desk: Desk, bundles: Bundles, right_for_odd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert desk.publish(bundles("1"), "--live").exit_code == 0

    def meanwhile(*arguments: object) -> int:
        monkeypatch.undo()
        assert desk.publish(bundles("2"), "--live", "--force", "in a hurry").exit_code == 0
        return storage.upload(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("model_export.publishing.publish.upload", meanwhile)

    done = desk.publish(bundles("3"), "--live", "--data", right_for_odd)

    assert done.exit_code == 1
    assert "meanwhile" in done.err
    assert desk.versions_announced() == ["1", "2"]


def test_two_at_once_wait_for_each_other(desk: Desk, bundles: Bundles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_LOCK_TIMEOUT_S", 1)
    settings = DatabaseConnection(database_url=SecretStr(desk.environment["DATABASE_URL"]))

    with registry.RegistryDatabase(settings) as other, other.locked():
        done = desk.publish(bundles("1"), "--live")

    assert done.exit_code == 1
    assert "another publish, rollback or withdraw is at work" in done.err
    assert desk.announced() == []
    assert desk.publish(bundles("1"), "--live").exit_code == 0


def test_an_announcement_that_kafka_does_not_confirm_is_looked_for(
    desk: Desk, bundles: Bundles, admin: AdminClient
) -> None:
    models = desk.environment["CONSUMER_MODELS_TOPIC"]
    set_largest_record(admin, models, 100)

    done = desk.publish(bundles("1"), "--live")

    assert done.exit_code == 1
    assert "Kafka has not confirmed the announcement" in done.err
    assert "run the same command again" in done.err
    assert [row["topic_offset"] for row in desk.rows()] == [None]
    assert "noted by a command that ended before it announced it" in desk.run("list").err
    set_largest_record(admin, models, 1_000_000)
    assert desk.publish(bundles("1"), "--live").exit_code == 0
    assert desk.versions_announced() == ["1"]
    assert [row["topic_offset"] for row in desk.rows()] == [0]


def set_largest_record(admin: AdminClient, name: str, size_bytes: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result(30)


def test_other_heads_and_broken_bundles_are_refused_by_name(desk: Desk, tmp_path: Path) -> None:
    broken = build_tiny_bundle(tmp_path / "broken")
    (broken / TOKENIZER_FILE).write_text("{}")
    single = build_tiny_bundle(tmp_path / "single")
    labels = json.loads((single / "labels.json").read_text())
    labels["heads"]["sentiment"] = ["bad", "fair", "good"]
    (single / "labels.json").write_text(json.dumps(labels))
    manifest = json.loads((single / MANIFEST_FILE).read_text())
    write_manifest(single, {name: value for name, value in manifest.items() if name != "files"})

    for folder, reason in ((broken, TOKENIZER_FILE), (single, "head sentiment has the labels bad, fair, good")):
        done = desk.publish(folder, "--shadow")
        assert done.exit_code == 1
        assert reason in done.err
    assert desk.announced() == []
    # Without a role nothing runs it: it may be kept for another purpose.
    assert desk.publish(single).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--live", "--shadow"], 2, "give one of"),
        (["--canary"], 2, "--canary needs --share"),
        (["--shadow", "--share", "1.5"], 2, "above 0 and at most 1"),
        (["--live", "--share", "0.5"], 2, "the live bundle sees every event"),
        (["--shadow", "--data", "rows.jsonl"], 2, "go with --live"),
        (["--live", "--force", " "], 2, "--force needs the reason"),
        (["--to", "s3://user:hunter2@bucket/models"], 2, "no user, password or query"),
        (["--to", "s3://bucket/models?X-Amz-Signature=hunter2"], 2, "no user, password or query"),
        (["--to", "simplecache::s3://bucket"], 2, "chained URLs"),
        (["--to", "s3://"], 2, "names no bucket"),
        (["--to", "nonsense://bucket"], 1, "no kind of URL that is known"),
        (["--to", "/proc/nowhere"], 1, "/proc/nowhere"),
    ],
)
def test_requests_that_make_no_sense(desk: Desk, bundles: Bundles, arguments: list[str], code: int, words: str) -> None:
    done = desk.publish(bundles("1"), *arguments)

    assert done.exit_code == code
    assert words in done.err
    assert done.err.count("\n") == 1
    assert "hunter2" not in done.err + done.out
    assert desk.announced() == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KAFKA_BOOTSTRAP_SERVERS": "localhost:1"}, "Kafka at localhost:1 does not answer"),
        ({"CONSUMER_MODELS_TOPIC": "no.such.topic"}, "run `python -m schemas topics apply`"),
        ({"DATABASE_URL": "postgresql://someone:hunter2@localhost:1/nothing"}, "postgresql://localhost:1/nothing"),
    ],
)
def test_with_a_server_away_nothing_is_uploaded_or_announced(
    desk: Desk, bundles: Bundles, variables: dict[str, str], words: str
) -> None:
    done = desk.publish(bundles("1"), "--live", **variables)

    assert done.exit_code == 1
    assert words in done.err
    assert done.err.count("\n") == 1
    assert "hunter2" not in done.err
    assert not desk.store.exists()
    assert desk.announced() == []
