"""A whole recipe on a tiny model in under three minutes: `python -m tests.training.smoke [OUT]`.

The rows' words name their labels, the base and the teacher are random and small: it says nothing of a real model, and
everything of whether all stages fit each other.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.model.tiny_model import write_base, write_config, write_rows, write_teacher_base, write_texts
from training.terminal import REFUSED_EXIT_CODE

RECIPE = """\
name = "smoke"

[data]
files = ["{data}/rows.jsonl"]
texts = ["{data}/texts.jsonl"]
keep_unlabelled = true
min_samples = 100

[[teachers]]
name = "tiny"
config = "config.toml"
set = { base = "BASES/teacher", epochs = 12 }

[students]
seeds = [3, 4]
config = "config.toml"
set = { base = "BASES/student", head_seed = 3, average_epochs = 2, soft_weight = 0.3 }

[bundle]
name = "smoke"
version = "1"
quantise = "none"
"""


def write_ingredients(folder: Path) -> Path:
    """Write rows, texts, bases, configuration and recipe.

    Returns:
        The recipe.
    """
    write_rows(folder / "rows.jsonl")
    write_texts(folder / "texts.jsonl")
    write_base(folder / "student")
    write_teacher_base(folder / "teacher")
    write_config(folder / "config.toml", folder / "student")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.replace("BASES", folder.as_posix()), encoding="utf-8")
    return recipe


def main(out: Path | None) -> int:
    """Go through all stages.

    Returns:
        The exit code of `python -m training recipe`; 3, that plain words beat no baseline, is as it should be.
    """
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["--recipe", str(write_ingredients(Path(scratch))), "--data", scratch]
        command = [sys.executable, "-m", "training", "recipe", *arguments, "--out", str(out or Path(scratch) / "out")]
        code = subprocess.run(command, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode
    return 0 if code == REFUSED_EXIT_CODE else code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
