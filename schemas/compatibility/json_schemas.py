"""Compares two versions of a JSON Schema (2020-12, the part that pydantic writes), down to every nested field.

A schema is read as alternatives by type, so that `anyOf` with null, a list of types and a plain type compare alike.
What the rules do not cover is never passed over: it is reported as unjudged.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from schemas.compatibility import rules
from schemas.compatibility.rules import Change

Schema = dict[str, Any]
Node = Schema | bool
"""Where a schema may stand, `true` and `false` may too."""

_ANYTHING: Final = "anything"
_LOWER_LIMITS: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER_LIMITS: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_FORMS: Final = ("pattern", "format", "multipleOf", "uniqueItems", "contentEncoding", "contentMediaType")
_UNIONS: Final = ("anyOf", "oneOf")
_JUDGED: Final = frozenset(
    {"type", "enum", "const", "default", "properties", "required", "additionalProperties", "propertyNames", "items"}
    | {*_UNIONS, *_LOWER_LIMITS, *_UPPER_LIMITS, *_FORMS}
)
# They tell people something, and refuse no value.
_ANNOTATIONS: Final = frozenset(
    {"title", "description", "examples", "deprecated", "$schema", "$id", "$comment", "$defs"}
)
_JSON_TYPES: Final = {
    "str": "string",
    "bool": "boolean",
    "int": "integer",
    "float": "number",
    "NoneType": "null",
    "list": "array",
    "dict": "object",
}


def compare_schemas(before: Node, after: Node, before_root: Schema, after_root: Schema) -> list[Change]:
    """Every difference between two schemas, each once.

    `Change.where` is a path of fields: `items[]` stands for the elements of an array, `map.*` for the values of a map
    and `map{}` for its keys; an empty path is the value itself.

    Args:
        before: the earlier schema.
        after: the later one.
        before_root: the document that references in `before` point into.
        after_root: the document that references in `after` point into.

    Raises:
        ValueError: a reference leads out of its document.
    """
    return list(dict.fromkeys(_Comparison(before_root, after_root).compare("", before, after)))


def resolve(node: Node, root: Schema) -> Schema:
    """The schema that `node` stands for, its reference into `root` followed; what stands beside one adds to it.

    Raises:
        ValueError: the reference leads out of the document.
    """
    if isinstance(node, bool):
        return {} if node else {"not": {}}
    while "$ref" in node:
        pointer = node["$ref"]
        if not pointer.startswith("#/"):
            raise ValueError(f"{pointer} leads out of the document")
        target: Any = root
        for step in pointer[2:].split("/"):
            target = target[step]
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


class _Comparison:
    """One walk through two documents."""

    def __init__(self, before_root: Schema, after_root: Schema) -> None:
        self._before_root = before_root
        self._after_root = after_root
        self._open: list[tuple[str, str]] = []

    def compare(self, where: str, before: Node, after: Node) -> Iterator[Change]:
        earlier_schema, later_schema = resolve(before, self._before_root), resolve(after, self._after_root)
        yield from _default(where, earlier_schema, later_schema)
        yield from self._unjudged(where, earlier_schema, later_schema)
        earlier, later = _alternatives(before, self._before_root), _alternatives(after, self._after_root)
        pairs = [(earlier[name], later[name]) for name in earlier if name in later]
        gone, new = earlier.keys() - later.keys(), later.keys() - earlier.keys()
        # Every integer is a number.
        if "integer" in gone and "number" in later:
            gone.remove("integer")
            pairs.append((earlier["integer"], later["number"]))
        if "integer" in new and "number" in earlier:
            new.remove("integer")
            pairs.append((earlier["number"], later["integer"]))
        if _ANYTHING not in later and gone:
            yield Change(where, rules.TYPE_REMOVED, " or ".join(earlier), " or ".join(later))
        if _ANYTHING not in earlier and new:
            yield Change(where, rules.TYPE_ADDED, " or ".join(earlier), " or ".join(later))
        for earlier_node, later_node in pairs:
            yield from self._compare_alternative(where, earlier_node, later_node)

    def _compare_alternative(self, where: str, before: Node, after: Node) -> Iterator[Change]:
        references = (_reference(before), _reference(after))
        # A type that holds itself is under comparison already.
        if all(references) and references in self._open:
            return
        self._open.append(references)
        earlier, later = resolve(before, self._before_root), resolve(after, self._after_root)
        yield from _values(where, earlier, later)
        yield from _limits(where, earlier, later)
        yield from _forms(where, earlier, later)
        yield from self._fields(where, earlier, later)
        yield from self._unnamed_fields(where, earlier, later)
        for keyword, mark in (("propertyNames", "{}"), ("items", "[]")):
            if keyword in earlier or keyword in later:
                yield from self.compare(f"{where}{mark}", earlier.get(keyword, {}), later.get(keyword, {}))
        self._open.pop()

    def _fields(self, where: str, before: Schema, after: Schema) -> Iterator[Change]:
        earlier, later = before.get("properties", {}), after.get("properties", {})
        rest = before.get("additionalProperties", True)
        for name in sorted(earlier.keys() | later.keys()):
            path = f"{where}.{name}" if where else name
            if name not in later:
                yield Change(path, rules.FIELD_REMOVED, "present", "absent")
            elif name in earlier:
                yield from self.compare(path, earlier[name], later[name])
            elif rest is False:
                yield Change(path, rules.FIELD_ADDED_TO_CLOSED, "absent", "present")
            else:
                yield Change(path, rules.FIELD_ADDED, "absent", "present")
                if isinstance(rest, dict):
                    yield from self.compare(path, rest, later[name])
        was_required, is_required = set(before.get("required", ())), set(after.get("required", ()))
        for name in sorted(is_required - was_required):
            yield Change(f"{where}.{name}" if where else name, rules.FIELD_REQUIRED, "optional", "required")
        for name in sorted(was_required - is_required - (earlier.keys() - later.keys())):
            yield Change(f"{where}.{name}" if where else name, rules.FIELD_OPTIONAL, "required", "optional")

    def _unnamed_fields(self, where: str, before: Schema, after: Schema) -> Iterator[Change]:
        earlier, later = before.get("additionalProperties", True), after.get("additionalProperties", True)
        if earlier is not False and later is False:
            yield Change(where, rules.UNKNOWN_REFUSED, "allowed", "refused")
        elif earlier is False and later is not False:
            yield Change(where, rules.UNKNOWN_ALLOWED, "refused", "allowed")
        elif earlier is not False:
            yield from self.compare(f"{where}.*", earlier, later) if earlier != later or earlier is not True else ()

    def _unjudged(self, where: str, before: Schema, after: Schema) -> Iterator[Change]:
        judged = _JUDGED
        if any(union in schema for union in _UNIONS for schema in (before, after)):
            # What stands beside a union applies to all of it: no alternative shows that.
            judged = frozenset({*_UNIONS, "default"})
            before, after = _beside_union(before), _beside_union(after)
        for keyword in sorted((before.keys() | after.keys()) - judged - _ANNOTATIONS):
            earlier = _expanded(before.get(keyword), self._before_root)
            later = _expanded(after.get(keyword), self._after_root)
            if earlier != later:
                place = f"{where} ({keyword})" if where else f"({keyword})"
                yield Change(place, rules.UNJUDGED, _shown(earlier), _shown(later))


def _beside_union(schema: Schema) -> Schema:
    return schema if any(union in schema for union in _UNIONS) else {}


def _reference(node: Node) -> str:
    return "" if isinstance(node, bool) else str(node.get("$ref", ""))


def _alternatives(node: Node, root: Schema) -> dict[str, Node]:
    """The types that a schema allows, each with the schema that holds for it; a second union member is `object 2`."""
    schema = resolve(node, root)
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is None:
        return dict.fromkeys(_types(schema), node)
    found: dict[str, Node] = {}
    for option in options:
        for name, alternative in _alternatives(option, root).items():
            number = sum(1 for other in found if other.split()[0] == name.split()[0]) + 1
            found[name if number == 1 else f"{name.split()[0]} {number}"] = alternative
    return found


def _types(schema: Schema) -> list[str]:
    declared = schema.get("type")
    if declared is not None:
        return [declared] if isinstance(declared, str) else list(declared)
    values = _allowed_values(schema)
    return [_ANYTHING] if values is None else sorted({_JSON_TYPES[type(value).__name__] for value in values})


def _allowed_values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _default(where: str, before: Schema, after: Schema) -> Iterator[Change]:
    # A field without one is left out and nothing stands for it, or it is required: no meaning changes.
    if "default" in before and "default" in after and before["default"] != after["default"]:
        yield Change(where, rules.DEFAULT_CHANGED, _shown(before["default"]), _shown(after["default"]))


def _values(where: str, before: Schema, after: Schema) -> Iterator[Change]:
    earlier, later = _allowed_values(before), _allowed_values(after)
    if earlier is None and later is not None:
        yield Change(where, rules.VALUE_REMOVED, "any", _shown(later))
    elif earlier is not None and later is None:
        yield Change(where, rules.VALUE_ADDED, _shown(earlier), "any")
    elif earlier is not None and later is not None:
        # As JSON, or 1 and true would be one value.
        known, kept = {_shown(value) for value in earlier}, {_shown(value) for value in later}
        for value in sorted(known - kept):
            yield Change(where, rules.VALUE_REMOVED, value, "absent")
        for value in sorted(kept - known):
            yield Change(where, rules.VALUE_ADDED, "absent", value)


def _limits(where: str, before: Schema, after: Schema) -> Iterator[Change]:
    for keyword in (*_LOWER_LIMITS, *_UPPER_LIMITS):
        earlier, later = before.get(keyword), after.get(keyword)
        if earlier == later:
            continue
        if earlier is None or later is None:
            tightened = earlier is None
        else:
            tightened = (later > earlier) == (keyword in _LOWER_LIMITS)
        rule = rules.LIMIT_TIGHTENED if tightened else rules.LIMIT_LOOSENED
        yield Change(where, rule, _limit(keyword, earlier), _limit(keyword, later))


def _forms(where: str, before: Schema, after: Schema) -> Iterator[Change]:
    for keyword in _FORMS:
        earlier, later = before.get(keyword) or None, after.get(keyword) or None
        if earlier == later:
            continue
        if earlier is None:
            rule = rules.FORM_ADDED
        elif later is None:
            rule = rules.FORM_REMOVED
        else:
            rule = rules.FORM_CHANGED
        yield Change(where, rule, _limit(keyword, earlier), _limit(keyword, later))


def _limit(keyword: str, value: object) -> str:
    return f"no {keyword}" if value is None else f"{keyword} {value}"


def _expanded(value: Any, root: Schema, opened: tuple[str, ...] = ()) -> Any:  # noqa: ANN401 (any JSON value)
    """`value` with its references followed, so that equal texts over different definitions are told apart."""
    if isinstance(value, list):
        return [_expanded(item, root, opened) for item in value]
    if not isinstance(value, Mapping):
        return value
    reference = value.get("$ref")
    if reference in opened:
        return value
    if reference is not None:
        value, opened = resolve(dict(value), root), (*opened, reference)
    return {key: _expanded(item, root, opened) for key, item in value.items() if key not in _ANNOTATIONS}


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
