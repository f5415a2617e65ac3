"""Each rule by which a change of the contracts is judged: what breaks whom, and what does not."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import schemas.__main__ as program
from schemas.asyncapi.document import asyncapi_document, released_document
from schemas.compatibility.documents import Difference, compare_documents
from schemas.compatibility.json_schemas import compare_schemas
from schemas.compatibility.rules import RULES

Schema = dict[str, Any]
COMPATIBILITY_PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"

TEXT: Schema = {"type": "string"}
NULL: Schema = {"type": "null"}
NODE: Schema = {
    "properties": {"name": TEXT, "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}},
    "type": "object",
}


def one_field(schema: Schema, **more: object) -> Schema:
    return {"type": "object", "properties": {"field": schema}, **more}


# Before, after, and what is found: the place, the rule, whether publishers break, whether readers break.
CHANGES: dict[str, tuple[Schema, Schema, list[tuple[str, str, bool, bool]]]] = {
    "only words": (
        one_field({"type": "string", "title": "A", "description": "old", "examples": ["a"]}),
        one_field({"type": "string", "title": "B", "deprecated": True}),
        [],
    ),
    "another spelling of the same types": (
        one_field({"anyOf": [TEXT, NULL]}),
        one_field({"type": ["null", "string"]}),
        [],
    ),
    "a field more": (
        one_field(TEXT),
        {"type": "object", "properties": {"field": TEXT, "new": TEXT}},
        [("new", "field-added", False, False)],
    ),
    "a required field more": (
        {"type": "object"},
        one_field(TEXT, required=["field"]),
        [("field", "field-added", False, False), ("field", "field-required", True, False)],
    ),
    "a field more where no further one was announced": (
        {"type": "object", "additionalProperties": False},
        one_field(TEXT, additionalProperties=False),
        [("field", "field-added-to-closed", False, True)],
    ),
    "a field where a map held other values": (
        {"type": "object", "additionalProperties": {"type": "number"}},
        one_field(TEXT, additionalProperties={"type": "number"}),
        [
            ("field", "field-added", False, False),
            ("field", "type-added", False, True),
            ("field", "type-removed", True, False),
        ],
    ),
    "a field less": (one_field(TEXT, required=["field"]), {"type": "object"}, [("field", "field-removed", True, True)]),
    "required": (one_field(TEXT), one_field(TEXT, required=["field"]), [("field", "field-required", True, False)]),
    "optional": (one_field(TEXT, required=["field"]), one_field(TEXT), [("field", "field-optional", False, True)]),
    "another type": (
        one_field(TEXT),
        one_field({"type": "integer"}),
        [("field", "type-added", False, True), ("field", "type-removed", True, False)],
    ),
    "null too": (one_field(TEXT), one_field({"anyOf": [TEXT, NULL]}), [("field", "type-added", False, True)]),
    "null no longer": (
        one_field({"type": ["string", "null"]}),
        one_field(TEXT),
        [("field", "type-removed", True, False)],
    ),
    "fractions too": (
        one_field({"type": "integer"}),
        one_field({"type": "number"}),
        [("field", "type-added", False, True)],
    ),
    "whole numbers only, and within other limits": (
        one_field({"type": "number", "maximum": 9}),
        one_field({"type": "integer", "maximum": 5}),
        [("field", "limit-tightened", True, False), ("field", "type-removed", True, False)],
    ),
    "integers spelt out beside numbers": (
        one_field({"type": ["integer", "number"]}),
        one_field({"type": "number"}),
        [],
    ),
    "anything": (one_field(TEXT), one_field({}), [("field", "type-added", False, True)]),
    "no longer anything": (one_field({}), one_field(TEXT), [("field", "type-removed", True, False)]),
    "a value more": (
        one_field({"enum": ["a"]}),
        one_field({"enum": ["a", "b"]}),
        [("field", "value-added", False, True)],
    ),
    "a value less": (
        one_field({"enum": ["a", "b"]}),
        one_field({"const": "a"}),
        [("field", "value-removed", True, False)],
    ),
    "any value": (
        one_field({"type": "string", "enum": ["a"]}),
        one_field(TEXT),
        [("field", "value-added", False, True)],
    ),
    "listed values only": (
        one_field(TEXT),
        one_field({"type": "string", "enum": ["a"]}),
        [("field", "value-removed", True, False)],
    ),
    "a limit where there was none": (
        one_field(TEXT),
        one_field({"type": "string", "maxLength": 5}),
        [("field", "limit-tightened", True, False)],
    ),
    "a limit less": (
        one_field({"type": "string", "minLength": 1}),
        one_field(TEXT),
        [("field", "limit-loosened", False, True)],
    ),
    "a shorter text inside a union": (
        one_field({"anyOf": [{"type": "string", "maxLength": 9}, NULL]}),
        one_field({"anyOf": [{"type": "string", "maxLength": 8}, NULL]}),
        [("field", "limit-tightened", True, False)],
    ),
    "a higher minimum": (
        one_field({"type": "integer", "minimum": 1}),
        one_field({"type": "integer", "minimum": 2}),
        [("field", "limit-tightened", True, False)],
    ),
    "a lower minimum": (
        one_field({"type": "integer", "exclusiveMinimum": 1}),
        one_field({"type": "integer", "exclusiveMinimum": 0}),
        [("field", "limit-loosened", False, True)],
    ),
    "more entries": (
        one_field({"type": "object", "maxProperties": 1}),
        one_field({"type": "object", "maxProperties": 2}),
        [("field", "limit-loosened", False, True)],
    ),
    "a pattern": (
        one_field(TEXT),
        one_field({"type": "string", "pattern": "a"}),
        [("field", "form-added", True, False)],
    ),
    "a format less": (
        one_field({"type": "string", "format": "uuid"}),
        one_field(TEXT),
        [("field", "form-removed", False, True)],
    ),
    "another pattern": (
        one_field({"type": "string", "pattern": "a"}),
        one_field({"type": "string", "pattern": "b"}),
        [("field", "form-changed", True, True)],
    ),
    "no unknown fields": (
        one_field({"type": "object"}),
        one_field({"type": "object", "additionalProperties": False}),
        [("field", "unknown-refused", True, False)],
    ),
    "unknown fields": (
        one_field({"type": "object", "additionalProperties": False}),
        one_field({"type": "object", "additionalProperties": True}),
        [("field", "unknown-allowed", False, True)],
    ),
    "values of a map": (
        one_field({"type": "object", "additionalProperties": {"type": "integer"}}),
        one_field({"type": "object", "additionalProperties": {"type": ["integer", "null"]}}),
        [("field.*", "type-added", False, True)],
    ),
    "keys of a map": (
        one_field({"type": "object", "propertyNames": {"enum": ["a"]}}),
        one_field({"type": "object", "propertyNames": {"enum": ["a", "b"]}}),
        [("field{}", "value-added", False, True)],
    ),
    "elements of a list": (
        one_field({"type": "array", "items": {"enum": ["a", "b"]}}),
        one_field({"type": "array", "items": {"enum": ["b"]}}),
        [("field[]", "value-removed", True, False)],
    ),
    "another default": (
        one_field({"type": "integer", "default": 1}),
        one_field({"type": "integer", "default": 2}),
        [("field", "default-changed", True, False)],
    ),
    "two objects of a union": (
        one_field({"anyOf": [{"type": "object", "required": ["a"]}, {"type": "object", "required": ["b"]}]}),
        one_field({"anyOf": [{"type": "object"}, {"type": "object"}]}),
        [("field.a", "field-optional", False, True), ("field.b", "field-optional", False, True)],
    ),
    "behind references": (
        {"$ref": "#/$defs/A", "$defs": {"A": one_field({"$ref": "#/$defs/B"}), "B": one_field(TEXT)}},
        {"$ref": "#/$defs/A", "$defs": {"A": one_field({"$ref": "#/$defs/B"}), "B": one_field({"type": "boolean"})}},
        [("field.field", "type-added", False, True), ("field.field", "type-removed", True, False)],
    ),
    "a type that holds itself": (
        {"$ref": "#/$defs/Node", "$defs": {"Node": NODE}},
        {"$ref": "#/$defs/Node", "$defs": {"Node": {**NODE, "required": ["name"]}}},
        [("name", "field-required", True, False)],
    ),
    "a keyword without a rule": (
        one_field({"type": "object", "dependentRequired": {"a": ["b"]}}),
        one_field({"type": "object"}),
        [("field (dependentRequired)", "unjudged", True, True)],
    ),
    "a keyword without a rule over another definition": (
        {"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": TEXT}},
        {"allOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": NULL}},
        [("(allOf)", "unjudged", True, True)],
    ),
    "a limit beside a union": (
        one_field({"anyOf": [TEXT, NULL]}),
        one_field({"anyOf": [TEXT, NULL], "maxLength": 3}),
        [("field (maxLength)", "unjudged", True, True)],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_schemas(change: str) -> None:
    before, after, wanted = CHANGES[change]
    assert compare_schemas(before, before, before, before) == []
    found = [
        (found.where, found.rule.name, "publishers" in found.rule.breaks, "readers" in found.rule.breaks)
        for found in compare_schemas(before, after, before, after)
    ]
    assert sorted(found) == sorted(wanted)


def edited(edit: Callable[[Any], object]) -> list[Difference]:
    """What is found when this is done to the current document."""
    before = asyncapi_document()
    after = copy.deepcopy(before)
    edit(after)
    return compare_documents(before, after)


def binding(document: Any, channel: str) -> Any:
    return document["channels"][channel]["bindings"]["kafka"]


def message(document: Any, name: str) -> Any:
    return document["components"]["messages"][name]


def schema(document: Any, name: str) -> Any:
    return document["components"]["schemas"][name]


def rename(document: Any) -> None:
    document["channels"]["feedbackEvents"]["address"] = "feedback.incoming"


def announce(document: Any) -> None:
    document["channels"]["classifiedFeedback"]["messages"]["Retraction"] = {"$ref": "#/components/messages/Retraction"}
    document["operations"]["sendClassifiedFeedback"]["messages"].append(
        {"$ref": "#/channels/classifiedFeedback/messages/Retraction"}
    )
    document["components"]["messages"]["Retraction"] = {**message(document, "DeadLetter"), "name": "Retraction"}


E = "feedback.events"
R = "feedback.classified"
# What is done to the document, and each difference: topic, place, rule, breaking or not.
EDITS: dict[str, tuple[Callable[[Any], object], set[tuple[str, str, str, bool]]]] = {
    "a topic gone": (
        lambda d: d["operations"].pop("sendDeadLetter"),
        {("feedback.deadletter", "topic", "topic-removed", True)},
    ),
    "a topic more": (
        lambda d: d["operations"].update(sendTrends={**d["operations"]["sendDeadLetter"]}),
        {("feedback.deadletter", "topic", "topic-added", False)},
    ),
    "a topic turned round": (
        lambda d: d["operations"]["receiveFeedbackEvents"].update(action="send"),
        {(E, "topic", "topic-removed", True)},
    ),
    "a topic renamed": (rename, {(E, "topic", "topic-renamed", True)}),
    "more partitions": (
        lambda d: binding(d, "feedbackEvents").update(partitions=12),
        {(E, "topic: partitions", "partitions-changed", True)},
    ),
    "fewer replicas": (
        lambda d: binding(d, "feedbackEvents").update(replicas=1),
        {(E, "topic: replicas", "replicas-lowered", True)},
    ),
    "more replicas": (
        lambda d: binding(d, "feedbackEvents").update(replicas=5),
        {(E, "topic: replicas", "replicas-raised", False)},
    ),
    "compaction": (
        lambda d: binding(d, "classifiedFeedback")["topicConfiguration"].update({"cleanup.policy": ["compact"]}),
        {(R, "topic: cleanup.policy", "cleanup-changed", True)},
    ),
    "smaller records": (
        lambda d: binding(d, "feedbackEvents")["topicConfiguration"].update({"max.message.bytes": 1000}),
        {(E, "topic: max.message.bytes", "record-size-lowered", True)},
    ),
    "larger records": (
        lambda d: binding(d, "feedbackEvents")["topicConfiguration"].update({"max.message.bytes": 2_000_000}),
        {(E, "topic: max.message.bytes", "record-size-raised", False)},
    ),
    "shorter retention": (
        lambda d: binding(d, "classifiedFeedback")["topicConfiguration"].update({"retention.ms": 1000}),
        {(R, "topic: retention.ms", "retention-shortened", True)},
    ),
    "retention for ever": (
        lambda d: binding(d, "classifiedFeedback")["topicConfiguration"].update({"retention.ms": -1}),
        {(R, "topic: retention.ms", "retention-extended", False)},
    ),
    "a setting without a rule": (
        lambda d: binding(d, "feedbackEvents")["topicConfiguration"].update(
            {"message.timestamp.type": "LogAppendTime"}
        ),
        {(E, "topic: message.timestamp.type", "topic-setting-changed", True)},
    ),
    "a kind of record more for readers": (announce, {(R, "Retraction", "message-added", True)}),
    "a kind of record less": (
        lambda d: d["operations"]["receiveFeedbackEvents"]["messages"].pop(),
        {(E, "StructuredCloudEvent", "message-removed", True)},
    ),
    "another encoding": (
        lambda d: message(d, "ClassifiedFeedback").update(contentType="application/avro"),
        {(R, "value", "media-type-changed", True)},
    ),
    "another key": (
        lambda d: message(d, "ClassifiedFeedback")["bindings"]["kafka"]["key"].update(format="uuid"),
        {(R, "key", "form-added", False)},
    ),
    "a header less": (
        lambda d: message(d, "DeadLetter")["headers"]["properties"].pop("dlq-stage"),
        {("feedback.deadletter", "header dlq-stage", "field-removed", True)},
    ),
    "a header that may be missing": (
        lambda d: message(d, "ClassifiedFeedback")["headers"]["required"].remove("event-id"),
        {(R, "header event-id", "field-optional", True)},
    ),
    "a label more": (
        lambda d: (
            schema(d, "CategoryVerdict")["properties"]["label"]["enum"].append("refund"),
            schema(d, "CategoryVerdict")["properties"]["scores"]["propertyNames"]["enum"].append("refund"),
        ),
        {(R, "value category.label", "value-added", True), (R, "value category.scores{}", "value-added", True)},
    ),
    "a field of results gone": (
        lambda d: schema(d, "Routing")["properties"].pop("queue"),
        {(R, "value routing.queue", "field-removed", True)},
    ),
    "a field of results more": (
        lambda d: schema(d, "Routing")["properties"].update(team={"type": "string"}),
        {(R, "value routing.team", "field-added", False)},
    ),
    "a required field of events": (
        lambda d: schema(d, "FeedbackEvent")["required"].append("product"),
        {(E, "value product", "field-required", True)},
    ),
    "a required field of results": (
        lambda d: (
            schema(d, "ClassifiedFeedback")["properties"].update(tone={"type": "string"})
            or schema(d, "ClassifiedFeedback")["required"].append("tone")
        ),
        {(R, "value tone", "field-added", False), (R, "value tone", "field-required", False)},
    ),
    "shorter sources of events": (
        lambda d: schema(d, "FeedbackEvent")["properties"]["source"].update(maxLength=32),
        {(E, "value source", "limit-tightened", True)},
    ),
    "unknown fields of events refused": (
        lambda d: schema(d, "FeedbackEvent").update(additionalProperties=False),
        {(E, "value", "unknown-refused", True)},
    ),
    "words": (lambda d: schema(d, "FeedbackEvent").update(description="Something else."), set()),
}


@pytest.mark.parametrize("edit", EDITS)
def test_documents(edit: str) -> None:
    change, wanted = EDITS[edit]
    found = edited(change)
    assert {(d.topic, d.change.where, d.change.rule.name, d.breaking) for d in found} == wanted


def test_every_rule_is_seen_to_work_and_is_explained() -> None:
    seen = {rule for _, _, found in CHANGES.values() for _, rule, _, _ in found}
    seen |= {rule for _, found in EDITS.values() for _, _, rule, _ in found}
    assert seen == set(RULES)
    page = COMPATIBILITY_PAGE.read_text("utf-8")
    for name, rule in RULES.items():
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        marks = [cell.strip() for cell in row.split("|")[3:5]]
        assert marks == ["breaking" if who in rule.breaks else "" for who in ("publishers", "readers")], name


def test_nothing_since_the_release_breaks_anybody() -> None:
    breaking = [
        difference for difference in compare_documents(released_document(), asyncapi_document()) if difference.breaking
    ]
    assert breaking == [], "docs/compatibility.md says what to do instead"


def test_the_command_tells_what_changed_and_fails_where_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["compatibility", "--check"]
    monkeypatch.setattr(program, "released_document", asyncapi_document)
    unchanged = CliRunner().invoke(program.app, command)
    assert (unchanged.exit_code, unchanged.stdout) == (0, "nothing has changed since 0.1.0\n")

    changed = asyncapi_document()
    schema(changed, "FeedbackEvent")["required"].append("product")
    schema(changed, "Routing")["properties"]["team"] = {"type": "string"}
    monkeypatch.setattr(program, "asyncapi_document", lambda: changed)
    found = CliRunner().invoke(program.app, command)
    assert found.exit_code == 1
    assert found.stdout.index("breaking   feedback.events: value product: optional -> required") < found.stdout.index(
        "compatible feedback.classified: value routing.team: absent -> present"
    )
    assert "field-required: publishers: a record without it is refused" in found.stdout
    assert len(found.stderr.splitlines()) == 1
    assert CliRunner().invoke(program.app, ["compatibility"]).exit_code == 0
    first, *_ = json.loads(CliRunner().invoke(program.app, ["compatibility", "--json"]).stdout)
    assert first.items() >= {"verdict": "breaking", "rule": "field-required", "audience": "publishers"}.items()
