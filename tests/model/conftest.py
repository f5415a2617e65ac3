"""One tiny checkpoint, fitted once, for the tests that need PyTorch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class TinyRun:
    """A finished fit: what it was given and what it wrote."""

    data: Path
    config: Path
    checkpoint: Path


@pytest.fixture(scope="session")
def metrics_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One MLflow store for all runs of the session: making a new one takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        store = f"sqlite:///{(tmp_path_factory.mktemp('metrics') / 'mlflow.db').as_posix()}"
        patch.setenv("MLFLOW_TRACKING_URI", store)
        yield store


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, metrics_store: str) -> TinyRun:  # noqa: ARG001 (set for the fit)
    """Fit the tiny model on its rows."""
    torch = pytest.importorskip("torch", reason="training and export need the extra 'training'")
    # More threads than a tiny model can use only wait for each other.
    torch.set_num_threads(1)
    from rich.console import Console  # noqa: PLC0415

    from tests.model.tiny_model import write_base, write_config, write_rows  # noqa: PLC0415
    from training.config import read_config  # noqa: PLC0415
    from training.fit import fit  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("tiny")
    data, config, base, checkpoint = (folder / name for name in ("rows.jsonl", "config.toml", "base", "checkpoint"))
    write_rows(data)
    write_base(base)
    write_config(config, base)
    fit(data, checkpoint, read_config(config), Console(quiet=True))
    return TinyRun(data, config, checkpoint)
