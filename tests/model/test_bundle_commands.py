"""`python -m model_export verify|inspect|diff`, as a person calls them: none of them needs PyTorch."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pytest
from typer.testing import CliRunner

from consumer.inference.bundle import load_bundle
from consumer.inference.classifier import Classifier
from consumer.inference.manifest import HASHED_FILES, MANIFEST_FILE, MODEL_CARD_FILE
from model_export.commands import app
from model_export.difference import BUILT_IN_TEXTS
from schemas.labels import CATEGORIES
from tests.inference.tiny_bundle import build_tiny_bundle


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return build_tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return build_tiny_bundle(tmp_path / "other", version="2", seed=1)


def test_a_whole_bundle_is_called_whole(bundle: Path) -> None:
    done = run("verify", bundle, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["whole"] is True
    assert found["manifest_sha256"] == load_bundle(bundle).manifest_sha256
    assert found["run_refuses"] is None
    assert found["probe_deviation"] <= found["probe_tolerance"]
    assert "whole: tiny 1" in run("verify", bundle).stderr


@pytest.mark.parametrize("name", [*HASHED_FILES, MANIFEST_FILE, MODEL_CARD_FILE])
@pytest.mark.parametrize("fault", ["flipped", "cut", "gone"])
def test_every_damaged_file_is_named(bundle: Path, name: str, fault: str) -> None:
    list_card(bundle)
    path = bundle / name
    content = bytearray(path.read_bytes())
    if fault == "gone":
        path.unlink()
    elif fault == "cut":
        path.write_bytes(content[:-3])
    else:
        content[len(content) // 2] ^= 0x80
        path.write_bytes(content)
    done = run("verify", bundle)
    assert done.exit_code == 1
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr
    refused = json.loads(run("verify", bundle, "--json").stdout)
    assert refused["whole"] is False
    assert name in refused["reason"]


def list_card(bundle: Path) -> None:
    """Give the bundle a model card that its manifest lists, as an export does."""
    import hashlib  # noqa: PLC0415

    (bundle / MODEL_CARD_FILE).write_text("# tiny\n")
    manifest = json.loads((bundle / MANIFEST_FILE).read_text())
    manifest["files"][MODEL_CARD_FILE] = hashlib.sha256(b"# tiny\n").hexdigest()
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_other_predictions_than_the_exporters_are_named(bundle: Path) -> None:
    manifest = json.loads((bundle / MANIFEST_FILE).read_text())
    manifest["heads"]["category"]["temperature"] = 3.0
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))
    done = run("verify", bundle)
    assert done.exit_code == 1
    assert f"{bundle / MANIFEST_FILE}: probes: " in done.stderr


def test_a_remote_bundle_is_fetched_anew(bundle: Path, tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(bundle), "/verify/tiny", recursive=True)
    assert run("verify", "memory://verify/tiny").exit_code == 0
    memory.rm("/verify/tiny", recursive=True)
    gone = run("verify", "memory://verify/tiny")
    assert gone.exit_code == 1
    assert "memory://verify/tiny/manifest.json" in gone.stderr
    assert run("verify", tmp_path / "nothing").exit_code == 1


def test_what_changes_is_counted_by_head_and_label(bundle: Path, other: Path) -> None:
    done = run("diff", bundle, other, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["labels"] == {}
    assert found["texts"] == len(BUILT_IN_TEXTS)
    old, new = (answers(folder, BUILT_IN_TEXTS) for folder in (bundle, other))
    expected = Counter((a, b) for a, b in zip(old, new, strict=True) if a != b)
    changes = {(each["from"], each["to"]): each["texts"] for each in found["heads"]["category"]["changes"]}
    assert changes == expected
    assert found["heads"]["category"]["changed"] == sum(expected.values()) > 0
    assert found["speed_ratio"]["median"] > 0
    assert (found["before"]["version"], found["after"]["version"]) == ("1", "2")
    same = json.loads(run("diff", bundle, bundle, "--json").stdout)
    assert all(head["changed"] == 0 for head in same["heads"].values())


def answers(folder: Path, texts: tuple[str, ...]) -> list[str]:
    classifier = Classifier(load_bundle(folder))
    try:
        return [verdict.heads["category"].label for verdict in classifier.classify(texts)]
    finally:
        classifier.close()


def test_texts_of_customers_are_shown_only_when_asked_for(bundle: Path, other: Path, tmp_path: Path) -> None:
    secret = "my card number \x1b[31m is 4111"
    data = tmp_path / "rows.jsonl"
    rows = [{"text": secret, "category": label, "split": "dev"} for label in CATEGORIES]
    rows.append({"text": "trained on", "category": "bug", "split": "train"})
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    silent = run("diff", bundle, other, "--data", data)
    assert silent.exit_code == 0, silent.stderr
    assert "4111" not in silent.output
    assert "right on 8 labelled rows: A 0.1250, B 0.1250" in silent.stderr
    asked = run("diff", bundle, other, "--data", data, "--examples", "1")
    assert asked.stderr.count("4111") == 3
    assert "\x1b[31m" not in asked.stderr
    data.write_text(json.dumps(rows[-1]) + "\n")
    refused = run("diff", bundle, other, "--data", data)
    assert refused.exit_code == 1
    assert f"{data}: every row was trained on" in refused.stderr


def test_heads_that_only_one_has_are_told(bundle: Path, other: Path) -> None:
    labels = json.loads((other / "labels.json").read_text())
    labels["heads"]["category"].reverse()
    (other / "labels.json").write_text(json.dumps(labels))
    relist(other)
    found = json.loads(run("diff", bundle, other, "--json").stdout)
    assert list(found["labels"]) == ["category"]
    assert found["labels"]["category"]["after"] == list(reversed(CATEGORIES))


def relist(bundle: Path) -> None:
    import hashlib  # noqa: PLC0415

    manifest = json.loads((bundle / MANIFEST_FILE).read_text())
    manifest["files"] = {name: hashlib.sha256((bundle / name).read_bytes()).hexdigest() for name in manifest["files"]}
    (bundle / MANIFEST_FILE).write_text(json.dumps(manifest))


def test_a_page_shows_what_a_bundle_is_made_of(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="inspect needs the extra 'export'")
    pytest.importorskip("matplotlib", reason="the page needs the extra 'training'")
    done = run("inspect", bundle, "--out", tmp_path / "page", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert [each["length_tokens"] for each in found["speed"]] == [8, 16, 32, 64]
    assert all(each["alone_ms"] > 0 and each["texts_per_s"] > 0 for each in found["speed"])
    assert found["graph"]["operators"]["Gather"] == 1
    assert found["graph"]["quantised_work"] == 0
    assert found["graph"]["products"] == 3
    assert {path.name for path in (tmp_path / "page").iterdir()} == {
        "inspection.md",
        "inspection.json",
        "speed.png",
        "operators.png",
    }
    page = (tmp_path / "page" / "inspection.md").read_text()
    assert "# tiny 1" in page
    assert f"| category | {', '.join(CATEGORIES)} | 1.5 | 0.6 | yes |" in page
    shown = run("inspect", bundle)
    assert "3 attention" not in shown.stderr
    assert "MatMul 3" in shown.stderr


def test_the_shipped_graph_does_most_of_its_work_in_int8() -> None:
    pytest.importorskip("onnx", reason="inspect needs the extra 'export'")
    from consumer.inference.bundle import default_bundle  # noqa: PLC0415
    from model_export.graph import summarise_graph  # noqa: PLC0415

    graph = summarise_graph(default_bundle() / "model.onnx")
    assert graph.attention_layers == 6
    assert 0.5 < graph.quantised_work < 1
    assert graph.quantised_parameters > 0.9
    assert graph.largest_weights[0]["shape"] == [30522, 384]


@pytest.mark.parametrize(
    ("module", "arguments"), [("onnx", ()), ("torch", ("--unverified",)), ("matplotlib", ("--out", "page"))]
)
def test_a_missing_extra_is_one_line(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, arguments: tuple[str, ...]
) -> None:
    for name in [name for name in sys.modules if name.startswith("model_export.")]:
        if name.rpartition(".")[2] in {"graph", "inspection", "inspection_page", "bundle", "checkpoint"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    if module == "torch":
        done = run(tmp_path, "--out", tmp_path / "bundle", *arguments)
    else:
        if module == "matplotlib":
            pytest.importorskip("onnx")
        done = run("inspect", bundle, *arguments)
    assert done.exit_code == 2
    assert f"{module} is not installed: pip install 'feedback-stream[" in done.stderr
    assert not (tmp_path / "bundle").exists()


def test_arguments_without_a_command_are_an_export(tmp_path: Path) -> None:
    shutil.copytree(build_tiny_bundle(tmp_path / "tiny"), tmp_path / "checkpoint")
    for arguments in ((tmp_path / "checkpoint", "--out", "x"), ("--out", "x", tmp_path / "checkpoint")):
        done = run(*arguments)
        assert done.exit_code == 2
        assert "--unverified" in done.stderr
    named = run(tmp_path / "checkpoint", "--out", "x", "--unverified", "--version", "a b")
    assert named.exit_code == 2
    assert "--version 'a b'" in named.stderr
    listed = run("--help").stdout
    for command in ("export", "verify", "inspect", "diff", "publish", "rollback", "list"):
        assert f" {command} " in listed
    assert "No such command 'verfy'" in run("verfy", tmp_path).stderr
