"""Builds the AsyncAPI 3.0 document: what an integrator needs to know of topics, records and connections.

Sources: the AsyncAPI specification 3.0.0 and its Kafka bindings 0.5.0. Payload schemas come from the pydantic types,
channel bindings from `topics.toml`, servers and logins from `KafkaConnection`.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, get_args

from schemas.announcement import Role
from schemas.asyncapi import examples, header_schemas
from schemas.asyncapi.payload_schemas import payload_schemas
from schemas.connection import KafkaConnection
from schemas.topics import DEAD_LETTERS, EVENTS, MODEL_REPORTS, MODELS, RESULTS, TopicSpec, load_topics

Node = dict[str, Any]

DOCUMENT_FILE: Final = Path(__file__).with_name("asyncapi.yaml")
"""The committed document."""
RELEASED_FILE: Final = Path(__file__).with_name("released.yaml")
"""The document of the last release, which changes are held against."""

_KAFKA_BINDING: Final = "0.5.0"
_RECORD_KEY: Final = {
    "type": "string",
    "description": "The customer's id, or the event's where there is none. Records of one key keep their order.",
}

_CHANNEL_IDS: Final = {
    EVENTS: "feedbackEvents",
    RESULTS: "classifiedFeedback",
    DEAD_LETTERS: "deadLetters",
    MODELS: "models",
    MODEL_REPORTS: "modelReports",
}
_MESSAGES: Final[dict[str, dict[str, Node]]] = {
    EVENTS: {
        "FeedbackEvent": {
            "title": "Feedback event",
            "summary": "One message of a customer.",
            "contentType": "application/json",
            "headers": header_schemas.EVENT_HEADERS,
            "payload": {"$ref": "#/components/schemas/FeedbackEvent"},
            "examples": examples.EVENTS,
            "description": "The id of a schema registry, before the value or in a header, is passed over.",
        },
        "BinaryCloudEvent": {
            "title": "CloudEvent in binary mode",
            "summary": "The same event, its envelope in headers.",
            "contentType": "application/json",
            "headers": header_schemas.BINARY_CLOUD_EVENT_HEADERS,
            "payload": {"$ref": "#/components/schemas/CloudEventData"},
            "examples": examples.BINARY_CLOUD_EVENTS,
        },
        "StructuredCloudEvent": {
            "title": "CloudEvent in structured mode",
            "summary": "The same event inside its envelope.",
            "contentType": "application/cloudevents+json",
            "headers": header_schemas.STRUCTURED_CLOUD_EVENT_HEADERS,
            "payload": {"$ref": "#/components/schemas/CloudEvent"},
            "examples": examples.STRUCTURED_CLOUD_EVENTS,
        },
    },
    RESULTS: {
        "ClassifiedFeedback": {
            "title": "Classified feedback",
            "summary": "One event with its verdicts, routing and the model that decided.",
            "contentType": "application/json",
            "correlationId": {"location": "$message.payload#/event/event_id"},
            "headers": header_schemas.RESULT_HEADERS,
            "payload": {"$ref": "#/components/schemas/ClassifiedFeedback"},
            "examples": examples.RESULTS,
        },
    },
    DEAD_LETTERS: {
        "DeadLetter": {
            "title": "Dead letter",
            "summary": "A record that could not be classified, with the reason in headers.",
            "contentType": "application/octet-stream",
            "headers": header_schemas.DEAD_LETTER_HEADERS,
            "payload": {"description": "The record's value byte for byte: any bytes, or none."},
            "examples": examples.DEAD_LETTERS,
        },
    },
    MODELS: {
        "ModelAnnouncement": {
            "title": "Announcement of a model bundle",
            "summary": "Which bundle consumers shall run in a role.",
            "contentType": "application/json",
            "headers": header_schemas.ANNOUNCEMENT_HEADERS,
            "payload": {"$ref": "#/components/schemas/Announcement"},
            "examples": examples.ANNOUNCEMENTS,
        },
        "ModelWithdrawal": {
            "title": "Withdrawal of a role's bundle",
            "summary": "No bundle in this role any more: live falls back to what each consumer's settings name.",
            "contentType": "application/json",
            "headers": header_schemas.ANNOUNCEMENT_HEADERS,
            "payload": {"type": "null", "description": "No value at all: a tombstone."},
            "examples": examples.WITHDRAWALS,
        },
    },
    MODEL_REPORTS: {
        "ModelReport": {
            "title": "Report on a model bundle",
            "summary": "What became of an announced bundle at one consumer.",
            "contentType": "application/json",
            "headers": header_schemas.MODEL_REPORT_HEADERS,
            "payload": {"$ref": "#/components/schemas/ModelReport"},
            "examples": examples.MODEL_REPORTS,
        },
    },
}
_KEYS: Final[dict[str, Node]] = {
    EVENTS: _RECORD_KEY,
    RESULTS: {**_RECORD_KEY, "description": "The event's key."},
    DEAD_LETTERS: {"description": "The record's key byte for byte: any bytes, or none."},
    MODELS: {"type": "string", "enum": list(get_args(Role)), "description": "The role: its newest record counts."},
    MODEL_REPORTS: {"type": "string", "description": "`GROUP/REPLICA/ROLE`: the newest report of each counts."},
}
_OPERATIONS: Final[dict[str, dict[str, str]]] = {
    "receiveFeedbackEvents": {
        "action": "receive",
        "topic": EVENTS,
        "summary": "Classify what services publish.",
        "description": "Publish here. Use the `murmur2_random` partitioner in librdkafka clients, as Java clients and "
        "aiokafka do by default: records of one key then share a partition. A publisher's retry with the same "
        "`event_id` and content is counted, and answered once.",
    },
    "sendClassifiedFeedback": {
        "action": "send",
        "topic": RESULTS,
        "summary": "Answer each distinct event once.",
        "description": "Subscribe here with `isolation.level=read_committed`: librdkafka's default; Java clients and "
        "aiokafka must ask for it. Results keep the order of their key. Pass over fields that you do not know.",
    },
    "sendDeadLetter": {
        "action": "send",
        "topic": DEAD_LETTERS,
        "summary": "Keep what cannot be classified.",
        "description": "Subscribe here, with `isolation.level=read_committed`, to see why a record of yours was "
        "refused.",
    },
    "receiveModelAnnouncements": {
        "action": "receive",
        "topic": MODELS,
        "summary": "Run the bundle that was announced last.",
        "description": "`python -m model_export publish` writes here, after it has read back every byte of the bundle. "
        "Whoever else may write here decides what classifies: give that right to few.",
    },
    "sendModelReports": {
        "action": "send",
        "topic": MODEL_REPORTS,
        "summary": "Say what became of an announcement.",
        "description": "`python -m model_export list` shows the newest report of each consumer.",
    },
}
_PROTOCOLS: Final = {
    "PLAINTEXT": ("kafka", "No encryption, no login: for development."),
    "SSL": ("kafka-secure", "TLS without a login."),
    "SASL_PLAINTEXT": ("kafka", "Login without encryption: for closed networks."),
    "SASL_SSL": ("kafka-secure", "TLS and login."),
}
_MECHANISMS: Final = {
    "PLAIN": ("plain", "User and password as they are: without TLS, whoever is on the way can read them."),
    "SCRAM-SHA-256": ("scramSha256", "User and password by SCRAM."),
    "SCRAM-SHA-512": ("scramSha512", "User and password by SCRAM; the default of this project's clients."),
}


def asyncapi_document() -> Node:
    """The document as plain JSON values, shared by nobody: callers may change it."""
    topics = load_topics()
    document = {
        "asyncapi": "3.0.0",
        "id": "urn:feedback-stream",
        "info": _info(),
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {_CHANNEL_IDS[name]: _channel(name, spec) for name, spec in topics.items()},
        "operations": {operation_id: _operation(**operation) for operation_id, operation in _OPERATIONS.items()},
        "components": {
            "messages": {
                name: _message(name, message, _KEYS[topic])
                for topic, messages in _MESSAGES.items()
                for name, message in messages.items()
            },
            "schemas": payload_schemas(),
            "securitySchemes": _security_schemes(),
        },
    }
    copied: Node = json.loads(json.dumps(document))
    return copied


def document_files() -> dict[Path, str]:
    """The document's path and the content that the sources ask for.

    Raises:
        ModuleNotFoundError: PyYAML is not installed; a plain install does without it.
    """
    import yaml  # noqa: PLC0415 (a plain install has no PyYAML)

    content = yaml.safe_dump(asyncapi_document(), sort_keys=False, allow_unicode=True, width=120)
    return {DOCUMENT_FILE: f"# Generated by `python -m schemas generate`.\n{content}"}


def released_document() -> Node:
    """The document of the last release.

    Raises:
        ModuleNotFoundError: PyYAML is not installed; a plain install does without it.
    """
    import yaml  # noqa: PLC0415 (a plain install has no PyYAML)

    document: Node = yaml.safe_load(RELEASED_FILE.read_text("utf-8"))
    return document


def _info() -> Node:
    return {
        "title": "Feedback stream",
        "version": version("feedback-stream"),
        "description": "Services publish customer feedback; each distinct event is classified by sentiment, category "
        "and constructiveness, and answered once. Operations are named from the stream's own side: "
        "where it receives you publish, where it sends you subscribe.",
        "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        "tags": [{"name": "kafka"}, {"name": "feedback"}],
    }


def _servers() -> Node:
    servers: Node = {}
    for name in get_args(KafkaConnection.model_fields["security_protocol"].annotation):
        protocol, description = _PROTOCOLS[name]
        servers[name.lower().replace("_", "-")] = {
            "host": "{host}:{port}",
            "protocol": protocol,
            "description": f"{description} `security.protocol={name}`",
            "variables": {"host": {"default": "localhost"}, "port": {"default": "9092"}},
        }
        if name.startswith("SASL"):
            schemes = [{"$ref": f"#/components/securitySchemes/{scheme}"} for scheme in _security_schemes()]
            servers[name.lower().replace("_", "-")]["security"] = schemes
    return servers


def _security_schemes() -> Node:
    mechanisms = get_args(KafkaConnection.model_fields["sasl_mechanism"].annotation)
    schemes = (_MECHANISMS[mechanism] for mechanism in mechanisms)
    return {scheme: {"type": scheme, "description": description} for scheme, description in schemes}


def _channel(name: str, spec: TopicSpec) -> Node:
    return {
        "address": name,
        "description": spec.description,
        "messages": {message: {"$ref": f"#/components/messages/{message}"} for message in _MESSAGES[name]},
        "bindings": {
            "kafka": {
                "partitions": spec.partitions,
                "replicas": spec.replication_factor,
                "topicConfiguration": {key: _typed(key, value) for key, value in spec.config.items()},
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }


def _operation(action: str, topic: str, summary: str, description: str) -> Node:
    channel = f"#/channels/{_CHANNEL_IDS[topic]}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": summary,
        "description": description,
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in _MESSAGES[topic]],
    }


def _typed(key: str, value: str) -> str | int | list[str]:
    # Kafka's settings are strings; the binding gives the ones that it knows types of their own.
    if key == "cleanup.policy":
        return value.split(",")
    return int(value) if value.removeprefix("-").isdecimal() else value


def _message(name: str, message: Node, key: Node) -> Node:
    return {"name": name, **message, "bindings": {"kafka": {"key": key, "bindingVersion": _KAFKA_BINDING}}}
