"""What teachers say of texts: a file of probabilities by text, to learn from beside the labels."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from schemas.labels import HEADS, Head

_KEY_BYTES: Final = 32
# float16 keeps three digits: the sums of a file that is ours are within this of 1.
_SUM_TOLERANCE: Final = 0.01


class SoftTargetError(Exception):
    """A file of probabilities cannot be used; the message names the file and the reason."""


@dataclass(frozen=True)
class SoftTargets:
    """Probabilities by text. The file names texts by `Row.key` and repeats none.

    Attributes:
        keys: uint8 [texts, 32], the sha256 of each text.
        probabilities: per head float16 [texts, labels].
        held_out: `Split.held_out` of the teachers: what they were validated on.
        teachers: their folders' names.
    """

    keys: NDArray[np.uint8]
    probabilities: dict[Head, NDArray[np.float16]]
    held_out: str
    teachers: tuple[str, ...]

    def of(self, keys: Sequence[str]) -> tuple[dict[Head, NDArray[np.float32]], NDArray[np.bool_]]:
        """Look texts up.

        Args:
            keys: as `Row.key` gives them.

        Returns:
            Per head float32 [keys, labels] with rows that sum to 1, even where nothing is known; and which are known.
        """
        found_at = np.array([self.places.get(key, -1) for key in keys], dtype=np.int64)
        known = found_at >= 0
        found: dict[Head, NDArray[np.float32]] = {}
        for head, labels in HEADS.items():
            values = np.full((len(keys), len(labels)), 1 / len(labels), dtype=np.float32)
            values[known] = self.probabilities[head][found_at[known]]
            found[head] = values / values.sum(axis=1, keepdims=True)
        return found, known

    @cached_property
    def places(self) -> dict[str, int]:
        """The row of each text, by its key."""
        return {bytes(key).hex(): place for place, key in enumerate(self.keys)}

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"held_out": self.held_out, "teachers": self.teachers})
        arrays: dict[str, Any] = {str(head): values for head, values in self.probabilities.items()}
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, keys=self.keys, about=np.array(about), **arrays)
        partial.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file that `write` wrote.

        Raises:
            SoftTargetError: it cannot be read, or its arrays do not fit the heads.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                about = json.loads(str(arrays["about"]))
                found = cls(
                    arrays["keys"],
                    {head: arrays[head] for head in HEADS},
                    str(about["held_out"]),
                    tuple(about["teachers"]),
                )
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise SoftTargetError(
                f"{path}: is no file of `python -m training soft-labels --out` ({reason}); make it again"
            ) from error
        _require_fit(path, found.keys, found.probabilities)
        return found

    @classmethod
    def mean(cls, several: Sequence[Self], paths: Sequence[Path]) -> Self:
        """Average files over the texts that any of them holds.

        Raises:
            SoftTargetError: their teachers kept different rows aside.
        """
        first = several[0]
        if len(several) == 1:
            return first
        for path, each in zip(paths, several, strict=True):
            if each.held_out != first.held_out:
                raise SoftTargetError(f"{path}: its teachers kept other rows aside than those of {paths[0]}")
        keys = sorted({key for each in several for key in each.places})
        sums: dict[Head, Any] = {head: np.zeros((len(keys), len(labels))) for head, labels in HEADS.items()}
        counts = np.zeros((len(keys), 1))
        for each in several:
            found, known = each.of(keys)
            counts[known] += 1
            for head in HEADS:
                sums[head][known] += found[head][known]
        return cls(
            keys_of(keys),
            {head: (values / counts).astype(np.float16) for head, values in sums.items()},
            first.held_out,
            tuple(name for each in several for name in each.teachers),
        )


def keys_of(keys: Sequence[str]) -> NDArray[np.uint8]:
    """uint8 [keys, 32] of keys in hex."""
    return np.frombuffer(b"".join(bytes.fromhex(key) for key in keys), dtype=np.uint8).reshape(-1, _KEY_BYTES)


def _require_fit(path: Path, keys: NDArray[Any], probabilities: dict[Head, NDArray[Any]]) -> None:
    if keys.ndim != 2 or keys.shape[1] != _KEY_BYTES or keys.dtype != np.uint8:  # noqa: PLR2004 (rows and columns)
        raise SoftTargetError(f"{path}: keys has the shape {keys.shape}, expected [texts, {_KEY_BYTES}] of uint8")
    for head, labels in HEADS.items():
        values = probabilities[head]
        if values.shape != (len(keys), len(labels)):
            raise SoftTargetError(
                f"{path}: {head} has the shape {values.shape}, expected ({len(keys)}, {len(labels)}): "
                "the teachers had other labels; make it again"
            )
        sums = values.astype(np.float32).sum(axis=1)
        if not np.isfinite(sums).all() or (np.abs(sums - 1) > _SUM_TOLERANCE).any():
            raise SoftTargetError(f"{path}: {head} holds rows that do not sum to 1: these are no probabilities")
