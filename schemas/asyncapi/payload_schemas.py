"""JSON Schemas of the values: the pydantic types, and the CloudEvents that an event may come in."""

from typing import Any, Final

from pydantic.json_schema import models_json_schema

from schemas.announcement import Announcement, ModelReport
from schemas.event import FeedbackEvent
from schemas.result import ClassifiedFeedback

Schema = dict[str, Any]

# CloudEvents 1.0.2, JSON Event Format.
_CLOUD_EVENT: Final[Schema] = {
    "title": "CloudEvent",
    "description": "Further attributes are kept with the event. `data_base64` is read in place of `data`.",
    "type": "object",
    "properties": {
        "specversion": {"type": "string", "enum": ["1.0"], "description": "Version of CloudEvents."},
        "id": {
            "type": "string",
            "minLength": 1,
            "description": "Together with `source` it gives the `event_id`, where `data` has none.",
        },
        "source": {
            "type": "string",
            "minLength": 1,
            "description": "Stands for `data.source` where there is none; it must be a channel's name then.",
        },
        "type": {"type": "string", "minLength": 1, "description": "Kind of event, in the publisher's words; kept."},
        "time": {
            "type": "string",
            "format": "date-time",
            "description": "Stands for `data.occurred_at` where there is none.",
        },
        "datacontenttype": {
            "type": "string",
            "description": "A JSON media type; `application/json` is understood.",
        },
        "data": {"$ref": "#/components/schemas/CloudEventData"},
    },
    "required": ["specversion", "id", "source", "type"],
}


def payload_schemas() -> dict[str, Schema]:
    """Each schema by its name, with references for `components/schemas` of the document."""
    _, generated = models_json_schema(
        [
            (FeedbackEvent, "validation"),
            (ClassifiedFeedback, "serialization"),
            (Announcement, "validation"),
            (ModelReport, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Schema] = generated["$defs"]
    data = {
        **schemas["FeedbackEvent"],
        "title": "CloudEventData",
        "description": "A feedback event whose id, time and channel the envelope may give.",
        "required": ["text"],
    }
    return {**schemas, "CloudEventData": data, "CloudEvent": _CLOUD_EVENT}
