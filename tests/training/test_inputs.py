"""Training files out of labels and the texts that a reader has."""

import json
from pathlib import Path

import pytest

pytest.importorskip("datasketch", reason="training files need the extra 'training'")
pytest.importorskip("torch", reason="training needs the extra 'training'")

from typer.testing import CliRunner

from model_export.rows import Row, RowError, read_rows
from training.commands import app
from training.inputs import TrainingInputs, make_dataset
from training.label_file import decode, encode
from training.leakage import measure_leakage

TEXTS = ["The door fell off", "I  love it", "Please add a lid", "Secret of others", "The door fell off!"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.jsonl"
    rows = [{"text": text, "label": "noise", "source": "shop", "licence_class": "research"} for text in TEXTS]
    rows[3]["shippable"] = False  # type: ignore[assignment]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def label_line(text: str, code: str) -> str:
    return f"shop\t{Row(text=text, split='train').key}\t{code}\n"


def test_labels_find_their_texts(tmp_path: Path, texts: Path) -> None:
    labels, dev, out = (tmp_path / name for name in ("labels.tsv", "dev.jsonl", "out.jsonl"))
    lines = [label_line("i love IT", "ppnh"), label_line(TEXTS[2], "fuyl"), label_line(TEXTS[3], "bunh")]
    labels.write_text("".join([*lines, label_line("Nobody has this", "ounh")]))
    dev.write_text(json.dumps({"text": "The door fell off.", "category": "bug", "split": "dev"}) + "\n")

    report = make_dataset(TrainingInputs(files=[dev], labels=[labels], texts=[texts], keep_unlabelled=True), out)

    found = {row.text: row for row in read_rows(out) if row.split == "train"}
    assert set(found) == {"I love it", "Please add a lid"}
    assert (found["I love it"].category, found["I love it"].licence_class) == ("praise", "research")
    assert (found["Please add a lid"].constructive, found["Please add a lid"].confidence) == ("yes", "low")
    assert report["labels_without_text"] == {str(labels): {"shop": 2}}
    assert report["dropped"] == {"near-duplicate of dev": 2}


def test_unlabelled_texts_are_kept_on_demand_and_give_way_to_labels(tmp_path: Path, texts: Path) -> None:
    file, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    file.write_text(json.dumps({"text": "i love it", "category": "praise", "split": "train"}) + "\n")

    report = make_dataset(TrainingInputs(files=[file], texts=[texts], keep_unlabelled=True), out)

    assert report["unlabelled"] == 3
    assert [row.category for row in read_rows(out) if row.text == "i love it"] == ["praise"]
    assert make_dataset(TrainingInputs(files=[file], texts=[texts]), out)["unlabelled"] == 0


@pytest.mark.parametrize("code", ["bnyh", "fuyl", "p-nh", "----"[:3] + "h"])
def test_codes_are_read_as_they_are_written(code: str) -> None:
    assert encode(Row.model_validate({"text": "x", "split": "train", **decode(code, "here")})) == code


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("shop\tabc\tbnyh\n", "line 2: expected SOURCE"),
        ("shop\tbnyh\n", "line 2: expected SOURCE"),
        (label_line("x", "bny"), "line 2: a code has 4 letters"),
        (label_line("x", "bxyh"), "line 2: no sentiment has the letter 'x'"),
        (label_line("I love it", "ppnh"), "line 2: this text has a label already"),
    ],
)
def test_bad_labels_are_named_by_line_and_nothing_is_written(
    tmp_path: Path, texts: Path, line: str, message: str
) -> None:
    labels, out = tmp_path / "labels.tsv", tmp_path / "out.jsonl"
    labels.write_text(label_line("I love it", "ppnh") + line)
    done = CliRunner().invoke(app, ["data", "--labels", str(labels), "--texts", str(texts), "--out", str(out)])
    assert done.exit_code == 1
    assert message in done.stderr.replace("\n", "")
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no row"),
        ('{"text": "a"}\n{no json\n', "line 2: is no JSON"),
        ('{"text": "a"}\n["a"]\n', "line 2: is no JSON object"),
        ('{"text": "a"}\n{"message": "a"}\n', "line 2: text"),
        ('{"text": "a"}\n{"text": 3}\n', "line 2: text"),
    ],
)
def test_bad_texts_are_named_by_line(tmp_path: Path, content: str, message: str) -> None:
    texts, out = tmp_path / "texts.jsonl", tmp_path / "out.jsonl"
    texts.write_text(content)
    with pytest.raises(RowError, match=message):
        make_dataset(TrainingInputs(texts=[texts], keep_unlabelled=True), out)
    assert not out.exists()


def test_labels_need_texts(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", "--labels", "labels.tsv", "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "--texts" in done.stderr


def test_a_leaked_test_file_is_found_out(tmp_path: Path) -> None:
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    words = {"bug": ("crashes", "fails", "broken"), "praise": ("great", "lovely", "perfect")}
    # Each text can be known by heart, and its label follows from nothing else.
    rows = [
        {"text": f"ticket {number} {words[('bug', 'praise')[number % 2]][number % 3]} x{number * 7919}", "label": label}
        for number, label in enumerate(["bug", "praise"] * 20)
    ]
    train.write_text("".join(json.dumps(row) + "\n" for row in rows[:30]))
    test.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows[30:], *rows[:5], rows[0] | {"text": rows[0]["text"].upper()}])
    )

    figures = measure_leakage(train, test)

    assert (figures["train_rows"], figures["test_rows"], figures["verbatim"]) == (30, 16, 6)
    assert figures["unseen_rows"] == 10
    assert figures["different_texts"] == 40
    test.write_text('{"text": "a"}\n')
    with pytest.raises(RowError, match="line 1"):
        measure_leakage(train, test)
