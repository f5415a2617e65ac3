"""Whether a bundle may take the live one's place: both judge the same labelled rows."""

from pathlib import Path
from typing import Any, Final

from consumer.inference.bundle import Bundle, load_bundle
from consumer.inference.manifest import BundleError
from model_export.comparison import compare_predictions
from model_export.predictions import predict_texts
from model_export.publishing.errors import PublishingError
from model_export.publishing.progress import Progress
from model_export.rows import RowError, read_rows
from schemas.announcement import Announcement
from schemas.labels import HEADS

SPLIT: Final = "dev"
# With fewer, half a point is less than one row, and chance hides whatever there is.
_LEAST_ROWS: Final = 100


def compare_with_live(live: Announcement, new: Bundle, data: Path, progress: Progress) -> dict[str, Any]:
    """Compare a bundle with the live one on the `dev` rows of a file.

    Returns:
        What `model_export.comparison.compare_predictions` returns.

    Raises:
        PublishingError: the rows or the live bundle cannot be read, or the rows are too few to tell.
    """
    try:
        rows = [row for row in read_rows(data) if row.split == SPLIT]
    except RowError as error:
        raise PublishingError(str(error)) from None
    for head in HEADS:
        labelled = sum(getattr(row, head) is not None for row in rows)
        if labelled < _LEAST_ROWS:
            raise PublishingError(
                f"{data}: {labelled} rows of split {SPLIT} have a label for {head}; at least {_LEAST_ROWS} are needed "
                "to tell a worse model from chance"
            )
    texts = [row.text for row in rows]
    progress.begin(f"the live bundle ({live.name} {live.version}) judges {len(texts):,} rows")
    try:
        before = predict_texts(load_bundle(live.url, manifest_sha256=live.manifest_sha256), texts)
    except BundleError as error:
        raise PublishingError(
            f"the live bundle cannot be compared with: {error}; bring it back, or say why it may go: --force REASON"
        ) from None
    progress.begin(f"{new.manifest.name} {new.manifest.version} judges them")
    return compare_predictions(before, predict_texts(new, texts), rows)


def without_texts(comparison: dict[str, Any]) -> dict[str, Any]:
    """A comparison as it may be kept and passed on: its figures, and nobody's words."""
    heads = {
        head: {**figures, "per_label": {label: _figures_of(each) for label, each in figures["per_label"].items()}}
        for head, figures in comparison["heads"].items()
    }
    return {**comparison, "heads": heads}


def _figures_of(label: dict[str, Any]) -> dict[str, Any]:
    counts = {f"{side}_rows": label[side]["rows"] for side in ("won", "lost")}
    return {name: value for name, value in label.items() if name not in {"won", "lost"}} | counts
