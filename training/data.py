"""Which rows of a file train, which are kept aside, and which only report."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import Any, Self

from model_export.rows import Row, RowError
from training.near_duplicates import group_near_duplicates


@dataclass(frozen=True)
class Split:
    """Rows by use. `dev` only reports: nothing is trained, chosen, calibrated or stopped on it.

    `train` holds rows without any label too: texts for a teacher's probabilities.
    """

    train: list[Row]
    validation: list[Row]
    dev: list[Row]
    dropped: dict[str, int]

    def labelled(self) -> Self:
        """The same split without the texts that nobody labelled."""
        train = [row for row in self.train if row.is_labelled]
        dropped = len(self.train) - len(train)
        return replace(self, train=train, dropped=self.dropped | ({"no label": dropped} if dropped else {}))

    def held_out(self) -> str:
        """sha256 over the validation rows' keys: equal for two runs that keep the same rows aside."""
        keys = sorted({row.key for row in self.validation})
        return hashlib.sha256("\n".join(keys).encode()).hexdigest()


def split_rows(rows: list[Row], validation_share: float) -> Split:
    """Divide rows by use, the same way each time for the same file.

    Rows that must not ship stay out of train and validation. Equal and nearly equal texts go to one side. Validation is
    drawn per category and source, by the hash of the text; a group that holds no label is trained on.

    Raises:
        RowError: a row to train on repeats one of `dev`, or nothing is left to train or to validate on.
    """
    dev = [row for row in rows if row.split == "dev"]
    usable = [row for row in rows if row.split != "dev" and row.shippable]
    dropped = len(rows) - len(dev) - len(usable)
    of_all = group_near_duplicates([row.text for row in [*dev, *usable]])
    of_dev, of_usable = set(of_all[: len(dev)]), of_all[len(dev) :]
    leaked = [row for row, group in zip(usable, of_usable, strict=True) if group in of_dev]
    if leaked:
        raise RowError(
            f"{len(leaked)} rows to train on repeat rows of dev, or nearly, first the text of sha256 "
            f"{leaked[0].key[:12]}...: `python -m training data` leaves them out"
        )
    groups: dict[int, list[Row]] = defaultdict(list)
    for row, group in zip(usable, of_usable, strict=True):
        groups[group].append(row)
    strata: dict[tuple[str | None, str], dict[str, list[Row]]] = defaultdict(dict)
    train: list[Row] = []
    validation: list[Row] = []
    for members in groups.values():
        labelled = [row for row in members if row.is_labelled]
        if not labelled:
            train.extend(members)
            continue
        first = min(labelled, key=lambda row: row.key)
        strata[first.category, first.source][first.key] = members
    for stratum in sorted(strata, key=str):
        of_stratum = strata[stratum]
        kept = round(len(of_stratum) * validation_share)
        for position, key in enumerate(sorted(of_stratum)):
            if position < kept:
                validation.extend(row for row in of_stratum[key] if row.is_labelled)
            else:
                train.extend(of_stratum[key])
    if not train or not validation:
        raise RowError(f"{len(train)} rows to train on and {len(validation)} to validate on: the file is too small")
    return Split(train, validation, dev, {"not shippable": dropped} if dropped else {})


def provenance(rows: list[Row]) -> list[dict[str, Any]]:
    """The rows' sources with their licences and counts, largest first."""
    counts = Counter((row.source, row.licence, row.licence_class) for row in rows)
    return [
        {"source": source, "licence": licence, "licence_class": licence_class, "rows": number}
        for (source, licence, licence_class), number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
