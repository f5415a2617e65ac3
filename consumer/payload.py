"""From the bytes of a record's value to the JSON object that they hold."""

import json
from typing import Any, Final

from consumer.errors import PoisonEvent
from consumer.normalise import prune_nesting
from schemas.event import Flag

_MAX_INTEGER_DIGITS: Final = 19
# Confluent's wire format for JSON Schema: a zero byte, then the schema's id in four bytes, then the JSON text.
_SCHEMA_ID_PREFIX_BYTES: Final = 5


def without_schema_id(value: bytes | None) -> bytes | None:
    """The value without the schema id that a schema registry's serializer wrote before it.

    No registry is asked: the event is judged by this project's own contract. A value that is not framed is returned as
    it is; no JSON text begins with a zero byte.

    Raises:
        PoisonEvent: framed, but what follows is no JSON object, so Avro or Protobuf.
    """
    if value is None or value[:1] != b"\x00":
        return value
    payload = value[_SCHEMA_ID_PREFIX_BYTES:]
    if not payload.lstrip().startswith(b"{"):
        raise PoisonEvent(
            "decode",
            "not_json",
            "the value begins as a schema registry's serializer frames it, but holds no JSON object; "
            "use the serializer for JSON Schema",
        )
    return payload


def parse_object(value: bytes | None, flags: set[Flag]) -> dict[str, Any]:
    """Parse a JSON object, however deep it nests; what had to change for that is added to `flags`.

    Raises:
        PoisonEvent: there is no value, or it is no JSON object in UTF-8.
    """
    if value is None:
        raise PoisonEvent("decode", "tombstone", "the record has no value; an event is a JSON object")
    try:
        text = value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PoisonEvent("decode", "not_utf8", f"the value is not UTF-8 at byte {error.start}") from None
    try:
        parsed = _loads(text, flags)
    except RecursionError:
        flags.add("nesting_bounded")
        parsed = _loads(prune_nesting(text), flags)
    if not isinstance(parsed, dict):
        raise PoisonEvent("decode", "not_an_object", "the value is JSON, but no object; an event is a JSON object")
    return parsed


def _loads(text: str, flags: set[Flag]) -> Any:  # noqa: ANN401 (any JSON value)
    def parse_integer(digits: str) -> int | str:
        # int() is quadratic, and refuses more than 4,300 digits with an error of its own.
        if len(digits) <= _MAX_INTEGER_DIGITS:
            return int(digits)
        flags.add("value_bounded")
        return digits

    try:
        return json.loads(text, parse_int=parse_integer)
    except ValueError as error:
        position = getattr(error, "pos", None)
        raise PoisonEvent("decode", "not_json", f"the value is not JSON at character {position}") from None
