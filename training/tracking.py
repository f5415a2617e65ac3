"""A run's figures in MLflow: a server that the environment names, or a file beside the checkpoints."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from schemas.labels import HEADS
from training.run_state import FitError

# Before MLflow is imported: nothing but metrics leaves this process, and those only to the store that is named.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import logging

from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

TRACKING_URI: Final = "MLFLOW_TRACKING_URI"
STORE_FILE: Final = "mlflow.db"
_EXPERIMENT: Final = "feedback-stream"
_MAX_VALUE_CHARS: Final = 500
_EVALUATED: Final = ("validation", "dev")
_FIGURES: Final = ("accuracy", "confident_accuracy", "macro_f1", "debiased_ece")


class Tracker:
    """One run's place in MLflow. A store that goes away during a run costs its figures there, never the run."""

    def __init__(self, out: Path, config: dict[str, Any]) -> None:
        """Name the run after its folder.

        Args:
            out: the checkpoint's folder; without `MLFLOW_TRACKING_URI` the store is `mlflow.db` beside it.
            config: what to show as the run's parameters.
        """
        self._name = out.resolve().name
        self._uri = os.environ.get(TRACKING_URI) or f"sqlite:///{(out.resolve().parent / STORE_FILE).as_posix()}"
        self._config = config
        self._run_id: str | None = None
        self._client: Any = None

    def start(self, run_id: str | None) -> str:
        """Open the store and begin a run, or go on with one.

        Returns:
            The run's id.

        Raises:
            FitError: the store cannot be used.
        """
        with _quiet():
            try:
                self._client = MlflowClient(self._uri)
                self._run_id = self._known(run_id) or self._begin()
            except MlflowException as error:
                raise FitError(f"{TRACKING_URI}: the store of metrics cannot be used: {_first_line(error)}") from error
        return self._run_id

    def epoch(self, entry: dict[str, Any]) -> None:
        """Note an epoch's figures."""
        self._log({key: value for key, value in entry.items() if key != "epoch"}, entry["epoch"])

    def finish(self, report: dict[str, Any]) -> None:
        """Note the final figures and close the run."""
        figures = {
            f"{split}_{head}_{figure}": report[split][head][figure]
            for split in _EVALUATED
            if report[split]
            for head in HEADS
            for figure in _FIGURES
        }
        self._log(figures | {"training_s": report["training_s"]}, len(report["history"]))
        with _quiet(), _lost_figures():
            self._client.set_terminated(self._run_id)

    def _known(self, run_id: str | None) -> str | None:
        if run_id is None:
            return None
        try:
            self._client.update_run(run_id, status="RUNNING")
        except MlflowException:
            # The store of the run before is not this one.
            return None
        return run_id

    def _begin(self) -> str:
        known = self._client.get_experiment_by_name(_EXPERIMENT)
        experiment = known.experiment_id if known else self._client.create_experiment(_EXPERIMENT)
        run = self._client.create_run(experiment, run_name=self._name)
        params = [Param(key, str(value)[:_MAX_VALUE_CHARS]) for key, value in self._config.items()]
        self._client.log_batch(run.info.run_id, params=params)
        return str(run.info.run_id)

    def _log(self, figures: dict[str, Any], step: int) -> None:
        with _quiet(), _lost_figures():
            now_ms = int(time.time() * 1000)
            metrics = [Metric(key, float(value), now_ms, step) for key, value in figures.items()]
            self._client.log_batch(self._run_id, metrics=metrics)


@contextmanager
def _lost_figures() -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        logging.getLogger(__name__).warning("the store of metrics is away: %s", _first_line(error))


@contextmanager
def _quiet() -> Iterator[None]:
    """MLflow's own use of its libraries is not the reader's business."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
