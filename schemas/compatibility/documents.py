"""Compares two AsyncAPI documents of this project: topics, kinds of record, keys, headers and values."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from schemas.compatibility import rules
from schemas.compatibility.json_schemas import compare_schemas, resolve
from schemas.compatibility.rules import Audience, Change, Rule

Document = dict[str, Any]

_AUDIENCES: Final[dict[str, Audience]] = {"receive": "publishers", "send": "readers"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One change with its verdict. `audience` are those whom the topic serves from outside."""

    topic: str
    audience: Audience
    change: Change

    @property
    def reason(self) -> str:
        """What the change means for the audience."""
        return self.change.rule.reason(self.audience)

    @property
    def breaking(self) -> bool:
        """Whether those who rely on the release must change something first."""
        return self.audience in self.change.rule.breaks

    def as_json(self) -> dict[str, str]:
        """For programs to read."""
        return {
            "topic": self.topic,
            "audience": self.audience,
            "where": self.change.where,
            "rule": self.change.rule.name,
            "before": self.change.before,
            "after": self.change.after,
            "verdict": "breaking" if self.breaking else "compatible",
            "reason": self.reason,
        }


def compare_documents(released: Document, current: Document) -> list[Difference]:
    """Every difference that publishers or readers could notice, the breaking ones first.

    Descriptions, examples and servers are no part of what is compared.
    """
    differences = [
        difference
        for name in {**released["operations"], **current["operations"]}
        for difference in _compare_operation(
            released, current, released["operations"].get(name), current["operations"].get(name)
        )
    ]
    return sorted(differences, key=lambda difference: not difference.breaking)


def _compare_operation(
    released: Document, current: Document, before: Document | None, after: Document | None
) -> Iterator[Difference]:
    if before is not None and (after is None or before["action"] != after["action"]):
        audience = _AUDIENCES[before["action"]]
        topic = resolve(before["channel"], released)["address"]
        yield Difference(topic, audience, Change("topic", rules.TOPIC_REMOVED, "present", "absent"))
    elif after is not None:
        audience = _AUDIENCES[after["action"]]
        topic = resolve(after["channel"], current)["address"]
        if before is None:
            yield Difference(topic, audience, Change("topic", rules.TOPIC_ADDED, "absent", "present"))
            return
        earlier, later = resolve(before["channel"], released), resolve(after["channel"], current)
        for change in (*_topic(earlier, later), *_messages(released, current, before, after)):
            yield Difference(earlier["address"], audience, change)


def _topic(before: Document, after: Document) -> Iterator[Change]:
    if before["address"] != after["address"]:
        yield Change("topic", rules.TOPIC_RENAMED, before["address"], after["address"])
    earlier, later = before["bindings"]["kafka"], after["bindings"]["kafka"]
    if earlier["partitions"] != later["partitions"]:
        counts = (str(earlier["partitions"]), str(later["partitions"]))
        yield Change("topic: partitions", rules.PARTITIONS_CHANGED, *counts)
    if earlier["replicas"] != later["replicas"]:
        rule = rules.REPLICAS_LOWERED if later["replicas"] < earlier["replicas"] else rules.REPLICAS_RAISED
        yield Change("topic: replicas", rule, str(earlier["replicas"]), str(later["replicas"]))
    settings = (earlier["topicConfiguration"], later["topicConfiguration"])
    for name in sorted(settings[0].keys() | settings[1].keys()):
        if settings[0].get(name) != settings[1].get(name):
            values = (settings[0].get(name), settings[1].get(name))
            yield Change(f"topic: {name}", _setting_rule(name, *values), _shown(values[0]), _shown(values[1]))


def _setting_rule(name: str, before: object, after: object) -> Rule:
    if name == "cleanup.policy":
        return rules.CLEANUP_CHANGED
    if isinstance(before, int) and isinstance(after, int):
        if name == "max.message.bytes":
            return rules.RECORD_SIZE_LOWERED if after < before else rules.RECORD_SIZE_RAISED
        if name in {"retention.ms", "retention.bytes"}:
            # -1 keeps records for ever.
            shortened = after != -1 and (before == -1 or after < before)
            return rules.RETENTION_SHORTENED if shortened else rules.RETENTION_EXTENDED
    return rules.TOPIC_SETTING_CHANGED


def _messages(released: Document, current: Document, before: Document, after: Document) -> Iterator[Change]:
    earlier, later = _named_messages(released, before), _named_messages(current, after)
    for name in {**earlier, **later}:
        if name not in later:
            yield Change(name, rules.MESSAGE_REMOVED, "present", "absent")
        elif name not in earlier:
            yield Change(name, rules.MESSAGE_ADDED, "absent", "present")
        else:
            yield from _message(released, current, earlier[name], later[name])


def _named_messages(document: Document, operation: Document) -> dict[str, Document]:
    messages = (resolve(reference, document) for reference in operation["messages"])
    return {message["name"]: message for message in messages}


def _message(released: Document, current: Document, before: Document, after: Document) -> Iterator[Change]:
    if before["contentType"] != after["contentType"]:
        yield Change("value", rules.MEDIA_TYPE_CHANGED, before["contentType"], after["contentType"])
    parts = {
        "key": (before["bindings"]["kafka"]["key"], after["bindings"]["kafka"]["key"]),
        "header": (before["headers"], after["headers"]),
        "value": (before["payload"], after["payload"]),
    }
    for part, (earlier, later) in parts.items():
        for change in compare_schemas(earlier, later, released, current):
            yield Change(f"{part} {change.where}".strip(), change.rule, change.before, change.after)


def _shown(value: object) -> str:
    if value is None:
        return "the broker's default"
    return ", ".join(value) if isinstance(value, list) else str(value)
