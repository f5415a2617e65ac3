"""A recipe from rows to a measured bundle: every stage once, and none again."""

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the extra 'training'")
pytest.importorskip("optimum", reason="export needs the extra 'export'")
pytest.importorskip("sklearn", reason="baselines need the extra 'training'")
pytest.importorskip("mlflow", reason="training needs the extra 'training'")

from rich.console import Console

from consumer.inference.bundle import load_bundle, require_feedback_heads
from tests.training.smoke import write_ingredients
from training import recipe as recipe_module
from training.config import ConfigError
from training.pipeline import run_recipe
from training.recipe import RecipeFile
from training.run_state import FitError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")

RECIPES = Path(recipe_module.__file__).with_name("recipes")
STAGES = ("rows.jsonl", "teacher-tiny", "soft-tiny.npz", "smoke-3", "smoke-4", "smoke-average", "smoke-bundle")


@pytest.mark.timeout(400)
def test_all_stages_are_done_once(tmp_path: Path, metrics_store: str) -> None:  # noqa: ARG001 (set for the runs)
    ingredients, out = tmp_path / "in", tmp_path / "out"
    ingredients.mkdir()
    recipe = write_ingredients(ingredients)
    said = Console(quiet=True)

    summary = run_recipe(RecipeFile(recipe, ingredients), out, said)

    assert summary["dev"]["category"]["accuracy"] > 0.9
    assert summary["data"]["unlabelled_texts"] > 100
    assert set(summary["baselines"]) == {"naive Bayes", "logistic regression", "neural network"}
    require_feedback_heads(load_bundle(out / "smoke-bundle"))
    assert "barred words" not in (out / "rows.jsonl").read_text()
    before = {name: (out / name).stat().st_mtime_ns for name in STAGES}

    # What is gone is made again, and nothing else.
    shutil.rmtree(out / "smoke-report")
    again = run_recipe(RecipeFile(recipe, ingredients), out, said)

    assert again["dev"] == summary["dev"]
    assert {name: (out / name).stat().st_mtime_ns for name in STAGES} == before


def test_a_recipe_with_a_mistake_makes_nothing(tmp_path: Path) -> None:
    ingredients, out = tmp_path / "in", tmp_path / "out"
    ingredients.mkdir()
    recipe = write_ingredients(ingredients)
    text = recipe.read_text()

    def refused(changed: str, message: str) -> None:
        recipe.write_text(changed)
        with pytest.raises(ConfigError, match=message):
            run_recipe(RecipeFile(recipe, ingredients), out, Console(quiet=True))
        assert not (out / "rows.jsonl").exists()

    refused(text.replace("rows.jsonl", "absent.jsonl"), "absent.jsonl: there is no such file")
    refused(text.replace("epochs = ", "epoch = "), "epoch: Extra inputs")
    refused(text.replace("[bundle]", "[bundles]"), "bundle")
    recipe.write_text(text)
    with pytest.raises(ConfigError, match="give --data"):
        run_recipe(RecipeFile(recipe, None), out, Console(quiet=True))


def test_an_interrupted_stage_is_gone_on_with_and_a_changed_one_begins_anew(tmp_path: Path) -> None:
    from training.stages import Stages  # noqa: PLC0415

    stages = Stages(tmp_path, Console(quiet=True))
    source = tmp_path / "source.txt"
    source.write_text("a")
    seen: list[bool] = []

    def dying(out: Path) -> None:
        seen.append(out.exists())
        out.mkdir(exist_ok=True)
        if len(seen) == 1:
            raise FitError("killed")

    with pytest.raises(FitError):
        stages.run("stage", {"x": 1}, [source], dying)
    stages.run("stage", {"x": 1}, [source], dying)
    stages.run("stage", {"x": 1}, [source], dying)
    assert seen == [False, True], "gone on with once, then passed over"
    source.write_text("b")
    stages.run("stage", {"x": 1}, [source], dying)
    assert seen == [False, True, False]
    assert json.loads((tmp_path / "stage.stage.json").read_text())["done"] is True


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_recipes_of_the_repository_can_be_read(path: Path) -> None:
    file = RecipeFile(path, None)
    assert file.recipe.name == path.stem
    teachers = [file.teacher_config(teacher) for teacher in file.recipe.teachers]
    students = [file.student_config(seed) for seed in file.recipe.students.seeds]
    # Else a student would be validated on rows that its teachers have seen.
    assert len({config.validation_share for config in (*teachers, *students)}) == 1
    # Else their average would mean nothing.
    assert len({config.head_seed for config in students}) == 1
