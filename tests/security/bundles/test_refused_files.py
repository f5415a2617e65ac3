"""What a hostile bundle holds is refused in its bytes: before a library that could be hurt by it sees any of them."""

import hashlib
import json
import time
from pathlib import Path
from typing import NoReturn

import pytest

from consumer.inference import bundle, quarantine, trial_checks
from consumer.inference.bundle import load_bundle
from consumer.inference.manifest import MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, BundleError
from tests.inference.test_bundle import replace
from tests.security.bundles import hostile
from tests.security.bundles.hostile import Case

# Of this process's own time; most take a few milliseconds.
_LONGEST_S = 5.0


def reached(*_: object, **__: object) -> NoReturn:
    pytest.fail("a library was given what should have been refused before")


def refusal(folder: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> str:
    """Spoil a bundle, and check it as the trial does, in this process: nothing may reach a library's parser."""
    breaking, name, reason = case
    breaking(folder)
    libraries = (("open_session", MODEL_FILE), ("Tokenizer", TOKENIZER_FILE))
    for library, file in libraries:
        if name != MODEL_FILE or file == MODEL_FILE:
            monkeypatch.setattr(trial_checks, library, reached)

    def try_here(place: Path, sha256: str, _: int) -> None:
        trial_checks.try_bundle(place, sha256)

    monkeypatch.setattr(bundle, "try_in_quarantine", try_here)
    started_s = time.process_time()
    with pytest.raises(BundleError) as refused:
        load_bundle(folder)
    assert time.process_time() - started_s < _LONGEST_S
    words = str(refused.value)
    assert str(folder / name) in words
    assert reason in words
    assert words.isprintable()
    assert len(words) < 600
    assert "root:" not in words
    return words


@pytest.mark.parametrize("case", hostile.FILES.values(), ids=hostile.FILES)
def test_files(folder: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal(folder, case, monkeypatch)


@pytest.mark.parametrize("case", hostile.GRAPHS.values(), ids=hostile.GRAPHS)
def test_graphs(folder: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal(folder, case, monkeypatch)


@pytest.mark.parametrize("case", hostile.TOKENIZERS.values(), ids=hostile.TOKENIZERS)
def test_tokenizers(folder: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal(folder, case, monkeypatch)


def test_the_model_that_all_of_them_spoil_is_good(folder: Path) -> None:
    replace(folder, MODEL_FILE, hostile.good_model())
    assert load_bundle(folder).manifest.name == "tiny"


def test_a_link_that_stays_inside_is_a_file(folder: Path) -> None:
    """As Kubernetes mounts volumes: model.onnx -> ..data/model.onnx -> ..2026/model.onnx."""
    (folder / "..2026").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        path.rename(folder / "..2026" / path.name)
        path.symlink_to(Path("..data") / path.name)
    (folder / "..data").symlink_to("..2026")
    assert load_bundle(folder).manifest.name == "tiny"


def test_a_file_that_changes_after_the_check_is_not_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = load_bundle(folder)
    (folder / MODEL_FILE).write_bytes(hostile.good_model())
    with pytest.raises(BundleError, match="its sha256 is"):
        checked.read(MODEL_FILE)

    # Nor is one that changes between the hashes and the trial.
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    replace(folder, MODEL_FILE, (folder / MODEL_FILE).read_bytes())
    sha256 = hashlib.sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()
    (folder / MODEL_FILE).write_bytes(b"another")
    with pytest.raises(BundleError, match="its sha256 is"):
        quarantine.try_in_quarantine(folder, sha256, 1_000)
    assert manifest["files"].keys() >= {MODEL_FILE, TOKENIZER_FILE}
    monkeypatch.undo()
