"""Training files: each text once, corrections win, and nothing of `dev` in what is trained on."""

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("datasketch", reason="training files need the extra 'training'")

from sqlalchemy import create_engine, insert
from typer.testing import CliRunner

from model_export.rows import Row, RowError, read_rows
from schemas.connection import DatabaseConnection
from schemas.tables import feedback, labels
from training.commands import app
from training.dataset import build_dataset
from training.feedback_rows import read_feedback_rows
from training.near_duplicates import group_near_duplicates

LONG = "The application closes by itself whenever I open the settings page on my old tablet"
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


def row(text: str, category: str | None = "bug", split: str = "train", **more: object) -> Row:
    return Row.model_validate({"text": text, "category": category, "split": split, **more})


def kept(inputs: dict[str, Iterable[Row]]) -> tuple[dict[str, str | None], dict[str, int]]:
    dataset = build_dataset(inputs, min_samples=1)
    return {each.text: each.category for each in dataset.rows if each.split == "train"}, dataset.dropped


def test_texts_that_differ_by_a_few_characters_are_one_group() -> None:
    texts = [LONG, "Something else entirely, about invoices", LONG.upper() + "!", LONG.replace("old", "new")]

    assert group_near_duplicates(texts) == [0, 1, 0, 0]
    assert group_near_duplicates(["ok", "no", "ok"]) == [0, 1, 0]


def test_what_nearly_repeats_dev_is_not_trained_on() -> None:
    inputs: dict[str, Iterable[Row]] = {
        "file": [row(LONG + "!"), row("ok"), row("Fine"), row(LONG, split="dev"), row("OK", split="dev")]
    }

    assert kept(inputs) == ({"Fine": "bug"}, {"text stands in dev": 1, "near-duplicate of dev": 1})


def test_a_later_input_corrects_an_earlier_one_and_a_disputed_text_goes() -> None:
    earlier = [row("slow"), row("nice", "praise"), row("hm", "other"), row("HM", "question")]

    assert kept({"file": earlier, "corrections": [row("Slow", "complaint")]}) == (
        {"Slow": "complaint", "nice": "praise"},
        {"repeated text": 1, "same text, other labels": 1, "corrected by a later input": 1},
    )


def test_rows_without_labels_or_leave_to_ship_stay_out_and_too_few_are_an_error() -> None:
    rows = [row("a", None), row("b", shippable=False), row("c")]

    assert kept({"file": rows}) == ({"c": "bug"}, {"no label": 1, "not shippable": 1})
    with pytest.raises(RowError, match="1 rows to train on are fewer than the 2"):
        build_dataset({"file": rows}, min_samples=2)


@pytest.mark.postgres
def test_the_newest_label_of_each_event_is_what_people_meant(database: DatabaseConnection) -> None:
    first, second, unlabelled = (uuid.uuid4() for _ in range(3))
    engine = create_engine(database.sqlalchemy_url())
    with engine.begin() as session:
        session.execute(
            insert(feedback), [stored(first, "slow"), stored(second, "Nice!"), stored(unlabelled, "whatever")]
        )
        session.execute(
            insert(labels),
            [
                label(first, "bug", NOW),
                label(first, "complaint", NOW + timedelta(hours=1)),
                label(second, "praise", NOW - timedelta(days=30)),
            ],
        )
    engine.dispose()

    assert {found.text: found.category for found in read_feedback_rows(database, None)} == {
        "slow": "complaint",
        "Nice!": "praise",
    }
    assert [found.text for found in read_feedback_rows(database, NOW)] == ["slow"]


@pytest.mark.postgres
def test_the_command_writes_what_it_counts(
    database: DatabaseConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "out" / "train.jsonl"
    file.write_text(json.dumps({"text": "Slow  again", "category": "complaint", "split": "train"}) + "\n")
    monkeypatch.setenv("DATABASE_URL", database.database_url.get_secret_value())

    done = CliRunner().invoke(app, ["data", "--file", str(file), "--database", "--out", str(out), "--json"])

    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["read"] == {str(file): 1, "database": 0}
    assert report["rows"]["train"] == 1
    assert [(found.text, found.category) for found in read_rows(out)] == [("Slow again", "complaint")]


def test_a_bad_line_and_a_missing_database_are_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "train.jsonl"
    file.write_text('{"text": "a", "category": "spam", "split": "train"}\n')
    bad = CliRunner().invoke(app, ["data", "--file", str(file), "--out", str(out)])
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:canary@127.0.0.1:1/none")
    away = CliRunner().invoke(app, ["data", "--database", "--out", str(out)])

    assert (bad.exit_code, away.exit_code) == (1, 1)
    assert "line 1: category" in bad.output
    assert "127.0.0.1:1/none: cannot be read" in away.output
    assert "canary" not in away.output
    assert not out.exists()


def stored(event_id: uuid.UUID, text: str) -> dict[str, Any]:
    head = {"label": 1.0}
    return {
        "event_id": event_id,
        "source_topic": "feedback.events",
        "source_topic_id": uuid.UUID(int=1),
        "source_partition": 0,
        "source_offset": event_id.int % 2**31,
        "payload_sha256": b"",
        "occurred_at": NOW,
        "source": "web",
        "text": text,
        "metadata": {},
        "extra": {},
        "flags": [],
        "sentiment": "neutral",
        "sentiment_scores": head,
        "category": "other",
        "category_scores": head,
        "constructive": "no",
        "constructive_scores": head,
        "needs_review": False,
        "queue": "support",
        "priority": "normal",
        "model_name": "m",
        "model_version": "1",
        "model_sha256": "0",
        "classified_at": NOW,
        "latency_ms": 1.0,
    }


def label(event_id: uuid.UUID, category: str, at: datetime) -> dict[str, Any]:
    return {"event_id": event_id, "category": category, "labelled_by": "test", "labelled_at": at}
