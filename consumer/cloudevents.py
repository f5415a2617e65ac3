"""CloudEvents 1.0 in Kafka records: the protocol binding's binary and structured content modes.

Source: CloudEvents 1.0.2, "Kafka Protocol Binding" and "JSON Event Format". Nothing here needs the CloudEvents SDK.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from consumer.errors import PoisonEvent
from consumer.normalise import clean_value
from consumer.payload import parse_object
from consumer.records import Headers
from schemas import headers
from schemas.event import MAX_SOURCE_CHARS, Flag, UtcDatetime
from schemas.ids import cloudevent_id

EXTRA_FIELD: Final = "cloudevent"
"""The field of a normalised event's `extra` that keeps the attributes."""

_SPECVERSION: Final = "1.0"
_ATTRIBUTE_PREFIX: Final = "ce_"
_ANY_FORMAT: Final = "application/cloudevents"
_JSON_FORMAT: Final = "application/cloudevents+json"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_JSON_MEDIA_TYPE: Final = re.compile(r"[\w.-]+/([\w.-]+\+)?json", re.ASCII)
# What the specification's type String leaves out, as far as it could blur an identity.
_UNFIT_FOR_IDENTITY: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_TIME: Final = TypeAdapter[object](UtcDatetime)


@dataclass(frozen=True, slots=True, repr=False)
class CloudEvent:
    """One CloudEvent whose data is a feedback event.

    `attributes` hold the specification's canonical strings, the same in both content modes, so `"1"` for an extension
    that was the number 1. `data` is parsed and not yet cleaned.
    """

    attributes: Mapping[str, str]
    data: dict[str, Any]

    def fill(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """`content`, made of `data`, with id, time and channel from the attributes where it has none.

        Raises:
            PoisonEvent: the attributes cannot be kept beside `content`, or their source is too long for a channel.
        """
        if EXTRA_FIELD in content:
            raise _invalid(f"data must not have a field named {EXTRA_FIELD}: the attributes are kept under that name")
        source = self.attributes["source"]
        if content.get("source") is None and len(source) > MAX_SOURCE_CHARS:
            raise PoisonEvent(
                "decode",
                "missing_source",
                f"data has no source, and that of the CloudEvent is longer than the {MAX_SOURCE_CHARS} characters of "
                "a channel's name; name the channel in data",
            )
        derived: dict[str, UUID | str | None] = {
            "event_id": cloudevent_id(source, self.attributes["id"]),
            "occurred_at": self.attributes.get("time"),
            "source": source,
        }
        missing = {name: value for name, value in derived.items() if value is not None and content.get(name) is None}
        return {**content, **missing}


def read_cloud_event(record_headers: Headers, value: bytes | None, flags: set[Flag]) -> CloudEvent | None:
    """The CloudEvent that a record holds, or None where it is none.

    It is one in structured mode if the content type says so, and one in binary mode if a header names a required
    attribute. Header names are compared without regard to case, as the CloudEvents SDK for Python does.

    Raises:
        PoisonEvent: it is one, but malformed, or its data is no JSON object.
    """
    named = {name.lower(): raw for name, raw in record_headers}
    content_type = named.get(headers.CONTENT_TYPE)
    media_type = _media_type((content_type or b"").decode("ascii", "replace"))
    if media_type.startswith(_ANY_FORMAT):
        return _structured(media_type, value, flags)
    if any(_ATTRIBUTE_PREFIX + name in named for name in _REQUIRED):
        return _binary(named, value, flags)
    return None


def _structured(media_type: str, value: bytes | None, flags: set[Flag]) -> CloudEvent:
    if media_type != _JSON_FORMAT:
        raise _unsupported(
            f"header {headers.CONTENT_TYPE} must be {_JSON_FORMAT} for a CloudEvent in structured mode; neither "
            "batches nor other formats are read: publish one record for each event"
        )
    envelope = parse_object(value, flags)
    data, data_base64 = envelope.pop("data", None), envelope.pop("data_base64", None)
    attributes = _attributes(envelope, flags)
    if data is not None and data_base64 is not None:
        raise _invalid("data and data_base64 must not both be present")
    if data_base64 is not None:
        return CloudEvent(attributes, parse_object(_from_base64(data_base64), flags))
    if not isinstance(data, dict):
        raise _invalid("data must be a JSON object, a feedback event")
    return CloudEvent(attributes, data)


def _binary(named: Mapping[str, bytes | None], value: bytes | None, flags: set[Flag]) -> CloudEvent:
    given: dict[str, str] = {}
    for header, raw in named.items():
        is_content_type = header == headers.CONTENT_TYPE
        if raw is None or not (is_content_type or header.startswith(_ATTRIBUTE_PREFIX)):
            continue
        name = "datacontenttype" if is_content_type else header.removeprefix(_ATTRIBUTE_PREFIX)
        try:
            given[name] = raw.decode()
        except UnicodeDecodeError:
            raise _invalid(f"{name if name in _REQUIRED else 'an attribute'} must be UTF-8") from None
    return CloudEvent(_attributes(given, flags), parse_object(value, flags))


def _attributes(given: Mapping[str, Any], flags: set[Flag]) -> dict[str, str]:
    required = {name: _required(name, given.get(name)) for name in _REQUIRED}
    if required["specversion"] != _SPECVERSION:
        raise _invalid(f"specversion must be {_SPECVERSION}")
    optional = clean_value({name: value for name, value in given.items() if name not in required}, flags)
    # The required ones last: cleaning a name must not make it one of them.
    attributes = {name: _canonical(value) for name, value in optional.items() if value is not None} | required
    if not _JSON_MEDIA_TYPE.fullmatch(_media_type(attributes.get("datacontenttype", "application/json"))):
        raise _unsupported("datacontenttype must be a JSON media type, such as application/json, or absent")
    if "time" in attributes:
        _check_time(attributes["time"])
    return attributes


def _required(name: str, value: object) -> str:
    if value is None:
        raise _invalid(f"{name} is missing; it must be {_expected(name)}")
    if not isinstance(value, str) or not value or _UNFIT_FOR_IDENTITY.search(value):
        raise _invalid(f"{name} must be {_expected(name)}")
    return value


def _expected(name: str) -> str:
    return _SPECVERSION if name == "specversion" else "a string that is not empty and holds no control characters"


def _canonical(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise _invalid("an attribute must be a string, a number or a boolean")


def _check_time(text: str) -> None:
    try:
        _TIME.validate_python(text)
    except ValidationError:
        raise _invalid("time must be in RFC 3339 with an offset, such as 2026-01-31T09:30:00Z") from None


def _from_base64(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True)  # type: ignore[arg-type]
    except (TypeError, ValueError, binascii.Error):
        raise _invalid("data_base64 must be a string in Base64") from None


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _invalid(message: str) -> PoisonEvent:
    return PoisonEvent("decode", "invalid_cloudevent", message)


def _unsupported(message: str) -> PoisonEvent:
    return PoisonEvent("decode", "unsupported_content_type", message)
