"""The AsyncAPI document is valid, says what the code does, and the consumer keeps to it on a real broker."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from schemas import headers
from schemas.asyncapi.document import DOCUMENT_FILE, asyncapi_document, document_files
from schemas.compatibility.json_schemas import resolve
from schemas.event import FeedbackEvent
from schemas.jsonschema import contract_files
from schemas.result import ClassifiedFeedback
from schemas.topics import DEAD_LETTERS, EVENTS, RESULTS, load_topics
from tests.integration.harness import Bench, Visible, turn_until

SPECIFICATION = Path(__file__).parent / "asyncapi-specification" / "3.0.0.json"
DOCUMENT = asyncapi_document()
EXAMPLES = [
    pytest.param(message, example, id=f"{name}-{example['name']}")
    for name, message in DOCUMENT["components"]["messages"].items()
    for example in message["examples"]
]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from references(child)


def check(schema: dict[str, Any], value: Any) -> None:
    """`value` keeps to a schema of the document, formats included."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)


def message_of(topic: str, name: str) -> dict[str, Any]:
    [channel] = [channel for channel in DOCUMENT["channels"].values() if channel["address"] == topic]
    return resolve(channel["messages"][name], DOCUMENT)


def check_record(record: Visible, message: dict[str, Any]) -> None:
    check(message["headers"], {name: (value or b"").decode() for name, value in record.headers.items()})
    check(message["payload"], record.document)


def test_the_committed_document_is_the_code_s() -> None:
    [(path, content)] = document_files().items()
    assert path.read_text("utf-8") == content, "run `python -m schemas generate`"
    assert yaml.safe_load(content) == DOCUMENT


def test_it_is_valid_by_the_specifications_own_schema() -> None:
    specification = json.loads(SPECIFICATION.read_text("utf-8"))
    validator = jsonschema.Draft7Validator(specification)
    assert list(validator.iter_errors(yaml.safe_load(DOCUMENT_FILE.read_text("utf-8")))) == []
    # The schema does look into the bindings.
    broken = asyncapi_document()
    broken["channels"]["feedbackEvents"]["bindings"]["kafka"]["partitions"] = "six"
    assert not validator.is_valid(broken)


def test_every_reference_leads_somewhere() -> None:
    found = set(references(DOCUMENT))
    assert len(found) > 10
    for reference in found:
        assert resolve({"$ref": reference}, DOCUMENT)
    for operation in DOCUMENT["operations"].values():
        for message in operation["messages"]:
            # The specification asks for messages of the operation's own channel.
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


def test_every_topic_is_a_channel_with_its_settings() -> None:
    channels = {channel["address"]: channel["bindings"]["kafka"] for channel in DOCUMENT["channels"].values()}
    specs = load_topics()
    assert set(channels) == set(specs)
    for name, spec in specs.items():
        assert channels[name]["partitions"] == spec.partitions
        assert channels[name]["topicConfiguration"]["max.message.bytes"] == int(spec.config["max.message.bytes"])
        assert channels[name]["topicConfiguration"]["cleanup.policy"] == [spec.config["cleanup.policy"]]


def test_every_header_of_ours_is_described() -> None:
    ours = {
        value
        for name, value in vars(headers).items()
        if name.isupper() and isinstance(value, str) and "PREFIX" not in name
    }
    described = {
        header
        for message in DOCUMENT["components"]["messages"].values()
        for header, schema in message["headers"]["properties"].items()
        if schema["description"]
    }
    assert ours <= described


def test_payloads_are_the_json_schemas_that_are_published() -> None:
    published = {json.loads(content)["title"]: json.loads(content) for content in contract_files().values()}
    for name in (FeedbackEvent.__name__, ClassifiedFeedback.__name__):
        inside = DOCUMENT["components"]["schemas"][name]
        assert inside["required"] == published[name]["required"]
        assert set(inside["properties"]) == set(published[name]["properties"])


@pytest.mark.parametrize(("message", "example"), EXAMPLES)
def test_examples_keep_to_their_schemas(message: dict[str, Any], example: dict[str, Any]) -> None:
    check(message["headers"], example["headers"])
    check(message["payload"], example["payload"])
    for required in message["headers"]["required"]:
        incomplete = {name: value for name, value in example["headers"].items() if name != required}
        with pytest.raises(jsonschema.ValidationError):
            check(message["headers"], incomplete)


def test_the_example_of_a_result_is_one() -> None:
    [example] = message_of(RESULTS, "ClassifiedFeedback")["examples"]
    result = ClassifiedFeedback.model_validate(example["payload"])
    assert json.loads(result.model_dump_json()) == example["payload"]


@pytest.mark.kafka
@pytest.mark.postgres
def test_what_the_consumer_writes_is_what_the_document_says(bench: Bench) -> None:
    events = [
        (message, example)
        for message in ("FeedbackEvent", "BinaryCloudEvent", "StructuredCloudEvent")
        for example in message_of(EVENTS, message)["examples"]
    ]
    for _, example in events:
        own = tuple((name, value.encode()) for name, value in example["headers"].items())
        bench.publish([json.dumps(example["payload"]).encode()], headers=own, partition=0, key=b"key")
    [refused] = message_of(DEAD_LETTERS, "DeadLetter")["examples"]
    bench.publish([refused["payload"].encode()], headers=(("schema-version", b"1"),), partition=0)
    consumer = bench.consumer()
    turn_until(lambda: bench.has_settled(len(events) + 1), consumer)
    consumer.engine.stop()

    results = bench.results()
    # Both CloudEvents are one event.
    assert len(results) == len(events) - 1
    for result in results:
        check_record(result, message_of(RESULTS, "ClassifiedFeedback"))
    complete, *_ = results
    assert complete.document["event"]["extra"] == {"branch": "north"}
    assert complete.headers[headers.TRACEPARENT] == events[0][1]["headers"]["traceparent"].encode()
    by_source = {result.document["event"]["text"]: result.document["event"] for result in results}
    review = by_source["A dark mode would be easier on the eyes at night."]
    assert (review["occurred_at"], review["source"]) == ("2026-01-31T09:30:00Z", "web")
    [dead_letter] = bench.dead_letters()
    check_record(dead_letter, message_of(DEAD_LETTERS, "DeadLetter"))
    for name in ("dlq-stage", "dlq-error-class", "dlq-error-message"):
        assert dead_letter.headers[name] == refused["headers"][name].encode()
