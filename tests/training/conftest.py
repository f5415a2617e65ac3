"""The tiny checkpoint of the model's tests, and what teachers add to it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.model.conftest import TinyRun, metrics_store, tiny_run

__all__ = ["metrics_store", "tiny_run"]


@dataclass(frozen=True)
class Taught:
    """A teacher, the file it was trained on beside texts without label, and what it says of all of them."""

    data: Path
    teacher: Path
    soft: Path


@pytest.fixture(scope="session")
def taught(tiny_run: TinyRun, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """Train the tiny teacher and ask it."""
    from rich.console import Console  # noqa: PLC0415

    from tests.model.tiny_model import write_teacher_base, write_texts  # noqa: PLC0415
    from training.config import read_config  # noqa: PLC0415
    from training.inputs import TrainingInputs, make_dataset  # noqa: PLC0415
    from training.soft_labels import make_soft_labels  # noqa: PLC0415
    from training.teacher import train_teacher  # noqa: PLC0415
    from training.texts import read_texts  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("taught")
    base, texts, data, teacher, soft = (folder / name for name in ("base", "texts", "rows", "teacher", "soft.npz"))
    write_teacher_base(base)
    write_texts(texts)
    make_dataset(TrainingInputs(files=[tiny_run.data], texts=[texts], keep_unlabelled=True), data)
    config = read_config(tiny_run.config, base=str(base), epochs=8)
    train_teacher(data, teacher, config, Console(quiet=True))
    make_soft_labels([teacher], read_texts([data]), soft, Console(quiet=True))
    return Taught(data, teacher, soft)
