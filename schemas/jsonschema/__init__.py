"""The contracts as JSON Schema (2020-12), generated from the pydantic types and committed beside this file."""

import json
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel

from schemas.announcement import Announcement, ModelReport
from schemas.event import FeedbackEvent
from schemas.result import ClassifiedFeedback

_FOLDER: Final = Path(__file__).parent
_CONTRACTS: Final[dict[str, tuple[type[BaseModel], Literal["validation", "serialization"]]]] = {
    "feedback-event.v1.json": (FeedbackEvent, "validation"),
    "classified-feedback.v1.json": (ClassifiedFeedback, "serialization"),
    "announcement.v1.json": (Announcement, "validation"),
    "model-report.v1.json": (ModelReport, "serialization"),
}


def contract_files() -> dict[Path, str]:
    """Each contract file's path and the content that the types ask for."""
    return {
        _FOLDER / name: json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema(mode=mode)},
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
        for name, (model, mode) in _CONTRACTS.items()
    }
