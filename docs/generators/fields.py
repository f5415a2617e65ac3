"""JSON Schemas as people read them: one row for each field, nested ones too, with type, limits and description."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from schemas.compatibility.json_schemas import Schema, resolve

_FORMATS: Final = {"uuid": "UUID", "date-time": "time (RFC 3339)", "password": "string (secret)", "path": "path"}
_UNITS: Final = {"Length": "characters", "Items": "items", "Properties": "entries", "imum": ""}


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a table of fields. `path` joins the names of nested fields by dots."""

    path: str
    type: str
    required: bool
    limits: str
    values: tuple[str, ...]
    default: Any
    description: str


def fields(schema: Schema, root: Schema, prefix: str = "") -> Iterator[Field]:
    """The fields of an object schema in their order, each followed by its own."""
    schema = resolve(schema, root)
    required = schema.get("required", ())
    for name, node in schema.get("properties", {}).items():
        field = describe(f"{prefix}{name}", node, root, required=name in required)
        yield field
        yield from fields(node, root, f"{field.path}.")


def describe(path: str, node: Schema, root: Schema, *, required: bool) -> Field:
    """One field without those inside it."""
    schema = resolve(node, root)
    return Field(
        path=path,
        type=type_name(schema, root),
        required=required,
        limits=", ".join(_limits(schema, root)),
        values=tuple(str(value) for value in _values(schema, root)),
        default=schema.get("default"),
        description=schema.get("description", ""),
    )


def type_name(schema: Schema, root: Schema) -> str:
    """A type in words, such as `UUID or null` or `list of string`."""
    schema = resolve(schema, root)
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None:
        return " or ".join(dict.fromkeys(type_name(option, root) for option in options))
    declared: str = schema.get("type", "anything")
    if declared == "object" and isinstance(schema.get("additionalProperties"), dict) and "properties" not in schema:
        return f"map of {type_name(schema['additionalProperties'], root)}"
    if declared == "array":
        return f"list of {type_name(schema.get('items', {}), root)}"
    return _FORMATS.get(schema.get("format", ""), declared)


def _values(schema: Schema, root: Schema) -> Iterator[Any]:
    for part in _parts(schema, root):
        yield from part.get("enum", [part["const"]] if "const" in part else [])
    for keyword in ("propertyNames", "items"):
        if isinstance(schema.get(keyword), dict):
            yield from _values(schema[keyword], root)


def _parts(schema: Schema, root: Schema) -> Iterator[Schema]:
    schema = resolve(schema, root)
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is None:
        yield schema
    else:
        for option in options:
            yield from _parts(option, root)


def _limits(schema: Schema, root: Schema) -> Iterator[str]:
    for part in _parts(schema, root):
        for keyword, unit in _UNITS.items():
            text = _range(part, keyword)
            if text == "at least 1" and unit:
                yield "not empty"
            elif text:
                yield f"{text} {unit}".strip()
        if "pattern" in part:
            yield f"matches `{part['pattern']}`"


def _range(part: Schema, keyword: str) -> str:
    low, high = part.get(f"min{keyword}"), part.get(f"max{keyword}")
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    if keyword == "imum" and "exclusiveMinimum" in part:
        above = f"above {number(part['exclusiveMinimum'])}"
        return above if high is None else f"{above}, at most {number(high)}"
    if low is not None:
        return f"at least {number(low)}"
    return "" if high is None else f"at most {number(high)}"


def number(value: float) -> str:
    """A number with its thousands apart, whole ones without a decimal point."""
    return f"{int(value):,}" if value == int(value) else str(value)


def kept_for(settings: Schema) -> str:
    """How long a topic of these settings keeps a record."""
    if settings["cleanup.policy"] == ["compact"]:
        return "for ever: the newest of each key"
    return duration(settings["retention.ms"])


def duration(milliseconds: int) -> str:
    """A time that Kafka counts in milliseconds; -1 is for ever."""
    if milliseconds == -1:
        return "for ever"
    span = timedelta(milliseconds=milliseconds)
    return f"{span.days} days" if span.days and not span.seconds else str(span)


def size(count_bytes: int) -> str:
    """A size, in MiB where that says it exactly enough."""
    return f"{count_bytes / 2**20:.4g} MiB ({count_bytes:,} bytes)"
