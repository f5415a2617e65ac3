"""What a process uses, sampled as time goes by and written down at once."""

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Final

import psutil

from tests.chaos.background import Background

MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """`at_s` counts from the first sample; `waiting` are events without a visible outcome."""

    at_s: float
    rss_bytes: int
    open_files: int
    threads: int
    waiting: int


class Vitals(Background):
    """Samples one process in a thread of its own; the series is complete in the file at every moment."""

    def __init__(self, pid: int, path: Path, *, every_s: float, waiting: Callable[[], int]) -> None:
        self.samples: list[Sample] = []
        self._process = psutil.Process(pid)
        self._path = path
        self._every_s = every_s
        self._waiting = waiting
        super().__init__("vitals")

    def _run(self) -> None:
        started_s = time.monotonic()
        with self._path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(field.name for field in fields(Sample))
            while True:
                try:
                    sample = Sample(
                        round(time.monotonic() - started_s, 1),
                        self._process.memory_info().rss,
                        self._process.num_fds(),
                        self._process.num_threads(),
                        self._waiting(),
                    )
                except psutil.NoSuchProcess:
                    return
                self.samples.append(sample)
                writer.writerow(astuple(sample))
                file.flush()
                if self._stopping.wait(self._every_s):
                    return


def slope_mb_per_min(samples: Sequence[Sample]) -> float:
    """Least squares over resident memory and time."""
    if len(samples) < 2:
        return 0.0
    mean_s = sum(sample.at_s for sample in samples) / len(samples)
    mean_bytes = sum(sample.rss_bytes for sample in samples) / len(samples)
    covariance = sum((sample.at_s - mean_s) * (sample.rss_bytes - mean_bytes) for sample in samples)
    variance = sum((sample.at_s - mean_s) ** 2 for sample in samples)
    return covariance / variance / MB * 60 if variance else 0.0
